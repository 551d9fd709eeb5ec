"""Plasma: a cloudy map by the diamond-square rule on a torus.

Letters: S side of the map, a power of two; n side of a level, 1, 2, 4 ... S / 2. A level gives each
square of four points a middle (their mean plus noise), then each of the two diamonds between old
and new points; so it draws 3 n^2 numbers, and S^2 - 1 are drawn in all. The noise is uniform within
+-(100 / decay^level)^2.
"""

import numba
import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.float64] | NDArray[np.float32]

_FIRST_WIBBLE = 100.0
# Longer sides than this get no larger a map on their account: 32 x 21,333 pixels (an image of 3 x
# 2,000, enlarged) would need one of 8 GB.
LARGEST_SIDE = 2048


def map_side(height: int, width: int) -> int:
    """Return S for an image: the power of two that is at least its longer side.

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
        draws = noise[i]
        for j in range(n):
            k = j + 1 if j + 1 < n else 0
            corners = (row[j] + below[j]) + (row[k] + below[k])
            middle[j] = corners / 4 + low * (-low + span * draws[j])


@numba.njit(cache=True, nogil=True)
def _weave(coarse: Map, middles: Map, noise: Map, low: float, span: float, fine: Map) -> None:
    """Put old points, middles and the diamonds between them into the map of the next level."""
    n = coarse.shape[0]
    for i in range(n):
        row, below = coarse[i], coarse[(i + 1) % n]
        middle, above = middles[i], middles[(i - 1) % n]
        beside, under = noise[0, i], noise[1, i]
        upper, lower = fine[2 * i], fine[2 * i + 1]
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
    """All levels from one point 0, in two buffers (S, S) in turn; returns the one filled last."""
    side = coarse.shape[0]
    old = coarse.reshape(-1)
    new = buffer.reshape(-1)
    middles = np.empty(side * side // 4, noise.dtype)
    old[0] = 0
    n = 1
    drawn = 0
    wibble = _FIRST_WIBBLE
    while n < side:
        # In the type of the map; -low + span * u is how numpy scales a uniform number.
        low = noise.dtype.type(wibble)
        span = noise.dtype.type(2 * wibble)
        grid = old[: n * n].reshape(n, n)
        middle = middles[: n * n].reshape(n, n)
        _fill_squares(grid, noise[drawn : drawn + n * n].reshape(n, n), low, span, middle)
        drawn += n * n
        rest = noise[drawn : drawn + 2 * n * n].reshape(2, n, n)
        _weave(grid, middle, rest, low, span, new[: 4 * n * n].reshape(2 * n, 2 * n))
        drawn += 2 * n * n
        old, new = new, old
        n *= 2
        wibble /= decay
    return old.reshape(side, side)


def plasma_map(noise: Map, side: int, decay: float) -> Map:
    """Return the map (S, S) of S^2 - 1 uniform numbers in [0, 1), of their type, not yet scaled.

    Args:
        noise: (S^2 - 1,), in the order in which the levels use them.
        side: S.
        decay: how much smaller the root of the noise's range gets from level to level.
    """
    coarse, buffer = np.empty((2, side, side), noise.dtype)
    return _grow(noise, coarse, buffer, float(decay))
