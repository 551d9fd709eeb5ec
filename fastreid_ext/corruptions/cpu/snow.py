"""Snow: flakes cut out of enlarged noise, blurred along a fall, laid over a brightened image twice.

Letters: H height, W width. The flakes lie in a layer that is a pixel or so larger than the image.
"""

import functools

import numba
import numpy as np
from numpy.typing import NDArray

from fastreid_ext.corruptions.cpu.mersenne import normals
from fastreid_ext.corruptions.cpu.motion_blur import streak_plane
from fastreid_ext.corruptions.cpu.random_bits import random_normals
from fastreid_ext.corruptions.cpu.zoom_blur import zoom_table

Image = NDArray[np.uint8]
RandomSource = np.random.RandomState | np.random.Generator
Table = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]

# (mean and deviation of the noise, zoom, threshold of a flake, half the length of a streak and its
# standard deviation in pixels, share of the image that is not brightened), for severity 1 to 5.
SNOW = (
    (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
    (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
    (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
    (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
    (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
)

_cached_table = functools.lru_cache(maxsize=64)(zoom_table)


def snow(image: Image, severity: int, rng: RandomSource, reference: bool) -> Image:
    """Lay streaks of snow over a brightened image.

    Normal noise is sampled, then the angle of the fall: in reference mode noise for the whole
    image, of which only the centre is used; in fast mode only that centre.
    """
    mean, deviation, factor, threshold, radius, sigma, keep = SNOW[severity - 1]
    height, width = image.shape[:2]
    if reference:
        noise = mean + deviation * normals(rng, (height, width))
    else:
        size = flake_source(height, width, factor)
        noise = random_normals(rng, size[0] * size[1], mean, deviation).reshape(size)
    flakes = flake_layer(noise, height, width, factor, threshold)
    return snowed(image, streak_plane(flakes, radius, sigma, rng.uniform(-135, -45)), keep)


@numba.njit(cache=True, nogil=True)
def _flakes(noise: NDArray, rows: Table, columns: Table, threshold: float) -> NDArray[np.float32]:
    row_firsts, row_weights, row_others = rows
    column_firsts, weights, others = columns
    flakes = np.empty((row_firsts.size, column_firsts.size), np.float32)
    mixed = np.empty(noise.shape[1], np.float64)
    for y in range(row_firsts.size):
        upper = noise[row_firsts[y]]
        lower = noise[row_firsts[y] + 1]
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
    """Enlarge the centre of a noise plane and set all below ``threshold`` to 0.

    In float64 up to the threshold, because float32 would now and then let a flake appear or vanish.

    Args:
        noise: (H, W), or only its centre of the size that :func:`flake_source` gives.
        height: rows of the image, in pixels.
        width: columns of the image, in pixels.
        factor: factor of the zoom, at least 1.
        threshold: smallest noise that is a flake, in (0, 1).

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
    """Compute how many rows and columns of the noise an image of that size uses."""
    return int(np.ceil(height / factor)), int(np.ceil(width / factor))


def _from_zero(table: Table) -> Table:
    return table[0] - table[0][0], *table[1:]


@numba.njit(cache=True, nogil=True)
def snowed(image: Image, layer: NDArray[np.float32], keep: float) -> Image:
    """Brighten an image and add the layer and the layer turned by 180 degrees.

    Args:
        image: (H, W, 3) uint8 RGB; not written to.
        layer: streaked flakes, (>= H, >= W) in [0, 1]; rounded to 255 steps.
        keep: share of the image in [0, 1]; the rest is the lighter of it and 1.5 times its grey
            plus 0.5.
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
