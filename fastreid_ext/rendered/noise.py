"""Small deterministic noise for textures, compiled.

The same on every machine because it is integer hashing. Coordinates are in texture cells, values in
[0, 1].
"""

import math

from numba import njit


@njit(cache=True, inline="always")
def cell(i: int, j: int, salt: int) -> float:
    """Hash an integer cell to a value in [0, 1]."""
    h = (i * 374761393 + j * 668265263 + salt * 2147483647) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    h = ((h ^ (h >> 16)) * 2246822519) & 0xFFFFFFFF
    return ((h ^ (h >> 15)) & 0xFFFF) / 65535.0


@njit(cache=True)
def smooth(u: float, v: float, salt: int) -> float:
    """Compute value noise, a smooth interpolation of :func:`cell`."""
    i = math.floor(u)
    j = math.floor(v)
    a = u - i
    b = v - j
    a = a * a * (3 - 2 * a)
    b = b * b * (3 - 2 * b)
    i = int(i)
    j = int(j)
    low = cell(i, j, salt) * (1 - a) + cell(i + 1, j, salt) * a
    high = cell(i, j + 1, salt) * (1 - a) + cell(i + 1, j + 1, salt) * a
    return low * (1 - b) + high * b


@njit(cache=True)
def cloudy(u: float, v: float, salt: int) -> float:
    """Sum three octaves of :func:`smooth`, for stains, leaves and worn asphalt."""
    coarse = smooth(u, v, salt) * 0.5 + smooth(u * 2.1, v * 2.1, salt + 1) * 0.3
    return coarse + smooth(u * 4.3, v * 4.3, salt + 2) * 0.2
