"""A tiny model on a tiny Market-1501 tree: real files, real workers, seconds."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from fastreid.config import CfgNode
from PIL import Image

import fastreid_ext  # noqa: F401
from fastreid_ext.config import load_config

from .tiny import overrides

TRAIN_IDENTITIES = 8
TEST_IDENTITIES = 4
CAMERAS = 2
IMAGES_PER_CAMERA = 3


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Two cores for everything; also makes sums of floats repeatable."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _logs_of_the_test_only():
    """fastreid's loggers keep handlers to files of earlier tests and hide records from caplog."""
    yield
    for name in ("fastreid", "fastreid_ext"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True


@pytest.fixture(scope="session")
def market_root(tmp_path_factory) -> Path:
    """Write a Market-1501 tree: each identity a colour, each camera a brightness, some noise."""
    root = tmp_path_factory.mktemp("datasets")
    folder = root / "Market-1501-v15.09.15"
    rng = np.random.default_rng(0)
    for split, first, count in (
        ("bounding_box_train", 0, TRAIN_IDENTITIES),
        ("bounding_box_test", TRAIN_IDENTITIES, TEST_IDENTITIES),
        ("query", TRAIN_IDENTITIES, TEST_IDENTITIES),
    ):
        (folder / split).mkdir(parents=True)
        for pid in range(first + 1, first + count + 1):
            colour = np.random.default_rng(pid).integers(40, 200, 3)
            for camera in range(1, CAMERAS + 1):
                for number in range(1 if split == "query" else IMAGES_PER_CAMERA):
                    noise = rng.normal(0, 20, (64, 32, 3))
                    pixels = np.clip(colour * (0.8 + 0.2 * camera) + noise, 0, 255).astype(np.uint8)
                    name = f"{pid:04d}_c{camera}s1_{number:06d}_00.jpg"
                    Image.fromarray(pixels).save(folder / split / name)
    return root


@pytest.fixture
def make_cfg(market_root, tmp_path):
    """Return a function from changed keys to a checked configuration that writes to tmp_path."""

    def make(output: str = "run", **changes: object) -> CfgNode:
        return load_config("", overrides(market_root, tmp_path / output, **changes))

    return make
