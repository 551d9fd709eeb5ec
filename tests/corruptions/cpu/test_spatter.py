"""Spatter: the reference, the colours laid on, moments of the fast mode."""

import numpy as np
import pytest

from fastreid_ext.corruptions.cpu.spatter import with_mud, with_water

from .modes import SEVERITIES, fast, moments_agree, noise_image, reference


@pytest.mark.parametrize("severity", SEVERITIES)
def test_fast_spatter_has_the_moments_of_reference(severity):
    moments_agree("spatter", severity, np.full((96, 64, 3), 110, np.uint8), samples=100)


def test_water_and_mud_are_laid_on_as_described():
    image = noise_image(4, 5)
    strength = np.random.default_rng(1).random((4, 5), dtype=np.float32)
    wide = strength.astype(np.float64)[..., None]
    watered = np.floor(np.minimum(image + wide * [175, 238, 238], 255))
    assert np.abs(with_water(image, strength) - watered).max() <= 1
    opaque = np.where(wide < 0.8, 0, wide)
    muddy = np.floor(image * (1 - opaque) + opaque * np.array([63, 42, 20]))
    assert np.abs(with_mud(image, strength) - muddy).max() <= 1
    np.testing.assert_array_equal(with_mud(image, strength)[strength < 0.8], image[strength < 0.8])


@pytest.mark.parametrize("severity", SEVERITIES)
def test_spatter_brightens_with_water_and_covers_with_mud(severity):
    image = noise_image(128, 64) // 2 + 64
    spattered = fast(image, "spatter", severity).astype(int)
    changed = (spattered != image).any(axis=-1).mean()
    assert 0.01 < changed < 0.6
    if severity <= 3:
        assert (spattered >= image).all()
    else:
        assert (spattered <= image).all()  # mud is darker than 64


@pytest.mark.parametrize("severity", SEVERITIES)
def test_spatter_is_the_references_but_for_moved_edges(severity, expected):
    """Within 1 grey level, but for 1e-4 of the values, where a Canny edge may lie elsewhere."""
    different = []
    for seed in range(6):
        image = noise_image(256, 128, seed)
        theirs = expected(image, "spatter", severity, np.random.RandomState(seed))
        different.append(
            np.abs(reference(image, "spatter", severity, seed).astype(int) - theirs) > 1
        )
    assert np.mean(different) <= 1e-4


def test_a_small_image_may_get_no_drop(expected):
    """Then the reference divides 0 by 0, and is black; fast leaves the image as it is."""
    image = noise_image(32, 32)
    blacks = [seed for seed in range(40) if reference(image, "spatter", 1, seed).max() == 0]
    assert blacks
    with np.errstate(invalid="ignore"):
        theirs = expected(image, "spatter", 1, np.random.RandomState(blacks[0]))
    assert theirs.max() == 0
    same = [seed for seed in range(40) if np.array_equal(fast(image, "spatter", 1, seed), image)]
    assert len(same) == pytest.approx(len(blacks), abs=12)
