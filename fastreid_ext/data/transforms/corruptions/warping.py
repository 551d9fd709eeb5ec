"""Elastic transform: every pixel is taken from a little way off, in a smooth random direction.

Letters: H height, W width.

[0] Hendrycks and Dietterich, ICLR 2019; parameters and order of draws as in imagecorruptions 1.1.2.
    After Simard, Steinkraus and Platt, "Best Practices for Convolutional Neural Networks", 2003.
"""

import functools
import math

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from fastreid_ext.data.transforms.corruptions.mersenne import uniforms
from fastreid_ext.data.transforms.corruptions.random_bits import random_uniforms

# Severity 1 to 5.
ELASTIC_STRENGTHS = (12.5, 16.25, 21.25, 25.0, 30.0)  # by which the smoothed noise is multiplied

_NOISE = 0.005  # largest noise before smoothing, as a share of H, in pixels
_SMOOTHING = 0.01  # standard deviation of the smoothing, as a share of H and of W
_TRUNCATE = 3.0  # of the kernel, in standard deviations
_NUDGE = np.float32(1e-3)  # against truncation of an even area v to v - 1


def elastic_transform(
    image: NDArray[np.uint8],
    severity: int,
    rng: np.random.RandomState | np.random.Generator,
    faithful: bool,
) -> NDArray[np.uint8]:
    """Move every pixel by noise that is smooth over 1 % of the image."""
    height, width = image.shape[:2]
    if faithful:
        noise = uniforms(rng, (2, height, width)).astype(np.float32)
    else:
        noise = random_uniforms(rng, 2 * height * width).reshape(2, height, width)
    strength = ELASTIC_STRENGTHS[severity - 1] * _NOISE * height
    across, down = (_smooth(plane, strength) for plane in noise)
    return _taken(image, down, across)


def _smooth(noise: NDArray[np.float32], strength: float) -> NDArray[np.float32]:
    """Return noise of [0, 1) as displacements in pixels: within +- strength, and smoothed."""
    height, width = noise.shape
    centred = cv2.multiply(cv2.subtract(noise, 0.5), 2 * strength)
    return cv2.sepFilter2D(
        centred, -1, _kernel(width), _kernel(height), borderType=cv2.BORDER_REFLECT
    )


@functools.lru_cache(maxsize=64)
def _kernel(side: int) -> NDArray[np.float32]:
    sigma = _SMOOTHING * side
    radius = int(_TRUNCATE * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return (weights / weights.sum()).astype(np.float32)


@numba.njit(cache=True, nogil=True)
def _reflected(index: int, size: int) -> int:
    """Return where a mirror between the pixels shows: -1 is 0, ``size`` is ``size - 1``."""
    index %= 2 * size
    return index if index < size else 2 * size - 1 - index


@numba.njit(cache=True, nogil=True)
def _taken(
    image: NDArray[np.uint8], down: NDArray[np.float32], across: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """Return the image read at (y + down, x + across), between pixels in proportion."""
    height, width, _ = image.shape
    result = np.empty_like(image)
    for y in range(height):
        downs, acrosses, row = down[y], across[y], result[y]
        for x in range(width):
            above, left = math.floor(downs[x]), math.floor(acrosses[x])
            v, u = downs[x] - np.float32(above), acrosses[x] - np.float32(left)
            top, bottom = y + int(above), y + int(above) + 1
            first, second = x + int(left), x + int(left) + 1
            if top < 0 or bottom >= height or first < 0 or second >= width:
                top, bottom = _reflected(top, height), _reflected(bottom, height)
                first, second = _reflected(first, width), _reflected(second, width)
            for channel in range(3):
                upper = np.float32(image[top, first, channel])
                upper += u * (np.float32(image[top, second, channel]) - upper)
                lower = np.float32(image[bottom, first, channel])
                lower += u * (np.float32(image[bottom, second, channel]) - lower)
                row[x, channel] = np.uint8(np.int32(upper + v * (lower - upper) + _NUDGE))
    return result
