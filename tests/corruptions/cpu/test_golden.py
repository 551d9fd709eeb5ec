"""Faithful mode against imagecorruptions 1.1.2, repaired: every name and severity."""

import numpy as np
import pytest

from fastreid_ext.corruptions.cpu import CORRUPTION_NAMES, corrupt

OF_REFERENCE = [name for name in CORRUPTION_NAMES if name != "rain"]  # rain is ours
EXACT = {
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "speckle_noise",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "saturate",
    "pixelate",
    "jpeg_compression",
}
# Share of values that may be 1 off in a textured image: a result that is a whole grey level but for
# rounding errors is truncated either way.
SHARES = {"defocus_blur": 0.05, "elastic_transform": 0.002, "spatter": 0.001}
OTHERS = 0.005
SIZES = [(40, 33), (64, 32), (33, 71)]


def compare(image, name, severity, expected, seed=0, before=()):
    """Return the largest difference and the share of values that differ.

    ``before`` sample from the stream first: the stream need not be at the start of its state.
    """
    reference_rng = np.random.RandomState(seed)
    rng = np.random.RandomState(seed)
    for sample in before:
        sample(reference_rng), sample(rng)
    wanted = expected(image, name, severity, reference_rng)
    got = corrupt(image, name, severity, rng, reference=True)
    assert got.dtype == np.uint8
    assert got.shape == image.shape
    np.testing.assert_array_equal(rng.normal(size=3), reference_rng.normal(size=3))
    difference = np.abs(got.astype(int) - wanted)
    return difference.max(), (difference > 0).mean()


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("name", OF_REFERENCE)
def test_equals_the_reference(name, severity, texture, figure, expected):
    for seed, (height, width) in enumerate(SIZES):
        for image, is_textured in ((texture(height, width), True), (figure(height, width), False)):
            largest, share = compare(image, name, severity, expected, seed)
            assert largest <= (0 if name in EXACT else 1), (height, width, is_textured)
            if is_textured:
                assert share <= SHARES.get(name, OTHERS), (height, width)


@pytest.mark.parametrize("name", [name for name in OF_REFERENCE if name != "glass_blur"])
def test_equals_the_reference_at_the_size_of_reid(name, figure, expected):
    largest, _ = compare(figure(256, 128), name, 3, expected)
    assert largest <= (0 if name in EXACT else 1)


@pytest.mark.parametrize("level", [0, 1, 100, 254, 255])
@pytest.mark.parametrize("name", [name for name in OF_REFERENCE if name != "glass_blur"])
def test_equals_the_reference_on_an_even_image(name, level, expected):
    image = np.full((32, 35, 3), level, np.uint8)
    for severity in (1, 3, 5):
        largest, _ = compare(image, name, severity, expected)
        assert largest <= (0 if name in EXACT else 1)


@pytest.mark.parametrize("name", OF_REFERENCE)
def test_equals_the_reference_in_the_middle_of_a_state(name, texture, expected):
    """Half a pair of normals is left over, and a number of 32 bits was taken."""
    before = (lambda rng: rng.normal(), lambda rng: rng.randint(7))
    largest, _ = compare(texture(35, 41), name, 2, expected, before=before)
    assert largest <= (0 if name in EXACT else 1)
