"""Motion blur: a streak of Gaussian weights that starts at each pixel, borders repeated.

Letters: H height, W width, C channels, T taps. Tap i lies i pixels along the direction, rounded to
a whole pixel, and weighs exp(-i^2 / (2 sigma^2)), divided by the sum of all 2 * radius + 1 weights.
Where the streak is longer than the image, the taps outside are lost and the image darkens.
"""

import functools
import math

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from fastreid_ext.corruptions.cpu.gaussian_blur import NUDGE

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]
Offsets = NDArray[np.int64]
RandomSource = np.random.RandomState | np.random.Generator

# (half the length of the streak, its standard deviation), both in pixels, for severity 1 to 5.
MOTION_BLUR = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))

_AT_ONCE = 4096  # numbers, of which the sums and three taps fit into the first cache


def motion_blur(image: Image, severity: int, rng: RandomSource, reference: bool) -> Image:
    """Blur an image along a line within 45 degrees of horizontal; the angle is sampled."""
    return streak_image(image, *MOTION_BLUR[severity - 1], angle=rng.uniform(-45, 45))


@functools.lru_cache(maxsize=32)
def streak_weights(radius: int, sigma: float) -> Floats:
    """Compute the (2 * radius + 1,) weights from the pixel itself to the end of the streak."""
    taps = np.arange(2 * radius + 1)
    weights = np.exp(-(taps**2) / (2 * sigma**2))
    return (weights / weights.sum()).astype(np.float32)


def streak_offsets(taps: int, angle: float, height: int, width: int) -> tuple[Offsets, Offsets]:
    """Compute the rows and columns (T,) at which each tap reads, relative to the pixel.

    Args:
        taps: length of the whole streak in pixels.
        angle: direction of the streak in degrees; 0 reads from the right, 90 from below.
        height: rows of the image; the streak ends before an offset of this size.
        width: columns of the image; the streak ends before an offset of this size.
    """
    radians = np.deg2rad(angle)
    point = taps * np.sin(radians), taps * np.cos(radians)
    length = math.hypot(*point)
    steps = np.arange(taps)
    rows = np.ceil(steps * point[0] / length - 0.5).astype(np.int64)
    columns = np.ceil(steps * point[1] / length - 0.5).astype(np.int64)
    outside = (np.abs(rows) >= height) | (np.abs(columns) >= width)
    inside = int(outside.argmax()) if outside.any() else taps
    return rows[:inside], columns[:inside]


@numba.njit(cache=True, nogil=True)
def _add_taps(
    total: Floats, a: Floats, wa: np.float32, b: Floats, wb: np.float32, c: Floats, wc: np.float32
) -> None:
    for i in range(total.size):
        total[i] += wa * a[i] + wb * b[i] + wc * c[i]


@numba.njit(cache=True, nogil=True)
def _add_tap(total: Floats, a: Floats, weight: np.float32) -> None:
    for i in range(total.size):
        total[i] += weight * a[i]


@numba.njit(cache=True, nogil=True)
def _add_up(flat: Floats, starts: Offsets, weights: Floats, total: Floats) -> None:
    """Add up, for each tap, ``weight * flat[start:]``; a part at a time, to stay in the cache."""
    for begin in range(0, total.size, _AT_ONCE):
        part = total[begin : begin + _AT_ONCE]
        part[:] = 0
        size = part.size
        i = 0
        while i + 2 < starts.size:
            a = starts[i] + begin
            b = starts[i + 1] + begin
            c = starts[i + 2] + begin
            _add_taps(
                part,
                flat[a : a + size],
                weights[i],
                flat[b : b + size],
                weights[i + 1],
                flat[c : c + size],
                weights[i + 2],
            )
            i += 3
        while i < starts.size:
            a = starts[i] + begin
            _add_tap(part, flat[a : a + size], weights[i])
            i += 1


def _streaks(source: Image | Floats, radius: int, sigma: float, angle: float) -> Floats:
    """Streak an (H, W, C) image or (H, W) plane: (H, stride), of which the first W * C count.

    In a padded image each tap lies at one distance from all its pixels, whatever their row, so it
    is added to many rows in one loop.
    """
    height, width = source.shape[:2]
    channels = source.size // (height * width)
    weights = streak_weights(radius, sigma)
    rows, columns = streak_offsets(weights.size, angle, height, width)
    above = max(0, -rows.min())
    left = max(0, -columns.min())
    # One more row below, which the unused end of the last row reads.
    borders = above, max(0, rows.max()) + 1, left, max(0, columns.max())
    padded = cv2.copyMakeBorder(source, *map(int, borders), cv2.BORDER_REPLICATE)
    stride = padded.shape[1] * channels
    total = np.empty((height, stride), np.float32)
    starts = (above + rows) * stride + (left + columns) * channels
    _add_up(padded.astype(np.float32, copy=False).reshape(-1), starts, weights, total.reshape(-1))
    return total


@numba.njit(cache=True, nogil=True)
def _truncated(streaks: Floats, size: int) -> NDArray[np.uint8]:
    truncated = np.empty((streaks.shape[0], size), np.uint8)
    for y in range(streaks.shape[0]):
        row = truncated[y]
        total = streaks[y]
        for i in range(size):
            row[i] = np.uint8(np.int32(min(total[i] + NUDGE, np.float32(255))))
    return truncated


def streak_image(image: Image, radius: int, sigma: float, angle: float) -> Image:
    """Blur an (H, W, 3) image along ``angle`` degrees and truncate to uint8."""
    streaks = _streaks(image, radius, sigma, angle)
    return _truncated(streaks, 3 * image.shape[1]).reshape(image.shape)


def streak_plane(plane: Floats, radius: int, sigma: float, angle: float) -> Floats:
    """Blur an (H, W) float32 plane along ``angle`` degrees; the result is a view of a wider one."""
    return _streaks(plane, radius, sigma, angle)[:, : plane.shape[1]]
