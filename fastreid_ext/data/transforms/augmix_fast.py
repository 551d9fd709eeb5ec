"""The nine operations of AugMix, compiled; each equals Pillow's bit by bit.

Letters: H height, W width. Images are (H, W, 3) uint8 RGB, contiguous.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from fastreid_ext.data.transforms.augmix_pil import (
    Operation,
    affine_of,
    posterize_bits,
    rotation_degrees,
    solarize_threshold,
)

Array = NDArray[np.uint8]
_VALUES = np.arange(256)


def apply_fast(
    image: Array, chains: Sequence[Sequence[Operation]], weights: Sequence[float], share: float
) -> Array:
    """Return ``(1 - share) image + share sum_i weights_i chains_i(image)``, rounded.

    Args:
        image: (H, W, 3) uint8; not written to.
        chains: operations of each chain.
        weights: one for each chain.
        share: in [0, 1].
    """
    image = np.ascontiguousarray(image)
    total = np.multiply(image, np.float32(1 - share), dtype=np.float32)
    for chain, weight in zip(chains, weights, strict=True):
        changed = image
        for operation in chain:
            changed = operated(changed, operation)
        _add(total.reshape(-1), changed.reshape(-1), np.float32(share * weight))
    return _rounded(total.reshape(-1)).reshape(image.shape)


def operated(image: Array, operation: Operation) -> Array:
    """Return what one operation makes of an image; perhaps the image itself."""
    name = operation.name
    if name in ("translate_x", "translate_y"):
        return _shifted(image, operation)
    if name in ("shear_x", "shear_y", "rotate"):
        return _moved(image, operation)
    if name == "posterize":
        return image & np.uint8(256 - 2 ** (8 - posterize_bits(operation)))
    if name == "solarize":
        table = np.where(_VALUES < solarize_threshold(operation), _VALUES, 255 - _VALUES)
        return cv2.LUT(image, table.astype(np.uint8))
    return cv2.LUT(image, _equal_tables(image) if name == "equalize" else _contrast_tables(image))


def _shifted(image: Array, operation: Operation) -> Array:
    height, width = image.shape[:2]
    matrix = affine_of(operation, width, height)
    across, down = int(matrix[2]), int(matrix[5])  # one of them is 0
    shifted = np.zeros_like(image)
    rows = slice(max(-down, 0), min(height - down, height))
    columns = slice(max(-across, 0), min(width - across, width))
    shifted[rows, columns] = image[
        rows.start + down : rows.stop + down, columns.start + across : columns.stop + across
    ]
    return shifted


def _moved(image: Array, operation: Operation) -> Array:
    height, width = image.shape[:2]
    if operation.name != "rotate":
        matrix = affine_of(operation, width, height)
    else:
        degrees = rotation_degrees(operation)
        if degrees == 0:
            return image
        matrix = _rotation(degrees, width, height)
    moved = np.empty_like(image)
    flat = (height, 3 * width)
    _affine(image.reshape(flat), moved.reshape(flat), *map(float, matrix))
    return moved


def _rotation(degrees: int, width: int, height: int) -> tuple[float, ...]:
    """Return the matrix of a rotation about the centre, with the rounding of Pillow."""
    angle = -math.radians(degrees % 360)
    cos, sin = round(math.cos(angle), 15), round(math.sin(angle), 15)
    minus_sin = round(-math.sin(angle), 15)
    across, down = width / 2, height / 2
    first = cos * -across + sin * -down + 0.0 + across
    second = minus_sin * -across + cos * -down + 0.0 + down
    return cos, sin, first, minus_sin, cos, second


def _contrast_tables(image: Array) -> Array:
    """Return (1, 256, 3) tables that stretch each channel to 0 to 255."""
    tables = np.empty((1, 256, 3), np.uint8)
    for channel, (low, high) in enumerate(_extremes(image.reshape(-1, 3)).tolist()):
        if high <= low:
            tables[0, :, channel] = _VALUES
            continue
        scale = 255.0 / (high - low)
        stretched = (_VALUES * scale + -low * scale).astype(np.int64)  # towards 0, as int()
        tables[0, :, channel] = np.clip(stretched, 0, 255)
    return tables


def _equal_tables(image: Array) -> Array:
    """Return (1, 256, 3) tables that make the histogram of each channel flat."""
    tables = np.empty((1, 256, 3), np.uint8)
    for channel, counts in enumerate(_histograms(image.reshape(-1, 3))):
        present = counts[counts > 0]
        step = (int(counts.sum()) - int(present[-1])) // 255
        if len(present) <= 1 or step == 0:
            tables[0, :, channel] = _VALUES
            continue
        before = np.concatenate([[0], np.cumsum(counts)[:-1]])
        tables[0, :, channel] = np.minimum((step // 2 + before) // step, 255)
    return tables


@njit(cache=True)
def _histograms(pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    counts = np.zeros((3, 256), np.int64)
    for row in range(pixels.shape[0]):
        counts[0, pixels[row, 0]] += 1
        counts[1, pixels[row, 1]] += 1
        counts[2, pixels[row, 2]] += 1
    return counts


@njit(cache=True)
def _extremes(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    found = np.empty((3, 2), np.uint8)
    for channel in range(3):
        low = high = pixels[0, channel]
        for row in range(pixels.shape[0]):
            low = min(low, pixels[row, channel])
            high = max(high, pixels[row, channel])
        found[channel, 0] = low
        found[channel, 1] = high
    return found


@njit(cache=True)
def _add(total: NDArray[np.float32], image: NDArray[np.uint8], weight: np.float32) -> None:
    for index in range(total.shape[0]):
        total[index] += weight * np.float32(image[index])


@njit(cache=True)
def _rounded(total: NDArray[np.float32]) -> NDArray[np.uint8]:
    image = np.empty(total.shape, np.uint8)
    for index in range(total.shape[0]):
        value = total[index] + np.float32(0.5)
        image[index] = np.uint8(min(max(value, np.float32(0)), np.float32(255)))
    return image


@njit(cache=True)
def _affine(
    source: NDArray[np.uint8],
    target: NDArray[np.uint8],
    a: float,
    b: float,
    c: float,
    d: float,
    e: float,
    f: float,
) -> None:
    """Resample (H, 3 W) rows bilinearly in Pillow's arithmetic; outside the image is black."""
    height, width = source.shape[0], source.shape[1] // 3
    for y in range(height):
        row = target[y]
        for x in range(width):
            across = a * (x + 0.5) + b * (y + 0.5) + c
            down = d * (x + 0.5) + e * (y + 0.5) + f
            if across < 0 or across >= width or down < 0 or down >= height:
                row[3 * x] = row[3 * x + 1] = row[3 * x + 2] = 0
                continue
            across -= 0.5
            down -= 0.5
            left, top = math.floor(across), math.floor(down)
            dx, dy = across - left, down - top
            first = 3 * max(left, 0)
            second = 3 * min(left + 1, width - 1)
            upper = source[max(top, 0)]
            lower = source[min(top + 1, height - 1)]
            for channel in range(3):
                above = (
                    upper[first + channel]
                    + (np.float64(upper[second + channel]) - upper[first + channel]) * dx
                )
                below = (
                    lower[first + channel]
                    + (np.float64(lower[second + channel]) - lower[first + channel]) * dx
                )
                row[3 * x + channel] = np.uint8(above + (below - above) * dy)
