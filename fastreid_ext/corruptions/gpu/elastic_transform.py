"""Elastic distortion and pixelation.

Functions (images (B, 3, H, W) uint8 RGB, draws) -> float32 images, not yet clipped or truncated.

[0] imagecorruptions 1.1.2
"""

import functools

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fastreid_ext.corruptions.cpu.digital import PIXELATE_SIDES
from fastreid_ext.corruptions.cpu.elastic_transform import ELASTIC_STRENGTHS
from fastreid_ext.corruptions.gpu.colour import NUDGE
from fastreid_ext.corruptions.gpu.draws import Draws
from fastreid_ext.corruptions.gpu.separable import (
    Matrix,
    along_columns,
    along_rows,
    gaussian_matrix,
    half_sample_index,
    to_bank,
)
from fastreid_ext.corruptions.pillow_passes import rows_go_first

_LARGEST_STEP = 0.005  # of a displacement before smoothing, as a share of the height
_SMOOTHING = 0.01  # sigma as a share of the side


def elastic_transform(images: Tensor, draws: Draws) -> Tensor:
    """Move pixels by a smooth random field."""
    return displace(images, draws, draws.signed_uniforms(2, *images.shape[2:]))


def displace(images: Tensor, draws: Draws, noise: Tensor) -> Tensor:
    """Move pixels by noise (B, 2, H, W) in (-1, 1), columns then rows, when smoothed and scaled."""
    height, width = images.shape[2:]
    tables = _elastic_tables(height, width, images.device)
    field = tables[0] @ noise @ tables[1]
    stretch = draws.constants(
        tuple(_LARGEST_STEP * height * factor for factor in ELASTIC_STRENGTHS)
    )
    grid = torch.addcmul(tables[2], field.permute(0, 2, 3, 1), stretch * tables[3])
    pixels = images.float()
    moved = F.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)
    return moved.add_(NUDGE)


@functools.lru_cache(maxsize=8)
def _elastic_tables(height: int, width: int, device: torch.device) -> tuple[Tensor, ...]:
    """Return both smoothing matrices, the grid that moves nothing and its units per pixel."""
    smoothing = [
        gaussian_matrix(size, _SMOOTHING * size, truncate=3.0, border=half_sample_index)
        for size in (height, width)
    ]
    rows, columns = np.mgrid[:height, :width]
    grid = np.stack([(2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1], axis=-1)
    units = np.array([2 / width, 2 / height])
    tables = (smoothing[0], smoothing[1].T.copy(), grid, units)
    return tuple(torch.from_numpy(table).float().to(device) for table in tables)


def pixelate(images: Tensor, draws: Draws) -> Tensor:
    """Shrink by averaging boxes, rounded after each side as Pillow does, and enlarge by copying.

    Where Pillow shrinks the columns first for some severities and the rows for others, the columns'
    turn comes twice, once with a matrix that changes nothing.
    """
    height, width = images.shape[2:]
    rows_first = _rows_first(height, width)
    is_late = {rows_first[level] for level in draws.host_levels}
    pixels = images.float()
    if False in is_late:
        bank = _pixelating_bank(width, rows_first, pixels.device)
        pixels = along_rows(pixels, bank, draws.levels).add_(0.5).floor_()
    bank = _pixelating_bank(height, (False,) * len(PIXELATE_SIDES), pixels.device)
    pixels = along_columns(pixels, bank, draws.levels).add_(0.5)
    if True in is_late:
        bank = _pixelating_bank(width, tuple(not late for late in rows_first), pixels.device)
        pixels = along_rows(pixels.floor_(), bank, draws.levels).add_(0.5)
    return pixels


def _rows_first(height: int, width: int) -> tuple[bool, ...]:
    """Return for each severity whether Pillow shrinks the rows first."""
    return tuple(
        rows_go_first(height - int(height * share), width - int(width * share))
        for share in PIXELATE_SIDES
    )


@functools.lru_cache(maxsize=16)
def _pixelating_bank(size: int, is_left: tuple[bool, ...], device: torch.device) -> Tensor:
    """Return for each severity the matrix that shrinks a row and enlarges it again, (5, N, N).

    The severities of ``is_left`` get the matrix that changes nothing.
    """
    matrices = [
        np.eye(size) if left else _pixelating_matrix(size, int(size * share))
        for share, left in zip(PIXELATE_SIDES, is_left, strict=True)
    ]
    return to_bank(matrices, device)


def _pixelating_matrix(size: int, small: int) -> Matrix:
    """Each row averages the box of the coarse pixel that the fine pixel's middle lies in."""
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
