"""Pixelation: coarse pixels, as Pillow's resizing makes them.

Letters: B batch, H height, W width, N length of a row or column.

[0] imagecorruptions 1.1.2
"""

import functools

import numpy as np
import torch
from torch import Tensor

from fastreid_ext.corruptions.cpu.pixelate import PIXELATE_SIDES
from fastreid_ext.corruptions.gpu.arithmetic import Matrix, along_columns, along_rows, to_bank
from fastreid_ext.corruptions.gpu.random_numbers import Bucket
from fastreid_ext.corruptions.pillow_passes import rows_go_first


def pixelate(images: Tensor, bucket: Bucket) -> Tensor:
    """Shrink by averaging boxes, rounded after each side as Pillow does, and enlarge by copying.

    Where Pillow shrinks the columns first for some severities and the rows for others, the columns
    are shrunk twice, once by a matrix that changes nothing.
    """
    height, width = images.shape[2:]
    rows_first = _rows_first(height, width)
    is_late = {rows_first[level] for level in bucket.host_levels}
    pixels = images.float()
    if False in is_late:
        bank = _pixelating_bank(width, rows_first, pixels.device)
        pixels = along_rows(pixels, bank, bucket.levels).add_(0.5).floor_()
    bank = _pixelating_bank(height, (False,) * len(PIXELATE_SIDES), pixels.device)
    pixels = along_columns(pixels, bank, bucket.levels).add_(0.5)
    if True in is_late:
        bank = _pixelating_bank(width, tuple(not late for late in rows_first), pixels.device)
        pixels = along_rows(pixels.floor_(), bank, bucket.levels).add_(0.5)
    return pixels


def _rows_first(height: int, width: int) -> tuple[bool, ...]:
    """Tell for each severity whether Pillow shrinks the rows first."""
    return tuple(
        rows_go_first(height - int(height * share), width - int(width * share))
        for share in PIXELATE_SIDES
    )


@functools.lru_cache(maxsize=16)
def _pixelating_bank(size: int, is_left: tuple[bool, ...], device: torch.device) -> Tensor:
    """Build for each severity the matrix that shrinks a row and enlarges it again, (5, N, N).

    The severities of ``is_left`` get the matrix that changes nothing.
    """
    matrices = [
        np.eye(size) if left else _pixelating_matrix(size, int(size * share))
        for share, left in zip(PIXELATE_SIDES, is_left, strict=True)
    ]
    return to_bank(matrices, device)


def _pixelating_matrix(size: int, small: int) -> Matrix:
    """Build the matrix whose rows average the box of the coarse pixel around each fine pixel."""
    scale = size / small
    boxes = np.zeros((small, size))
    for coarse, box in enumerate(boxes):
        middle = (coarse + 0.5) * scale
        begin = max(0, int(middle - scale / 2 + 0.5))
        end = min(size, int(middle + scale / 2 + 0.5))
        distance = (np.arange(begin, end) - middle + 0.5) / scale
        is_inside = (distance > -0.5) & (distance <= 0.5)
        box[begin:end] = is_inside / is_inside.sum()
    # Pillow adds up the steps, and where a sum should be whole its rounding decides.
    steps = np.full(size, small / size)
    steps[0] /= 2
    return boxes[np.cumsum(steps).astype(np.int64)]
