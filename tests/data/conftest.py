"""Real, tiny image trees in Market-1501's layout."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ..tiny_cfg import dotted, read_keys, tiny_cfg


def write_image(path, seed=0, mode="RGB", size=(16, 32)):
    """Write a random image of (width, height) ``size``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(path)
    return path


def write_split(folder, persons, cameras=(1, 2), images=2):
    for person in persons:
        for camera in cameras:
            for index in range(images):
                name = f"{person:04d}_c{camera}s1_{index:06d}_00.jpg"
                write_image(folder / name, seed=person * 100 + camera * 10 + index)


def write_market(folder, train=range(1, 9), test=range(9, 12), **kwargs):
    write_split(folder / "bounding_box_train", train, **kwargs)
    write_split(folder / "query", test, images=1)
    write_split(folder / "bounding_box_test", test)
    return folder


@pytest.fixture(scope="session")
def market_root(tmp_path_factory):
    """8 training and 3 test persons, 2 cameras, 2 images each; do not change."""
    root = tmp_path_factory.mktemp("datasets")
    write_market(root / "Market-1501-v15.09.15")
    return root


@pytest.fixture
def make_cfg(market_root):
    """Configuration of a small run; changes are named like SOLVER__IMS_PER_BATCH."""
    return lambda root=market_root, **changes: small_config(root, **changes)


def small_config(root: Path, **changes):
    defaults = {
        "SEED": 7,
        "MODEL.DEVICE": "cpu",
        "MODEL.BACKBONE.PRETRAIN": False,
        "MODEL.LOSSES.NAME": ("CrossEntropyLoss",),
        "INPUT.SIZE_TRAIN": [32, 16],
        "INPUT.SIZE_TEST": [32, 16],
        "INPUT.FLIP.ENABLED": True,
        "INPUT.REA.ENABLED": True,
        "INPUT.CJ.ENABLED": True,
        "INPUT.AUGMIX.ENABLED": True,
        "INPUT.AUGMIX.PROB": 0.5,
        "INPUT.AUTOAUG.ENABLED": True,
        "INPUT.AUTOAUG.PROB": 0.5,
        "DATASETS.ROOT": str(root),
        "DATASETS.NAMES": ("Market1501",),
        "DATASETS.TESTS": ("Market1501",),
        "DATALOADER.SAMPLER_TRAIN": "NaiveIdentitySampler",
        "DATALOADER.NUM_INSTANCE": 2,
        "DATALOADER.NUM_WORKERS": 0,
        "SOLVER.IMS_PER_BATCH": 8,
        "TEST.IMS_PER_BATCH": 8,
        "TEST.NUM_WORKERS": 0,
    }
    return tiny_cfg(read_keys(defaults, dotted(changes)))
