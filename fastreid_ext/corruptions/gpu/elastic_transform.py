"""Elastic transform: every pixel is read from a place nearby, in a smooth random direction.

Letters: B batch, H height, W width.

[0] imagecorruptions 1.1.2
"""

import functools

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fastreid_ext.corruptions.cpu.elastic_transform import ELASTIC_STRENGTHS
from fastreid_ext.corruptions.gpu.arithmetic import NUDGE, half_sample_index
from fastreid_ext.corruptions.gpu.gaussian_blur import gaussian_matrix
from fastreid_ext.corruptions.gpu.random_numbers import Bucket

_LARGEST_STEP = 0.005  # largest displacement before smoothing, as a share of the height
_SMOOTHING = 0.01  # sigma as a share of the side


def elastic_transform(images: Tensor, bucket: Bucket) -> Tensor:
    """Move pixels by a smooth random field."""
    return displace(images, bucket, bucket.signed_uniforms(2, *images.shape[2:]))


def displace(images: Tensor, bucket: Bucket, noise: Tensor) -> Tensor:
    """Move pixels by noise (B, 2, H, W) in (-1, 1), columns then rows, when smoothed and scaled."""
    height, width = images.shape[2:]
    tables = _elastic_tables(height, width, images.device)
    field = tables[0] @ noise @ tables[1]
    stretch = bucket.constants(
        tuple(_LARGEST_STEP * height * factor for factor in ELASTIC_STRENGTHS)
    )
    grid = torch.addcmul(tables[2], field.permute(0, 2, 3, 1), stretch * tables[3])
    pixels = images.float()
    moved = F.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)
    return moved.add_(NUDGE)


@functools.lru_cache(maxsize=8)
def _elastic_tables(height: int, width: int, device: torch.device) -> tuple[Tensor, ...]:
    """Compute both smoothing matrices, the grid that moves nothing and its units per pixel."""
    smoothing = [
        gaussian_matrix(size, _SMOOTHING * size, truncate=3.0, border=half_sample_index)
        for size in (height, width)
    ]
    rows, columns = np.mgrid[:height, :width]
    grid = np.stack([(2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1], axis=-1)
    units = np.array([2 / width, 2 / height])
    tables = (smoothing[0], smoothing[1].T.copy(), grid, units)
    return tuple(torch.from_numpy(table).float().to(device) for table in tables)
