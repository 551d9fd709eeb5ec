"""A tiny labelled source beside the tiny Market-1501 tree, and the keys to train on both."""

from pathlib import Path

import numpy as np
from PIL import Image

SOURCE_IDENTITIES = 5
ADAPTATION = {
    "MODEL__META_ARCHITECTURE": "DomainBaseline",
    "MODEL__DOMAIN_BN__ENABLED": True,
    "MODEL__BN_GROUP": 4,
    "MODEL__HEADS__NECK_FEAT": "before",
    "MODEL__LOSSES__CE__EPSILON": 0.1,
    "DATASETS__SOURCES": ("Shop",),
    "DATALOADER__SAMPLER_TRAIN": "BalancedIdentitySampler",
    "DATALOADER__NUM_WORKERS": 0,
    "SOLVER__IMS_PER_BATCH": 16,
    "SOLVER__ITERS_PER_EPOCH": 3,
    "SOLVER__BASE_LR": 1e-3,
    "UNSUPERVISED__ENABLED": True,
    "UNSUPERVISED__K1": 8,
    "UNSUPERVISED__K2": 3,
    "UNSUPERVISED__EPS": 0.5,
    "UNSUPERVISED__MIN_SAMPLES": 3,
}


def write_source(root: Path, identities: int = SOURCE_IDENTITIES) -> str:
    """Write a labelled set below ``root`` and return its entry of ``DATASETS.SETS``."""
    folder = root / "shop"
    for split in ("bounding_box_train", "query", "bounding_box_test"):
        (folder / split).mkdir(parents=True)
    for pid in range(1, identities + 1):
        rng = np.random.default_rng(100 + pid)
        colour = rng.integers(40, 200, 3)
        for camera in (1, 2):
            for number in range(3):
                pixels = np.clip(colour + rng.normal(0, 20, (64, 32, 3)), 0, 255).astype(np.uint8)
                name = f"{pid:04d}_c{camera}s1_{number:06d}_00.jpg"
                Image.fromarray(pixels).save(folder / "bounding_box_train" / name)
    return f"Shop={folder}"
