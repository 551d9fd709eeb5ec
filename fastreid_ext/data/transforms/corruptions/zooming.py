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

from fastreid_ext.data.transforms.corruptions.separable import NUDGE

Floats = NDArray[np.float32]
Table = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]


def zoom_table(size: int, factor: float, *, crop: bool) -> Table:
    """Return where each zoomed pixel of an axis comes from.

    Args:
        size: H or W, in pixels.
        factor: at least 1.
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
    first_weight[behind], second_weight[behind] = 0, 0
    kept = slice(size) if crop else slice(None)
    return first[kept] + (size - source) // 2, first_weight[kept], second_weight[kept]


@functools.lru_cache(maxsize=32)
def _tables(
    size: int, factors: tuple[float, ...], channels: int
) -> tuple[NDArray[np.uint32], Floats, Floats]:
    """(K, size * channels): for each number of a row, of all factors, first index and weights."""
    tables = [zoom_table(size, factor, crop=True) for factor in factors]
    firsts, weights, others = (np.stack(part) for part in zip(*tables, strict=True))
    firsts = firsts[:, :, None] * channels + np.arange(channels)
    return (
        firsts.reshape(len(factors), -1).astype(np.uint32),
        np.repeat(weights, channels, axis=1).astype(np.float32),
        np.repeat(others, channels, axis=1).astype(np.float32),
    )


@numba.njit(cache=True, nogil=True)
def _mix_rows(
    upper: Floats, weight: np.float32, lower: Floats, other: np.float32, mixed: Floats
) -> None:
    for i in range(mixed.size):
        mixed[i] = weight * upper[i] + other * lower[i]


@numba.njit(cache=True, nogil=True)
def _add_stretched(
    total: Floats, row: Floats, firsts: NDArray[np.uint32], weights: Floats, others: Floats
) -> None:
    for i in range(total.size):
        first = firsts[i]
        total[i] += weights[i] * row[first] + others[i] * row[first + np.uint32(3)]


@numba.njit(cache=True, nogil=True)
def _mean_of_zooms(
    image: NDArray[np.uint8],
    row_firsts: NDArray[np.uint32],
    row_weights: Floats,
    row_others: Floats,
    columns: tuple[NDArray[np.uint32], Floats, Floats],
) -> NDArray[np.uint8]:
    height, width, _ = image.shape
    size, factors = 3 * width, row_firsts.shape[0]
    source = image.reshape((height, size)).astype(np.float32)
    zoomed = np.empty((height, size), np.uint8)
    total, mixed = np.empty(size, np.float32), np.empty(size, np.float32)
    share = np.float32(1 / (factors + 1))
    for y in range(height):
        total[:] = source[y]
        for k in range(factors):
            first = row_firsts[k, y]
            upper, lower = source[first], source[first + 1]
            _mix_rows(upper, row_weights[k, y], lower, row_others[k, y], mixed)
            _add_stretched(total, mixed, columns[0][k], columns[1][k], columns[2][k])
        row = zoomed[y]
        for i in range(size):
            value = total[i] * share + NUDGE
            row[i] = np.uint8(np.int32(min(value, np.float32(255))))
    return zoomed.reshape(image.shape)


def mean_of_zooms(image: NDArray[np.uint8], factors: tuple[float, ...]) -> NDArray[np.uint8]:
    """Return the mean of an (H, W, 3) image and its K zoomed versions, truncated to uint8."""
    height, width = image.shape[:2]
    return _mean_of_zooms(image, *_tables(height, factors, 1), _tables(width, factors, 3))
