"""Snow: flakes cut out of enlarged noise, blurred along a fall, laid over a brightened image twice.

Letters: H height, W width. The flakes lie in a layer that is a pixel or so larger than the image.
"""

import functools

import numba
import numpy as np
from numpy.typing import NDArray

from fastreid_ext.corruptions.cpu.zoom_blur import zoom_table

Table = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]

_cached_table = functools.lru_cache(maxsize=64)(zoom_table)


@numba.njit(cache=True, nogil=True)
def _flakes(noise: NDArray, rows: Table, columns: Table, threshold: float) -> NDArray[np.float32]:
    row_firsts, row_weights, row_others = rows
    column_firsts, weights, others = columns
    flakes = np.empty((row_firsts.size, column_firsts.size), np.float32)
    mixed = np.empty(noise.shape[1], np.float64)
    for y in range(row_firsts.size):
        upper, lower = noise[row_firsts[y]], noise[row_firsts[y] + 1]
        weight = row_weights[y]
        other = row_others[y]
        for x in range(mixed.size):
            mixed[x] = weight * upper[x] + other * lower[x]
        flake = flakes[y]
        for x in range(flake.size):
            first = np.uint64(column_firsts[x])
            value = weights[x] * mixed[first] + others[x] * mixed[first + np.uint64(1)]
            flake[x] = min(value, 1.0) if value >= threshold else 0.0
    return flakes


def flake_layer(
    noise: NDArray, height: int, width: int, factor: float, threshold: float
) -> NDArray[np.float32]:
    """Return the centre of a noise plane, enlarged, with all below ``threshold`` set to 0.

    In float64 up to the threshold, which would else now and then let a flake appear or vanish.

    Args:
        noise: (H, W), or only the part of it that :func:`flake_source` says is used.
        height: H.
        width: W.
        factor: of the zoom, at least 1.
        threshold: in (0, 1), as the noise.

    Returns:
        (round(ceil(H / factor) * factor), likewise of W) in [0, 1].
    """
    rows = _cached_table(height, factor, crop=False)
    columns = _cached_table(width, factor, crop=False)
    if noise.shape != (height, width):
        rows = _from_zero(rows)
        columns = _from_zero(columns)
    return _flakes(noise, rows, columns, threshold)


def flake_source(height: int, width: int, factor: float) -> tuple[int, int]:
    """Return how many rows and columns of the noise an image of that size uses."""
    return int(np.ceil(height / factor)), int(np.ceil(width / factor))


def _from_zero(table: Table) -> Table:
    return table[0] - table[0][0], *table[1:]


@numba.njit(cache=True, nogil=True)
def snowed(image: NDArray[np.uint8], layer: NDArray[np.float32], keep: float) -> NDArray[np.uint8]:
    """Return the image, brightened, under the layer and the layer turned by 180 degrees.

    Args:
        image: (H, W, 3).
        layer: (>= H, >= W) in [0, 1]; rounded to 255 steps.
        keep: share of the image; the rest is the lighter of it and 1.5 times its grey plus 0.5.
    """
    height, width, _ = image.shape
    snow = np.empty((height, width), np.uint8)
    for y in range(height):
        flakes = layer[y]
        row = snow[y]
        for x in range(width):
            row[x] = np.uint8(np.int32(np.rint(flakes[x] * np.float32(255))))
    kept = np.float32(keep)
    other = np.float32(1 - keep)
    limit = np.float32(255)
    result = np.empty_like(image)
    for y in range(height):
        row = snow[y]
        turned = snow[height - 1 - y]
        pixels = image[y]
        white = result[y]
        for x in range(width):
            r = np.float32(pixels[x, 0])
            g = np.float32(pixels[x, 1])
            b = np.float32(pixels[x, 2])
            grey = np.float32(0.299) * r + np.float32(0.587) * g + np.float32(0.114) * b
            light = other * (grey * np.float32(1.5) + np.float32(127.5))
            flakes = np.float32(row[x]) + np.float32(turned[width - 1 - x])
            white[x, 0] = np.uint8(np.int32(min(kept * r + max(other * r, light) + flakes, limit)))
            white[x, 1] = np.uint8(np.int32(min(kept * g + max(other * g, light) + flakes, limit)))
            white[x, 2] = np.uint8(np.int32(min(kept * b + max(other * b, light) + flakes, limit)))
    return result
