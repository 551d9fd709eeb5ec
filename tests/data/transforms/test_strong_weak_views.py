"""ICE's views, and blur."""

import numpy as np
import pytest
import torch
from PIL import Image

from fastreid_ext.data.transforms import build_transforms
from fastreid_ext.data.transforms.blur import RandomBlur
from fastreid_ext.data.transforms.one_pass import ResizeOnly

VIEWS = {
    "INPUT.VIEWS.RECIPE": "strong_weak",
    "INPUT.VIEWS.SUPERVISED": "all",
    "INPUT.FLIP.ENABLED": True,
    "INPUT.PADDING.ENABLED": True,
    "INPUT.BLUR.ENABLED": True,
    "INPUT.REA.ENABLED": True,
    "INPUT.REA.PROB": 1.0,
    "INPUT.REA.VALUE": [0.0, 255.0, 0.0],
}


def views_of(cfg, picture, seed=0):
    torch.manual_seed(seed)
    return build_transforms(cfg, is_train=True)(Image.fromarray(picture))


def is_erased(view):
    colour = torch.tensor([0, 255, 0], dtype=torch.uint8)[:, None, None]
    return bool((view == colour).all(dim=0).sum() > 10)


def test_last_view_is_resized_alone_and_the_others_are_augmented(config_of, picture):
    cfg = config_of(VIEWS)
    resized = ResizeOnly((64, 32))(picture)
    for seed in range(10):
        first, second, weak = views_of(cfg, picture, seed)
        assert torch.equal(weak, resized)
        assert is_erased(first)
        assert is_erased(second)
        assert not torch.equal(first, second)


def test_views_repeat_under_equal_seeds(config_of, picture):
    cfg = config_of(VIEWS)
    assert torch.equal(views_of(cfg, picture, 3), views_of(cfg, picture, 3))


def test_blur_happens_with_its_probability_and_range():
    rng = np.random.default_rng(0)
    sampled = [RandomBlur(probability=0.5, sigma=(0.1, 2.0)).sample(rng) for _ in range(2000)]
    happened = [sigma for sigma in sampled if sigma is not None]
    assert 930 < len(happened) < 1070
    assert 0.1 <= min(happened) < 0.15
    assert 1.95 < max(happened) <= 2.0
    assert abs(np.mean(happened) - 1.05) < 0.05


def test_blur_spreads_a_point_as_a_gaussian_and_keeps_the_input():
    image = np.zeros((41, 41, 3), np.uint8)
    image[20, 20] = 255
    blurred = RandomBlur.apply(image, 2.0).astype(float)
    assert image.sum() == 3 * 255
    columns = np.arange(41) - 20
    mass = blurred[..., 0].sum(axis=0)
    assert np.average(columns**2, weights=mass) == pytest.approx(4.0, rel=0.25)
    assert np.array_equal(RandomBlur.apply(np.full((8, 8, 3), 7, np.uint8), 1.0), image[:8, :8] + 7)
