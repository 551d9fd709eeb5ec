"""Faithful mode against imagecorruptions 1.1.2, repaired: every name, severity and kind of image."""

import numpy as np
import pytest

from fastreid_ext.data.transforms.corruptions import CORRUPTION_NAMES, corrupt

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


def compare(image, name, severity, seed, expected):
    """Return the largest difference and the share of values that differ."""
    wanted, next_number = expected(image, name, severity, seed)
    rng = np.random.RandomState(seed)
    got = corrupt(image, name, severity, rng, faithful=True)
    assert got.dtype == np.uint8
    assert got.shape == image.shape
    assert rng.random_sample() == next_number, "the stream goes on elsewhere"
    difference = np.abs(got.astype(int) - wanted)
    return difference.max(), (difference > 0).mean()


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("name", OF_REFERENCE)
def test_equals_the_reference(name, severity, texture, person, expected):
    for seed, (height, width) in enumerate(SIZES):
        for image, is_textured in ((texture(height, width), True), (person(height, width), False)):
            largest, share = compare(image, name, severity, seed, expected)
            assert largest <= (0 if name in EXACT else 1), (height, width, is_textured)
            if is_textured:
                assert share <= SHARES.get(name, OTHERS), (height, width)


@pytest.mark.parametrize("name", [name for name in OF_REFERENCE if name != "glass_blur"])
def test_equals_the_reference_at_the_size_of_reid(name, person, expected):
    largest, _ = compare(person(256, 128), name, 3, 17, expected)
    assert largest <= (0 if name in EXACT else 1)


@pytest.mark.parametrize("level", [0, 1, 100, 254, 255])
@pytest.mark.parametrize("name", [name for name in OF_REFERENCE if name != "glass_blur"])
def test_equals_the_reference_on_an_even_image(name, level, expected):
    image = np.full((32, 35, 3), level, np.uint8)
    for severity in (1, 3, 5):
        largest, _ = compare(image, name, severity, 5, expected)
        assert largest <= (0 if name in EXACT else 1)


@pytest.mark.parametrize("name", OF_REFERENCE)
def test_a_stream_in_the_middle_of_its_state(name, texture, expected):
    """The reference after other draws, among them half a pair of normals and a 32-bit number."""
    image = texture(35, 41)
    wanted = np.random.RandomState(3)
    wanted.normal(), wanted.randint(7)
    before = np.random.get_state()
    np.random.set_state(wanted.get_state())
    state = np.random.get_state()
    rng = np.random.RandomState()
    rng.set_state(state)
    from fastreid_ext.compat.imagecorruptions import reference

    reference_image = reference().corrupt(image, 2, name)
    next_numbers = np.random.normal(size=3)
    np.random.set_state(before)
    got = corrupt(image, name, 2, rng, faithful=True)
    assert np.abs(got.astype(int) - reference_image).max() <= (0 if name in EXACT else 1)
    np.testing.assert_array_equal(rng.normal(size=3), next_numbers)
