"""Tiny image trees in the layout of Market-1501, and configurations that read them."""

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


def write_split(folder, identities, cameras=(1, 2), images=2):
    for identity in identities:
        for camera in cameras:
            for index in range(images):
                name = f"{identity:04d}_c{camera}s1_{index:06d}_00.jpg"
                write_image(folder / name, seed=identity * 100 + camera * 10 + index)


def write_market(folder, train=range(1, 9), test=range(9, 12), **kwargs):
    write_split(folder / "bounding_box_train", train, **kwargs)
    write_split(folder / "query", test, images=1)
    write_split(folder / "bounding_box_test", test)
    return folder


@pytest.fixture(scope="session")
def market_root(tmp_path_factory):
    """Write 8 training and 3 test identities, 2 cameras, 2 images each; do not change them."""
    root = tmp_path_factory.mktemp("datasets")
    write_market(root / "Market-1501-v15.09.15")
    return root


@pytest.fixture
def make_cfg(market_root):
    """Return a function that builds a small configuration from keys like SOLVER__MAX_EPOCH."""
    return lambda root=market_root, **changes: small_config(root, **changes)


@pytest.fixture
def paths(tmp_path):
    """Write images of different sizes, one rotated by EXIF, one with a palette."""
    made = [write_image(tmp_path / f"images/{i}.jpg", seed=i, size=(16 + i, 32)) for i in range(5)]
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = tmp_path / "images/turned.jpg"
    Image.open(made[0]).save(turned, exif=exif)
    made += [turned, write_image(tmp_path / "images/p.png", mode="P", size=(7, 9))]
    return list(map(str, made))


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
