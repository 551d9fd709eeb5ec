"""Gaussian blur as matrix products along columns and rows.

Letters: B batch, C channels, H height, W width, N length of a row or column.

[0] imagecorruptions 1.1.2
"""

import functools
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastreid_ext.corruptions.cpu.gaussian_blur import GAUSSIAN_BLUR
from fastreid_ext.corruptions.gpu.arithmetic import (
    NUDGE,
    Matrix,
    along_columns,
    along_rows,
    nearest_index,
    to_bank,
)
from fastreid_ext.corruptions.gpu.random_numbers import Bucket


def gaussian_blur(images: Tensor, bucket: Bucket) -> Tensor:
    """Blur images with a Gaussian, the border value repeated outside."""
    return gaussian(images.float(), GAUSSIAN_BLUR, bucket.levels).add_(NUDGE)


def gaussian(pixels: Tensor, sigmas: tuple[float, ...], levels: Tensor) -> Tensor:
    """Blur float32 (B, C, H, W) by the sigma (pixels) of each image's level."""
    height, width = pixels.shape[2:]
    device = pixels.device
    blurred = along_columns(pixels, gaussian_bank(sigmas, height, device), levels)
    return along_rows(blurred, gaussian_bank(sigmas, width, device), levels)


def gaussian_matrix(
    size: int,
    sigma: float,
    truncate: float = 4.0,
    border: Callable[[NDArray[np.int64], int], NDArray[np.int64]] = nearest_index,
) -> Matrix:
    """Build the (N, N) matrix of a Gaussian filter cut at ``truncate`` sigmas."""
    reach = int(truncate * sigma + 0.5)
    offsets = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    matrix = np.zeros((size, size))
    columns = border(np.arange(size)[:, None] + offsets, size)
    np.add.at(matrix, (np.arange(size)[:, None], columns), weights / weights.sum())
    return matrix


@functools.lru_cache(maxsize=64)
def gaussian_bank(sigmas: tuple[float, ...], size: int, device: torch.device) -> Tensor:
    """Build the matrices of skimage's ``gaussian`` (border "nearest", 4 sigmas), (5, N, N)."""
    return to_bank([gaussian_matrix(size, sigma) for sigma in sigmas], device)
