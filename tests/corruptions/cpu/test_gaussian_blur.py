"""Gaussian blur against closed forms and scipy."""

import numpy as np
import pytest
from scipy import ndimage

from fastreid_ext.corruptions.cpu.gaussian_blur import (
    GAUSSIAN_BLUR,
    gaussian_of_image,
    gaussian_of_plane,
    half_gaussian,
)

from .modes import SEVERITIES, agrees_after_truncation, fast


@pytest.mark.parametrize("sigma", [0.7, 0.9, 1.0, 1.1, 1.5, 2, 3, 4, 6])
def test_reference_even_areas_fall_where_scipys_do(sigma):
    for level in range(256):
        image = np.full((3, 4, 3), level, np.uint8)
        blurred = ndimage.gaussian_filter(image / 255.0, (sigma, sigma, 0), mode="nearest")
        ours = gaussian_of_image(image, sigma, reference=True)
        np.testing.assert_array_equal(ours, np.uint8(blurred * 255))
        np.testing.assert_array_equal(gaussian_of_image(image, sigma, reference=False), image)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_gaussian_blur_of_an_edge_is_the_sum_of_the_weights(severity):
    sigma = GAUSSIAN_BLUR[severity - 1]
    steps = np.arange(-4 * sigma, 4 * sigma + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    rising = 200 * np.cumsum(weights / weights.sum())  # from 4 sigma before the edge on
    image = np.zeros((128, 100, 3), np.uint8)
    image[:, 50:] = 200
    for turned in (image, image.transpose(1, 0, 2).copy()):
        blurred = fast(turned, "gaussian_blur", severity)
        profile = blurred[64, :, 1] if turned is image else blurred[:, 64, 1]
        agrees_after_truncation(profile[50 - 4 * sigma : 50 + 4 * sigma + 1], rising)


@pytest.mark.parametrize("shape", [(33, 47), (5, 7), (64, 32)])
@pytest.mark.parametrize("sigma", [0.7, 1.1, 3, 6])
def test_gaussian_of_a_plane_equals_scipy(shape, sigma):
    plane = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    expected = ndimage.gaussian_filter(plane.astype(np.float64), sigma, mode="nearest")
    np.testing.assert_allclose(gaussian_of_plane(plane, sigma), expected, atol=2e-6)


def test_the_gaussian_is_cut_off_at_4_deviations():
    assert half_gaussian(1.1).size == 1 + 4
    assert half_gaussian(6).size == 1 + 24
