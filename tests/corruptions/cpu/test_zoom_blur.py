"""Zoom blur against scipy's zoom."""

import numpy as np
import pytest
from scipy import ndimage

from fastreid_ext.corruptions.cpu.zoom_blur import ZOOM_BLUR, zoom_table

from .modes import SEVERITIES, agrees_after_truncation, fast, noise_image


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("shape", [(33, 40), (64, 32)])
def test_zoom_blur_equals_the_mean_of_scipys_zooms(severity, shape):
    image = noise_image(*shape)
    total = image.astype(np.float64)
    for factor in ZOOM_BLUR[severity - 1]:
        rows, columns = (int(np.ceil(side / factor)) for side in shape)
        top, left = (shape[0] - rows) // 2, (shape[1] - columns) // 2
        centre = image[top : top + rows, left : left + columns].astype(np.float64)
        zoomed = ndimage.zoom(centre, (factor, factor, 1), order=1)
        total += zoomed[: shape[0], : shape[1]]
    mean = total / (len(ZOOM_BLUR[severity - 1]) + 1)
    agrees_after_truncation(fast(image, "zoom_blur", severity), mean)


def test_zoom_blur_has_the_factors_that_arange_counts():
    assert [len(factors) for factors in ZOOM_BLUR] == [12, 16, 11, 13, 11]
    assert ZOOM_BLUR[0][-1] == pytest.approx(1.11)


@pytest.mark.parametrize("factor", [1.0, 1.01, 1.07, 1.14, 1.3, 3, 4.5])
def test_zoomed_axes_equal_scipys_for_all_sizes(factor):
    for size in range(32, 200):
        axis = np.random.default_rng(size).uniform(0.5, 1, size)
        source = int(np.ceil(size / factor))
        start = (size - source) // 2
        expected = ndimage.zoom(axis[start : start + source], factor, order=1)
        first, weight, other = zoom_table(size, factor, crop=False)
        zoomed = weight * axis[first] + other * axis[first + 1]
        np.testing.assert_allclose(zoomed, expected, atol=1e-12)
