"""timm's RandAugment as a step on arrays."""

import random

import numpy as np
import pytest
from PIL import Image
from timm.data.auto_augment import rand_augment_transform

from fastreid_ext.config import load_config
from fastreid_ext.data.dataset import seeded_randomness
from fastreid_ext.data.samplers import SampledIndex
from fastreid_ext.data.transforms import build_transforms
from fastreid_ext.data.transforms.rand_augment import TimmRandAugment

TEXT = "rand-m9-mstd0.5-inc1"
MEAN = (123.675, 116.28, 103.53)
RNG = np.random.default_rng(0)


@pytest.fixture
def picture():
    return np.random.default_rng(3).integers(0, 256, (64, 32, 3), np.uint8)


def seeded(seed):
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  timm samples from it


def test_pixels_are_timms(picture):
    ours = TimmRandAugment(TEXT, fill=MEAN)
    before = picture.copy()
    theirs = rand_augment_transform(TEXT, {"img_mean": (124, 116, 104)})
    for seed in range(20):
        seeded(seed)
        expected = np.asarray(theirs(Image.fromarray(picture)))
        seeded(seed)
        assert np.array_equal(ours(picture, RNG), expected), seed
    assert np.array_equal(picture, before)


def test_two_operations_each_left_out_half_of_the_time(picture):
    augment = TimmRandAugment(TEXT, fill=MEAN)
    seeded(0)
    unchanged = sum(np.array_equal(augment(picture, RNG), picture) for _ in range(400))
    assert 70 < unchanged < 150  # 100 get neither; some operations change nothing


def test_posterizing_to_no_bits_is_black(picture):
    """At magnitude 10 nothing is left of 4 bits; Pillow would raise."""
    augment = TimmRandAugment("rand-m10-inc1", fill=MEAN)
    seeded(0)
    made = [augment(picture, RNG) for _ in range(200)]
    assert any(not image.any() for image in made)


def test_an_image_depends_on_its_seed_alone(picture):
    cfg = load_config(
        "",
        [
            *("MODEL.DEVICE", "cpu", "INPUT.SIZE_TRAIN", "[64, 32]"),
            *("INPUT.RANDAUGMENT.ENABLED", "True", "INPUT.RANDAUGMENT.TIMM", TEXT),
        ],
    )
    transform = build_transforms(cfg, is_train=True)
    assert "TimmRandAugment" in repr(transform)

    def image_at(number):
        with seeded_randomness(SampledIndex(0, seed=5, position=number)):
            return transform(picture)

    first = [image_at(number) for number in range(6)]
    seeded(1)
    again = [image_at(number) for number in reversed(range(6))][::-1]
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert any((a != first[0]).any() for a in first)
