"""The blurs against closed forms, slow loops of the described rules, and scipy."""

import numpy as np
import pytest
from scipy import ndimage

from fastreid_ext.corruptions.cpu import corrupt
from fastreid_ext.corruptions.cpu.defocus_blur import DEFOCUS_BLUR, disk_kernel
from fastreid_ext.corruptions.cpu.gaussian_blur import (
    GAUSSIAN_BLUR,
    gaussian_of_image,
    gaussian_of_plane,
    half_gaussian,
)
from fastreid_ext.corruptions.cpu.motion_blur import (
    MOTION_BLUR,
    streak_image,
    streak_offsets,
    streak_plane,
    streak_weights,
)
from fastreid_ext.corruptions.cpu.zoom_blur import ZOOM_BLUR, zoom_table

from .modes import SEVERITIES, fast, noise_image

BLURS = ("gaussian_blur", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur")


def agrees_after_truncation(image, exact):
    """Equal to the truncated exact values, but where these lie within 0.01 of a whole number."""
    certain = np.abs(exact - np.round(exact)) > 0.01
    assert np.abs(image - exact).max() < 1.01
    np.testing.assert_array_equal(image[certain], np.floor(exact[certain]))


@pytest.mark.parametrize("name", BLURS)
@pytest.mark.parametrize("severity", SEVERITIES)
def test_an_even_image_stays_even(name, severity):
    colour = np.array([0, 131, 255], np.uint8)
    image = np.broadcast_to(colour, (64, 48, 3)).copy()
    if name == "defocus_blur" and severity >= 4:  # the kernel sums to more than 1, see disk_kernel
        colour[1] += 1
    np.testing.assert_array_equal(fast(image, name, severity), np.broadcast_to(colour, image.shape))


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


def slow_streak(plane, radius, sigma, angle):
    """The rule as it is described: shift by whole pixels, repeat the border, weigh, add."""
    taps = 2 * radius + 1
    weights = np.exp(-(np.arange(taps) ** 2) / (2 * sigma**2))
    weights /= weights.sum()
    height, width = plane.shape[:2]
    total = np.zeros(plane.shape)
    for i in range(taps):
        down = int(np.ceil(i * np.sin(np.deg2rad(angle)) - 0.5))
        right = int(np.ceil(i * np.cos(np.deg2rad(angle)) - 0.5))
        if abs(down) >= height or abs(right) >= width:
            break
        rows = np.clip(np.arange(height) + down, 0, height - 1)
        columns = np.clip(np.arange(width) + right, 0, width - 1)
        total += weights[i] * plane[rows][:, columns]
    return total


@pytest.mark.parametrize("angle", [-44.3, -20.1, 0.7, 13.9, 44.8])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_motion_blur_equals_the_slow_streak(angle, severity):
    image = noise_image(61, 45)
    blurred = streak_image(image, *MOTION_BLUR[severity - 1], angle)
    agrees_after_truncation(blurred, slow_streak(image, *MOTION_BLUR[severity - 1], angle))


@pytest.mark.parametrize("angle", [-134.2, -90.3, -60.6, -45.1])
def test_a_plane_is_streaked_likewise(angle):
    plane = np.random.default_rng(0).random((37, 52), dtype=np.float32)
    expected = slow_streak(plane, 12, 8, angle)
    np.testing.assert_allclose(streak_plane(plane, 12, 8, angle), expected, atol=1e-5)


def test_motion_blur_runs_along_its_angle():
    image = np.zeros((64, 64, 3), np.uint8)
    image[30, 40] = 255
    flat = streak_image(image, 10, 3, 0.0)
    assert (flat[np.arange(64) != 30] == 0).all()
    assert (np.diff(flat[30, 28:41, 0].astype(int)) >= 0).all()  # reads from the right
    assert (flat[30, 41:] == 0).all()
    rows, columns = np.nonzero(streak_image(image, 10, 3, 45.0)[..., 0])
    np.testing.assert_array_equal(rows - 30, columns - 40)  # up and to the left


def test_a_streak_longer_than_the_image_loses_weight():
    image = np.full((32, 32, 3), 200, np.uint8)
    rows, columns = streak_offsets(41, 0.0, 32, 32)
    assert rows.size == columns.size == 32
    kept = streak_weights(20, 15).astype(np.float64)[:32].sum()
    assert kept < 0.99
    assert (streak_image(image, 20, 15, 0.0) == int(200 * kept)).all()


def test_motion_blur_samples_its_angle_from_either_side():
    image = np.zeros((64, 64, 3), np.uint8)
    image[32, 40] = 255
    above = 0
    for seed in range(200):
        rows, _ = np.nonzero(fast(image, "motion_blur", 1, seed)[..., 0])
        assert np.abs(rows - 32).max() <= 11
        above += rows.mean() < 32
    assert 70 < above < 130  # half, but for about 12 % within a pixel's rounding


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


def test_blurs_without_randomness_leave_the_generator_alone():
    rng = np.random.RandomState(0)
    for name in ("gaussian_blur", "defocus_blur", "zoom_blur"):
        corrupt(noise_image(40, 40), name, 3, rng, reference=True)
    assert rng.randint(2**31) == np.random.RandomState(0).randint(2**31)
