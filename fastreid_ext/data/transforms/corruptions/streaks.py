"""Motion blur: a streak of Gaussian weights that starts at each pixel, borders repeated.

Letters: H height, W width, C channels, T taps. Tap i lies i pixels along the direction, rounded to
a whole pixel, and weighs exp(-i^2 / (2 sigma^2)), divided by the sum of all 2 * radius + 1 weights.
Where the streak is longer than the image, the taps outside are lost and the image darkens.
"""

import functools
import math

import numba
import numpy as np
from numpy.typing import NDArray

from fastreid_ext.data.transforms.corruptions.separable import NUDGE

Floats = NDArray[np.float32]
Offsets = NDArray[np.int64]


@functools.lru_cache(maxsize=32)
def streak_weights(radius: int, sigma: float) -> Floats:
    """Return the (2 * radius + 1,) weights from the pixel itself to the end of the streak."""
    taps = np.arange(2 * radius + 1)
    weights = np.exp(-(taps**2) / (2 * sigma**2))
    return (weights / weights.sum()).astype(np.float32)


def streak_offsets(taps: int, angle: float, height: int, width: int) -> tuple[Offsets, Offsets]:
    """Return the rows and columns (T,) at which each tap reads, relative to the pixel.

    Args:
        taps: length of the whole streak.
        angle: of the streak in degrees; 0 reads from the right, 90 from below.
        height: of the image; the streak ends before an offset of this size.
        width: of the image, likewise.
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
def _streak_row(
    padded: Floats, y: int, rows: Offsets, starts: Offsets, weights: Floats, total: Floats
) -> None:
    """Row ``y`` of the streaks; ``starts`` says where in a padded row each tap begins."""
    size, bottom = total.size, padded.shape[0] - 1
    total[:] = 0
    i = 0
    while i + 2 < rows.size:
        _add_taps(
            total,
            padded[min(max(y + rows[i], 0), bottom), starts[i] : starts[i] + size],
            weights[i],
            padded[min(max(y + rows[i + 1], 0), bottom), starts[i + 1] : starts[i + 1] + size],
            weights[i + 1],
            padded[min(max(y + rows[i + 2], 0), bottom), starts[i + 2] : starts[i + 2] + size],
            weights[i + 2],
        )
        i += 3
    while i < rows.size:
        source = padded[min(max(y + rows[i], 0), bottom)]
        _add_tap(total, source[starts[i] : starts[i] + size], weights[i])
        i += 1


@numba.njit(cache=True, nogil=True)
def _padded(source: NDArray, left: int, right: int, channels: int) -> Floats:
    """(H, N) rows as float32 with their ends repeated ``left`` and ``right`` pixels."""
    height, size = source.shape
    start = left * channels
    padded = np.empty((height, start + size + right * channels), np.float32)
    for y in range(height):
        row, pixels = padded[y], source[y]
        inner = row[start : start + size]
        for i in range(size):
            inner[i] = pixels[i]
        for i in range(start):
            row[i] = row[start + i % channels]
        for i in range(right * channels):
            row[start + size + i] = row[start + size - channels + i % channels]
    return padded


@numba.njit(cache=True, nogil=True)
def _streaked_bytes(
    image: NDArray[np.uint8], rows: Offsets, columns: Offsets, weights: Floats
) -> NDArray[np.uint8]:
    height, width, channels = image.shape
    size, left = width * channels, max(0, -columns.min())
    flat = image.reshape((height, size))
    padded = _padded(flat, left, max(0, columns.max()), channels)
    starts = (columns + left) * channels
    streaked = np.empty((height, size), np.uint8)
    total = np.empty(size, np.float32)
    for y in range(height):
        _streak_row(padded, y, rows, starts, weights, total)
        row = streaked[y]
        for i in range(size):
            row[i] = np.uint8(np.int32(min(total[i] + NUDGE, np.float32(255))))
    return streaked.reshape(image.shape)


@numba.njit(cache=True, nogil=True)
def _streaked_plane(plane: Floats, rows: Offsets, columns: Offsets, weights: Floats) -> Floats:
    left = max(0, -columns.min())
    padded = _padded(plane, left, max(0, columns.max()), 1)
    streaked = np.empty(plane.shape, np.float32)
    for y in range(plane.shape[0]):
        _streak_row(padded, y, rows, columns + left, weights, streaked[y])
    return streaked


def streak_image(
    image: NDArray[np.uint8], radius: int, sigma: float, angle: float
) -> NDArray[np.uint8]:
    """Return an (H, W, 3) image blurred along ``angle`` degrees, truncated to uint8."""
    weights = streak_weights(radius, sigma)
    offsets = streak_offsets(weights.size, angle, *image.shape[:2])
    return _streaked_bytes(image, *offsets, weights)


def streak_plane(plane: Floats, radius: int, sigma: float, angle: float) -> Floats:
    """Return an (H, W) float32 plane blurred along ``angle`` degrees."""
    weights = streak_weights(radius, sigma)
    return _streaked_plane(plane, *streak_offsets(weights.size, angle, *plane.shape), weights)
