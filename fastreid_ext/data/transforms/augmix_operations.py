"""The nine operations of AugMix, compiled; each equals Pillow's bit by bit.

Levels are in tenths: a rotation of level 3 is by 9 degrees. Where the code of the authors [0]
truncates to an integer, so does this.

Letters: H height, W width. Images are (H, W, 3) uint8 RGB, contiguous.

[0] https://github.com/google-research/augmix
"""

import dataclasses
import math

import cv2
import numpy as np
from numpy.typing import NDArray

from fastreid_ext.data.transforms.augmix_kernels import (
    contrast_tables,
    equal_tables,
    resample,
    shear_columns,
    shear_rows,
)

Array = NDArray[np.uint8]
# (a, b, c, d, e, f): the pixel (x, y) of the result is the one at (a x + b y + c, d x + e y + f).
Affine = tuple[float, float, float, float, float, float]

OPERATION_NAMES = (
    "autocontrast",
    "equalize",
    "posterize",
    "rotate",
    "solarize",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
)
_VALUES = np.arange(256)


@dataclasses.dataclass(frozen=True)
class Operation:
    """One sampled operation.

    Attributes:
        name: name of the operation, one of ``OPERATION_NAMES``.
        level: strength of the operation, in (0, 10).
        sign: 1 or -1, direction of a movement; other operations ignore it.
    """

    name: str
    level: float
    sign: int


def operated(image: Array, operation: Operation) -> Array:
    """Apply one operation to an image; the result may be the image itself."""
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
    tables = equal_tables if name == "equalize" else contrast_tables
    return cv2.LUT(image, tables(image.reshape(image.shape[0], -1)))


def _shifted(image: Array, operation: Operation) -> Array:
    height, width = image.shape[:2]
    matrix = affine_of(operation, width, height)
    across = int(matrix[2])  # either this or the next is 0
    down = int(matrix[5])
    shifted = np.zeros_like(image)
    rows = slice(max(-down, 0), min(height - down, height))
    columns = slice(max(-across, 0), min(width - across, width))
    shifted[rows, columns] = image[
        rows.start + down : rows.stop + down, columns.start + across : columns.stop + across
    ]
    return shifted


def _moved(image: Array, operation: Operation) -> Array:
    height, width = image.shape[:2]
    degrees = rotation_degrees(operation) if operation.name == "rotate" else None
    if degrees == 0:
        return image
    moved = np.zeros_like(image)
    # With a repeated border no neighbour is missing; Pillow takes the nearest pixel there.
    padded = cv2.copyMakeBorder(image, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    rows = padded.reshape(height + 2, -1), moved.reshape(height, -1)
    if degrees is not None:
        resample(*rows, _rotation(degrees, width, height))
        return moved
    slope = float(affine_of(operation, width, height)[1 if operation.name == "shear_x" else 3])
    (shear_rows if operation.name == "shear_x" else shear_columns)(*rows, slope)
    return moved


def _rotation(degrees: int, width: int, height: int) -> tuple[float, ...]:
    """Compute the matrix of a rotation about the centre, with the rounding of Pillow."""
    angle = -math.radians(degrees % 360)
    cos = round(math.cos(angle), 15)
    sin = round(math.sin(angle), 15)
    minus_sin = round(-math.sin(angle), 15)
    across = width / 2
    down = height / 2
    first = cos * -across + sin * -down + 0.0 + across
    second = minus_sin * -across + cos * -down + 0.0 + down
    return cos, sin, first, minus_sin, cos, second


def posterize_bits(operation: Operation) -> int:
    """Compute how many bits of a channel are kept, 4 to 1."""
    return 4 - int(operation.level * 4 / 10)


def solarize_threshold(operation: Operation) -> int:
    """Compute the lowest grey level that is inverted, 256 to 1."""
    return 256 - int(operation.level * 256 / 10)


def rotation_degrees(operation: Operation) -> int:
    """Compute the angle, counterclockwise, in whole degrees up to 30."""
    return operation.sign * int(operation.level * 30 / 10)


def affine_of(operation: Operation, width: int, height: int) -> Affine:
    """Compute the matrix of a shear (slope up to 0.3) or shift (up to a third of the image)."""
    slope = operation.sign * (operation.level * 0.3 / 10)
    if operation.name == "shear_x":
        return 1, slope, 0, 0, 1, 0
    if operation.name == "shear_y":
        return 1, 0, 0, slope, 1, 0
    side = width if operation.name == "translate_x" else height
    shift = operation.sign * int(operation.level * (side / 3) / 10)
    return (1, 0, shift, 0, 1, 0) if operation.name == "translate_x" else (1, 0, 0, 0, 1, shift)
