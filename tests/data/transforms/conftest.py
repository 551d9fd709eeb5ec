"""A picture, and configurations of the loader that skip what only losses care for."""

import numpy as np
import pytest

from ..conftest import small_config

PLAIN = {f"INPUT.{name}.ENABLED": False for name in ("FLIP", "REA", "CJ", "AUGMIX", "AUTOAUG")}


@pytest.fixture
def picture():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (50, 34, 3), dtype=np.uint8)


@pytest.fixture
def config_of(market_root):
    """Configuration with 64 x 32 images; changes are KEY: value, and not checked."""

    def build(changes=(), **root):
        cfg = small_config(root.get("root", market_root)).clone()
        cfg.defrost()
        changes = {"INPUT.SIZE_TRAIN": [64, 32], **PLAIN, **dict(changes)}
        cfg.merge_from_list([part for pair in changes.items() for part in pair])
        return cfg

    return build
