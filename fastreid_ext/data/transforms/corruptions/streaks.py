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

_AT_ONCE = 4096  # numbers, of which the sums and three taps fit into the first cache


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
def _padded(
    source: NDArray, above: int, left: int, height: int, width: int, channels: int
) -> Floats:
    """(H, W * C) rows in the middle of larger ones of float32, whose borders repeat theirs."""
    rows, size = source.shape
    start = left * channels
    padded = np.empty((height, width * channels), np.float32)
    for y in range(rows):
        row, pixels = padded[above + y], source[y]
        inner = row[start : start + size]
        for i in range(size):
            inner[i] = pixels[i]
        for i in range(start):
            row[i] = row[start + i % channels]
        for i in range(start + size, row.size):
            row[i] = row[i - channels]
    for y in range(above):
        padded[y] = padded[above]
    for y in range(above + rows, height):
        padded[y] = padded[above + rows - 1]
    return padded


@numba.njit(cache=True, nogil=True)
def _streaks(
    source: NDArray, rows: Offsets, columns: Offsets, weights: Floats, channels: int
) -> Floats:
    """Streaks of (H, W * C) rows, as (H, stride) of which the first W * C are meant.

    In a padded image each tap lies at one distance from all its pixels, whatever their row, so it
    is added to many rows in one loop; a part at a time, so that the sums stay in the cache.
    """
    height, width = source.shape[0], source.shape[1] // channels
    above, left = max(0, -rows.min()), max(0, -columns.min())
    wide = left + width + max(0, columns.max())
    # One more row, for the meaningless last numbers of the last row.
    padded = _padded(source, above, left, above + height + max(0, rows.max()) + 1, wide, channels)
    stride = wide * channels
    flat, total = padded.reshape(-1), np.zeros(height * stride, np.float32)
    starts = (above + rows) * stride + (left + columns) * channels
    for begin in range(0, total.size, _AT_ONCE):
        part = total[begin : begin + _AT_ONCE]
        size = part.size
        i = 0
        while i + 2 < rows.size:
            a, b, c = starts[i] + begin, starts[i + 1] + begin, starts[i + 2] + begin
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
        while i < rows.size:
            _add_tap(part, flat[starts[i] + begin :][:size], weights[i])
            i += 1
    return total.reshape(height, stride)


@numba.njit(cache=True, nogil=True)
def _streaked_bytes(
    image: NDArray[np.uint8], rows: Offsets, columns: Offsets, weights: Floats
) -> NDArray[np.uint8]:
    height, width, channels = image.shape
    flat = image.reshape((height, width * channels))
    streaks = _streaks(flat, rows, columns, weights, channels)
    streaked = np.empty((height, width * channels), np.uint8)
    for y in range(height):
        row, total = streaked[y], streaks[y]
        for i in range(row.size):
            row[i] = np.uint8(np.int32(min(total[i] + NUDGE, np.float32(255))))
    return streaked.reshape(image.shape)


def streak_image(
    image: NDArray[np.uint8], radius: int, sigma: float, angle: float
) -> NDArray[np.uint8]:
    """Return an (H, W, 3) image blurred along ``angle`` degrees, truncated to uint8."""
    weights = streak_weights(radius, sigma)
    offsets = streak_offsets(weights.size, angle, *image.shape[:2])
    return _streaked_bytes(image, *offsets, weights)


def streak_plane(plane: Floats, radius: int, sigma: float, angle: float) -> Floats:
    """Return an (H, W) float32 plane blurred along ``angle`` degrees; a view of a wider one."""
    weights = streak_weights(radius, sigma)
    offsets = streak_offsets(weights.size, angle, *plane.shape)
    return _streaks(plane, *offsets, weights, 1)[:, : plane.shape[1]]
