"""Motion blur against a slow loop of its rule."""

import numpy as np
import pytest

from fastreid_ext.corruptions.cpu.motion_blur import (
    MOTION_BLUR,
    streak_image,
    streak_offsets,
    streak_plane,
    streak_weights,
)

from .modes import SEVERITIES, agrees_after_truncation, fast, noise_image


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
