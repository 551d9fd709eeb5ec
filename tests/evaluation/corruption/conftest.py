"""Fixtures of the small Market-1501 of the data tests."""

import pytest

from fastreid_ext.evaluation.corruption.corrupted_images import test_images
from fastreid_ext.evaluation.corruption.index import sample_index

from ...data.conftest import make_cfg, market_root, small_config, write_image

__all__ = ["SOME", "make_cfg", "market_root", "small_config", "write_image"]

SOME = ("gaussian_noise", "fog", "rain")  # quick to compile


@pytest.fixture
def images(make_cfg):
    return test_images(make_cfg(), "Market1501")


@pytest.fixture
def index(images):
    return sample_index("Market1501", images.files("both"), repeats=3)
