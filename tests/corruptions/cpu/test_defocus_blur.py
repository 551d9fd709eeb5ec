"""Defocus blur against a slow sum, and its kernels."""

import numpy as np
import pytest

from fastreid_ext.corruptions.cpu.defocus_blur import DEFOCUS_BLUR, disk_kernel

from .modes import SEVERITIES, agrees_after_truncation, fast, noise_image


def test_the_smallest_disk_has_29_equal_pixels():
    kernel = disk_kernel(3, 0.1)
    assert kernel.shape == (17, 17)
    kernel[kernel < 1e-20] = 0
    np.testing.assert_allclose(kernel[kernel > 0], 1 / 29, rtol=1e-6)
    assert (kernel > 0).sum() == 29
    assert (kernel > 0).any(axis=0).sum() == 7


@pytest.mark.parametrize(("radius", "total"), [(4, 1), (6, 1), (8, 1.013), (10, 1.011)])
def test_a_disk_is_even_inside_and_soft_at_its_edge(radius, total):
    kernel = disk_kernel(radius, 0.5).astype(np.float64)
    rows, columns = np.indices(kernel.shape) - kernel.shape[0] // 2
    distance = np.hypot(rows, columns)
    assert kernel.sum() == pytest.approx(total, abs=3e-4)
    inside = kernel[distance < radius - 2.5]
    np.testing.assert_allclose(inside, inside[0], rtol=1e-4)
    assert 0.9 < inside[0] * np.pi * radius**2 < 1.1
    assert (kernel[distance > radius + 3] == 0).all()


def test_defocus_of_a_point_is_a_disk():
    image = np.zeros((40, 40, 3), np.uint8)
    image[20, 20] = 255
    blurred = fast(image, "defocus_blur", 1)
    rows, columns = np.indices((40, 40)) - 20
    np.testing.assert_array_equal(
        blurred[..., 0], np.where(rows**2 + columns**2 <= 9, 255 // 29, 0)
    )


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("shape", [(32, 41), (57, 33)])
def test_defocus_equals_the_convolution_as_a_sum(severity, shape):
    image = noise_image(*shape)
    kernel = disk_kernel(*DEFOCUS_BLUR[severity - 1]).astype(np.float64)
    reach = kernel.shape[0] // 2
    mirrored = np.pad(image.astype(np.float64), ((reach, reach), (reach, reach), (0, 0)), "reflect")
    expected = np.zeros(image.shape)
    for row in range(2 * reach + 1):
        for column in range(2 * reach + 1):
            part = mirrored[row : row + shape[0], column : column + shape[1]]
            expected += kernel[row, column] * part
    agrees_after_truncation(fast(image, "defocus_blur", severity), expected)
