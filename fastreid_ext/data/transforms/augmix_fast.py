"""The nine operations of AugMix, compiled; each equals Pillow's bit by bit.

Letters: H height, W width. Images are (H, W, 3) uint8 RGB, contiguous.
"""

import functools
import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from fastreid_ext.data.transforms.augmix_kernels import (
    contrast_tables,
    equal_tables,
    resample,
    shear_columns,
    shear_rows,
    weighted_mean,
)
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
    if not (image.flags.c_contiguous and image.flags.writeable):
        image = np.array(image, order="C")  # one layout, so that each kernel is compiled once
    changed = [functools.reduce(operated, chain, image) for chain in chains]
    return weighted_mean([image, *changed], [1 - share, *(share * weight for weight in weights)])


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
    tables = equal_tables if name == "equalize" else contrast_tables
    return cv2.LUT(image, tables(image.reshape(image.shape[0], -1)))


def _shifted(image: Array, operation: Operation) -> Array:
    height, width = image.shape[:2]
    matrix = affine_of(operation, width, height)
    across = int(matrix[2])  # one of them is 0
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
    # With the border twice no neighbour is missing; Pillow takes the nearest for it.
    padded = cv2.copyMakeBorder(image, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    rows = padded.reshape(height + 2, -1), moved.reshape(height, -1)
    if degrees is not None:
        resample(*rows, _rotation(degrees, width, height))
        return moved
    slope = float(affine_of(operation, width, height)[1 if operation.name == "shear_x" else 3])
    (shear_rows if operation.name == "shear_x" else shear_columns)(*rows, slope)
    return moved


def _rotation(degrees: int, width: int, height: int) -> tuple[float, ...]:
    """Return the matrix of a rotation about the centre, with the rounding of Pillow."""
    angle = -math.radians(degrees % 360)
    cos = round(math.cos(angle), 15)
    sin = round(math.sin(angle), 15)
    minus_sin = round(-math.sin(angle), 15)
    across = width / 2
    down = height / 2
    first = cos * -across + sin * -down + 0.0 + across
    second = minus_sin * -across + cos * -down + 0.0 + down
    return cos, sin, first, minus_sin, cos, second
