"""Rules that all blurs follow."""

import numpy as np
import pytest

from fastreid_ext.corruptions.cpu import corrupt

from .modes import SEVERITIES, fast, noise_image

BLURS = ("gaussian_blur", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur")


@pytest.mark.parametrize("name", BLURS)
@pytest.mark.parametrize("severity", SEVERITIES)
def test_an_even_image_stays_even(name, severity):
    colour = np.array([0, 131, 255], np.uint8)
    image = np.broadcast_to(colour, (64, 48, 3)).copy()
    if name == "defocus_blur" and severity >= 4:  # the kernel sums to more than 1, see disk_kernel
        colour[1] += 1
    np.testing.assert_array_equal(fast(image, name, severity), np.broadcast_to(colour, image.shape))


def test_blurs_without_randomness_leave_the_generator_alone():
    rng = np.random.RandomState(0)
    for name in ("gaussian_blur", "defocus_blur", "zoom_blur"):
        corrupt(noise_image(40, 40), name, 3, rng, reference=True)
    assert rng.randint(2**31) == np.random.RandomState(0).randint(2**31)
