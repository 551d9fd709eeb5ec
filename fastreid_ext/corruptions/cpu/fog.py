"""Fog: a cloudy map, made by the diamond-square rule on a torus, is added to the image.

Letters: S side of the map, a power of two; n side of a level, 1, 2, 4 ... S / 2. A level gives each
square of four points a middle (their mean plus noise), then each of the two diamonds between old
and new points; so it takes 3 n^2 random numbers, and S^2 - 1 are sampled in all. The noise is
uniform within +-(100 / decay^level)^2.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from fastreid_ext.corruptions.cpu.mersenne import uniforms
from fastreid_ext.corruptions.cpu.random_bits import random_uniforms

Image = NDArray[np.uint8]
Map = NDArray[np.float64] | NDArray[np.float32]
RandomSource = np.random.RandomState | np.random.Generator

# (weight of the fog, decay of its details from level to level) for severity 1 to 5.
FOG = ((1.5, 2), (2.0, 2), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4))

_FIRST_WIBBLE = 100.0
# Pixels. A longer side than this does not enlarge the map: 32 x 21,333 pixels (an image of 3 x
# 2,000, enlarged) would need one of 8 GB.
LARGEST_SIDE = 2048


def fog(image: Image, severity: int, rng: RandomSource, reference: bool) -> Image:
    """Add a cloudy map to an image and darken the sum to the old maximum.

    S^2 - 1 uniform numbers are sampled, with S of :func:`map_side`. The map is scaled to [0, 1] as
    a whole; its top left is used.
    """
    weight, decay = FOG[severity - 1]
    side = map_side(*image.shape[:2])
    count = side * side - 1
    noise = uniforms(rng, (count,)) if reference else random_uniforms(rng, count)
    plasma = plasma_map(noise, side, decay)
    real = plasma.dtype.type
    brightest = real(image.max()) / real(255)
    low = plasma.min()
    return _fogged(image, plasma, low, plasma.max() - low, brightest, real(weight))


@numba.njit(cache=True, nogil=True)
def _fogged(
    image: Image, plasma: NDArray, low: float, span: float, brightest: float, weight: float
) -> Image:
    """Add fog in the type of the map; in float64 and this order, the reference's numbers."""
    height, width, channels = image.shape
    real = plasma.dtype.type
    one = real(1)
    full = real(255)
    cloud = np.empty(width * channels, plasma.dtype)
    result = np.empty((height, width * channels), np.uint8)
    for y in range(height):
        clouds = plasma[y % len(plasma)]
        pixels = image[y].reshape(-1)
        row = result[y]
        for x in range(width):
            for c in range(channels):
                cloud[channels * x + c] = weight * ((clouds[x % len(plasma)] - low) / span)
        for i in range(row.size):
            value = (real(pixels[i]) / full + cloud[i]) * brightest / (brightest + weight)
            row[i] = np.uint8(np.int32(min(value, one) * full))
    return result.reshape(image.shape)


def map_side(height: int, width: int) -> int:
    """Compute S for an image: the power of two that is at least its longer side.

    Above ``LARGEST_SIDE`` the shorter side decides, and the map, which is a torus, is repeated
    along the longer one without a seam.
    """
    needed = min(max(height, width), max(LARGEST_SIDE, min(height, width)))
    return 1 << (needed - 1).bit_length()


@numba.njit(cache=True, nogil=True)
def _fill_squares(coarse: Map, noise: Map, low: float, span: float, middles: Map) -> None:
    n = coarse.shape[0]
    for i in range(n):
        row = coarse[i]
        below = coarse[(i + 1) % n]
        middle = middles[i]
        uniform = noise[i]
        for j in range(n):
            k = j + 1 if j + 1 < n else 0
            corners = (row[j] + below[j]) + (row[k] + below[k])
            middle[j] = corners / 4 + low * (-low + span * uniform[j])


@numba.njit(cache=True, nogil=True)
def _weave(coarse: Map, middles: Map, noise: Map, low: float, span: float, fine: Map) -> None:
    """Put old points, middles and the diamonds between them into the map of the next level."""
    n = coarse.shape[0]
    for i in range(n):
        row = coarse[i]
        below = coarse[(i + 1) % n]
        middle = middles[i]
        above = middles[(i - 1) % n]
        beside = noise[0, i]
        under = noise[1, i]
        upper = fine[2 * i]
        lower = fine[2 * i + 1]
        for j in range(n):
            k = j + 1 if j + 1 < n else 0
            h = j - 1 if j > 0 else n - 1
            upper[2 * j] = row[j]
            lower[2 * j + 1] = middle[j]
            diamond = (middle[j] + above[j]) + (row[j] + row[k])
            upper[2 * j + 1] = diamond / 4 + low * (-low + span * beside[j])
            diamond = (middle[j] + middle[h]) + (row[j] + below[j])
            lower[2 * j] = diamond / 4 + low * (-low + span * under[j])


@numba.njit(cache=True, nogil=True)
def _grow(noise: Map, coarse: Map, buffer: Map, decay: float) -> Map:
    """Compute all levels from one point 0, in two buffers (S, S) in turn; return the last one."""
    side = coarse.shape[0]
    old = coarse.reshape(-1)
    new = buffer.reshape(-1)
    middles = np.empty(side * side // 4, noise.dtype)
    old[0] = 0
    n = 1
    used = 0
    wibble = _FIRST_WIBBLE
    while n < side:
        # In the type of the map; -low + span * u is how numpy scales a uniform number.
        low = noise.dtype.type(wibble)
        span = noise.dtype.type(2 * wibble)
        grid = old[: n * n].reshape(n, n)
        middle = middles[: n * n].reshape(n, n)
        _fill_squares(grid, noise[used : used + n * n].reshape(n, n), low, span, middle)
        used += n * n
        rest = noise[used : used + 2 * n * n].reshape(2, n, n)
        _weave(grid, middle, rest, low, span, new[: 4 * n * n].reshape(2 * n, 2 * n))
        used += 2 * n * n
        old, new = new, old
        n *= 2
        wibble /= decay
    return old.reshape(side, side)


def plasma_map(noise: Map, side: int, decay: float) -> Map:
    """Compute the map (S, S) of S^2 - 1 uniform numbers in [0, 1), in their type, not yet scaled.

    Args:
        noise: (S^2 - 1,) numbers in the order in which the levels use them.
        side: side S of the map, a power of two.
        decay: factor by which the root of the noise's range shrinks from level to level.
    """
    coarse, buffer = np.empty((2, side, side), noise.dtype)
    return _grow(noise, coarse, buffer, float(decay))
