"""Zooming into the centre of an image by bilinear interpolation between its outermost pixels.

Letters: H height, W width, C channels, K zoom factors. As scipy's ``zoom`` of order 1: the centre
of ceil(H / factor) rows is spread over round(rows * factor) rows, first on first and last on last,
and only the first H of them are kept, which lie off centre by a pixel or so. A place that rounding
puts behind the last row counts as black.
"""

import functools

import numba
import numpy as np
from numpy.typing import NDArray

from fastreid_ext.corruptions.cpu.gaussian_blur import NUDGE

Image = NDArray[np.uint8]
RandomSource = np.random.RandomState | np.random.Generator
Floats = NDArray[np.float32]
Table = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]
Tables = tuple[NDArray[np.uint64], Floats, Floats]

# (first factor, end, step) for severity 1 to 5, counted by np.arange: severity 1 has 12 factors, up
# to 1.11.
ZOOM_SPANS = ((1, 1.11, 0.01), (1, 1.16, 0.01), (1, 1.21, 0.02), (1, 1.26, 0.02), (1, 1.31, 0.03))
ZOOM_BLUR = tuple(tuple(np.arange(*span).tolist()) for span in ZOOM_SPANS)


def zoom_blur(image: Image, severity: int, rng: RandomSource, reference: bool) -> Image:
    """Average an image and zooms into its centre, truncated to uint8; nothing is random."""
    height, width = image.shape[:2]
    factors = ZOOM_BLUR[severity - 1]
    return _mean_of_zooms(image, _tables(height, factors), _tables(width, factors))


def zoom_table(size: int, factor: float, *, crop: bool) -> Table:
    """Compute where each zoomed pixel of an axis comes from.

    Args:
        size: length of the axis, H or W, in pixels.
        factor: zoom factor, at least 1.
        crop: keep only the first ``size`` zoomed pixels.

    Returns:
        Index of the first of two neighbouring pixels, and the weights of both; each (size,), or
        (round(ceil(size / factor) * factor),) if not cropped.
    """
    source = int(np.ceil(size / float(factor)))
    target = round(source * factor)
    positions = np.arange(target) * ((source - 1) / (target - 1))
    first = np.clip(positions.astype(np.int64), 0, source - 2)
    second_weight = positions - first
    first_weight = 1 - second_weight
    behind = positions > source - 1
    first_weight[behind] = 0
    second_weight[behind] = 0
    kept = slice(size) if crop else slice(None)
    return first[kept] + (size - source) // 2, first_weight[kept], second_weight[kept]


@functools.lru_cache(maxsize=64)
def _tables(size: int, factors: tuple[float, ...]) -> Tables:
    """Compute first index and weights of each zoomed pixel of an axis by factor: (size, K)."""
    tables = [zoom_table(size, factor, crop=True) for factor in factors]
    parts = [np.stack(part, axis=1) for part in zip(*tables, strict=True)]
    firsts, weights, others = parts
    return firsts.astype(np.uint64), weights.astype(np.float32), others.astype(np.float32)


@numba.njit(cache=True, nogil=True)
def _mix_rows(
    upper: Floats, weight: np.float32, lower: Floats, other: np.float32, mixed: Floats
) -> None:
    for i in range(mixed.size):
        mixed[i] = weight * upper[i] + other * lower[i]


@numba.njit(cache=True, nogil=True)
def _add_stretched(total: Floats, rows: Floats, tables: Tables) -> None:
    """Add to each pixel of a row the two pixels that it lies between in each of K rows."""
    firsts, weights, others = tables
    one = np.uint64(1)  # unsigned: never from the end
    two = np.uint64(2)
    three = np.uint64(3)
    for x in range(firsts.shape[0]):
        start = three * np.uint64(x)
        r = total[start]
        g = total[start + one]
        b = total[start + two]
        first = firsts[x]
        weight = weights[x]
        other = others[x]
        for k in range(rows.shape[0]):
            row = rows[k]
            i = three * first[k]
            w = weight[k]
            o = other[k]
            j = i + three
            r += w * row[i] + o * row[j]
            g += w * row[i + one] + o * row[j + one]
            b += w * row[i + two] + o * row[j + two]
        total[start] = r
        total[start + one] = g
        total[start + two] = b


@numba.njit(cache=True, nogil=True)
def _mean_of_zooms(image: Image, row_tables: Tables, column_tables: Tables) -> Image:
    height, width, _ = image.shape
    size = 3 * width
    firsts, weights, others = row_tables
    factors = firsts.shape[1]
    source = image.reshape((height, size)).astype(np.float32)
    mixed = np.empty((factors, size), np.float32)
    total = np.empty(size, np.float32)
    zoomed = np.empty((height, size), np.uint8)
    share = np.float32(1 / (factors + 1))
    for y in range(height):
        total[:] = source[y]
        for k in range(factors):
            first = firsts[y, k]
            lower = source[first + np.uint64(1)]
            _mix_rows(source[first], weights[y, k], lower, others[y, k], mixed[k])
        _add_stretched(total, mixed, column_tables)
        row = zoomed[y]
        for i in range(size):
            row[i] = np.uint8(np.int32(min(total[i] * share + NUDGE, np.float32(255))))
    return zoomed.reshape(image.shape)
