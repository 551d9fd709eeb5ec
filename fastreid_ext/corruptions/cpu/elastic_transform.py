"""Elastic transform: every pixel is read from a place nearby, in a smooth random direction.

Letters: H height, W width.

[0] Hendrycks and Dietterich, ICLR 2019; parameters and order of samples are those of
    imagecorruptions 1.1.2. After Simard, Steinkraus and Platt, "Best Practices for Convolutional
    Neural Networks", 2003.
"""

import functools

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from fastreid_ext.corruptions.cpu.mersenne import uniforms
from fastreid_ext.corruptions.cpu.random_bits import random_uniforms

Image = NDArray[np.uint8]
RandomSource = np.random.RandomState | np.random.Generator

# Severity 1 to 5.
ELASTIC_STRENGTHS = (12.5, 16.25, 21.25, 25.0, 30.0)  # by which the smoothed noise is multiplied

_NOISE = 0.005  # largest noise before smoothing, as a share of H, in pixels
_SMOOTHING = 0.01  # standard deviation of the smoothing, as a share of H and of W
_TRUNCATE = 3.0  # of the kernel, in standard deviations
_NUDGE = np.float32(1e-3)  # against truncation of an even area v to v - 1


def elastic_transform(image: Image, severity: int, rng: RandomSource, reference: bool) -> Image:
    """Move every pixel by noise that is smooth over 1 % of the image."""
    height, width = image.shape[:2]
    if reference:
        noise = uniforms(rng, (2, height, width)).astype(np.float32)
    else:
        noise = random_uniforms(rng, 2 * height * width).reshape(2, height, width)
    strength = ELASTIC_STRENGTHS[severity - 1] * _NOISE * height
    across = _smooth(noise[0], strength)
    down = _smooth(noise[1], strength)
    return _taken(image, down, across)


def _smooth(noise: NDArray[np.float32], strength: float) -> NDArray[np.float32]:
    """Smooth noise of [0, 1), scaled to displacements within +- strength, in pixels."""
    height, width = noise.shape
    centred = (noise - np.float32(0.5)) * np.float32(2 * strength)
    return cv2.sepFilter2D(
        centred, -1, _kernel(width), _kernel(height), borderType=cv2.BORDER_REFLECT
    )


@functools.lru_cache(maxsize=64)
def _kernel(side: int) -> NDArray[np.float32]:
    sigma = _SMOOTHING * side
    radius = int(_TRUNCATE * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return (weights / weights.sum()).astype(np.float32)


def _taken(image: Image, down: NDArray[np.float32], across: NDArray[np.float32]) -> Image:
    """Read the image at (y + down, x + across), bilinearly between pixels.

    Beyond the border is the mirror image; the mirror stands between pixels.
    """
    height, width = image.shape[:2]
    farthest = max(cv2.norm(plane, cv2.NORM_INF) for plane in (down, across))
    reflections = 1 + int(farthest + 1) // min(height, width)
    planes = np.ascontiguousarray(image.reshape(-1, 3).T, dtype=np.float32)
    return _read(planes, down, across, reflections)


@numba.njit(cache=True, nogil=True)
def _read(
    planes: NDArray[np.float32],
    down: NDArray[np.float32],
    across: NDArray[np.float32],
    reflections: int,
) -> NDArray[np.uint8]:
    """Read row by row, in loops that are compiled to vector instructions.

    ``planes`` is (3, H * W), ``reflections`` the number of times a place may have to be mirrored.
    """
    height, width = down.shape
    result = np.empty((height, width, 3), np.uint8)
    rows = np.empty((2, width), np.int32)
    columns = np.empty((2, width), np.int32)
    corners = np.empty((4, width), np.uint64)
    weights = np.empty((3, width), np.float32)
    mixed = np.empty((3, width), np.float32)
    for y in range(height):
        _place(np.int32(y), down[y], rows, weights[1])
        _place(np.int32(0), across[y], columns, weights[0])
        columns += np.arange(width).astype(np.int32)
        for _ in range(reflections):
            for side in range(2):
                _mirror(rows[side], np.int32(height))
                _mirror(columns[side], np.int32(width))
        for corner in range(4):
            _address(rows[corner // 2], columns[corner % 2], width, corners[corner])
        weights[2] = weights[0] * weights[1]
        for channel in range(3):
            _mix(planes[channel], corners, weights, mixed[channel])
        _interleave(mixed, result[y].reshape(-1))
    return result


@numba.njit(cache=True, nogil=True)
def _place(
    origin: np.int32, moves: NDArray[np.float32], places: NDArray[np.int32], rest: NDArray
) -> None:
    """Split ``origin + moves`` into the places before and after it, and the way between them."""
    before = places[0]
    after = places[1]
    for index in range(moves.size):
        whole = np.floor(moves[index])
        rest[index] = moves[index] - whole
        before[index] = origin + np.int32(whole)
        after[index] = before[index] + np.int32(1)


@numba.njit(cache=True, nogil=True)
def _mirror(places: NDArray[np.int32], size: np.int32) -> None:
    """Reflect places outside of [0, size) once at either end: -1 is 0, ``size`` is ``size - 1``."""
    for index in range(places.size):
        place = places[index]
        place = -np.int32(1) - place if place < 0 else place
        places[index] = 2 * size - 1 - place if place >= size else place


@numba.njit(cache=True, nogil=True)
def _address(
    rows: NDArray[np.int32], columns: NDArray[np.int32], width: int, address: NDArray[np.uint64]
) -> None:
    for index in range(rows.size):
        address[index] = np.uint64(rows[index] * width + columns[index])


@numba.njit(cache=True, nogil=True)
def _mix(
    plane: NDArray[np.float32],
    corners: NDArray[np.uint64],
    weights: NDArray[np.float32],
    mixed: NDArray[np.float32],
) -> None:
    upper_left = corners[0]
    upper_right = corners[1]
    lower_left = corners[2]
    lower_right = corners[3]
    right = weights[0]
    down = weights[1]
    both = weights[2]
    for index in range(mixed.size):
        start = plane[upper_left[index]]
        mixed[index] = (
            start
            + (right[index] - both[index]) * (plane[upper_right[index]] - start)
            + (down[index] - both[index]) * (plane[lower_left[index]] - start)
            + both[index] * (plane[lower_right[index]] - start)
        )


@numba.njit(cache=True, nogil=True)
def _interleave(mixed: NDArray[np.float32], row: NDArray[np.uint8]) -> None:
    red = mixed[0]
    green = mixed[1]
    blue = mixed[2]
    for index in range(red.size):
        row[3 * index] = np.uint8(np.int32(red[index] + _NUDGE))
        row[3 * index + 1] = np.uint8(np.int32(green[index] + _NUDGE))
        row[3 * index + 2] = np.uint8(np.int32(blue[index] + _NUDGE))
