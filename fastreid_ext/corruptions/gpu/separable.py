"""Linear maps along rows and columns as matrix products, each sample with the map of its severity.

A map with its treatment of the border is a square matrix; the five of a corruption are a bank. Two
batched products are two launches on a GPU, however wide the filter. Sums are in float32; where
products may be TF32 (``torch.set_float32_matmul_precision("high")``), results move by up to 1.

Letters: B batch, H height, W width, N length of a row or column.
"""

import functools
import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Matrix = NDArray[np.float64]


def nearest_index(index: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Continue a row by its border value."""
    return np.clip(index, 0, size - 1)


def half_sample_index(index: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Continue a row by its mirror image, the border value repeated (SciPy's "reflect")."""
    index = np.mod(index, 2 * size)
    return np.minimum(index, 2 * size - 1 - index)


def gaussian_matrix(
    size: int,
    sigma: float,
    truncate: float = 4.0,
    border: Callable[[NDArray[np.int64], int], NDArray[np.int64]] = nearest_index,
) -> Matrix:
    """Return the (N, N) matrix of a Gaussian filter cut at ``truncate`` sigmas."""
    reach = int(truncate * sigma + 0.5)
    offsets = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    matrix = np.zeros((size, size))
    columns = border(np.arange(size)[:, None] + offsets, size)
    np.add.at(matrix, (np.arange(size)[:, None], columns), weights / weights.sum())
    return matrix


@functools.lru_cache(maxsize=64)
def gaussian_bank(sigmas: tuple[float, ...], size: int, device: torch.device) -> Tensor:
    """Return the matrices of skimage's ``gaussian`` (border "nearest", 4 sigmas), (5, N, N)."""
    return to_bank([gaussian_matrix(size, sigma) for sigma in sigmas], device)


def to_bank(matrices: list[Matrix], device: torch.device) -> Tensor:
    """Return equally large matrices as one float32 tensor on the device."""
    return torch.from_numpy(np.stack(matrices)).float().to(device)


def along_rows(pixels: Tensor, of_width: Tensor, levels: Tensor) -> Tensor:
    """Map each row of (B, C, H, W) by the sample's matrix of a bank (5, W, W)."""
    batch, _, _, width = pixels.shape
    matrices = of_width.index_select(0, levels).transpose(1, 2)
    return torch.bmm(pixels.reshape(batch, -1, width), matrices).view_as(pixels)


def along_columns(pixels: Tensor, of_height: Tensor, levels: Tensor) -> Tensor:
    """Map each column of (B, C, H, W) by the sample's matrix of a bank (5, H, H)."""
    batch, channels, height, width = pixels.shape
    matrices = of_height.index_select(
        0, levels.repeat_interleave(channels, output_size=batch * channels)
    )
    return torch.bmm(matrices, pixels.reshape(-1, height, width)).view_as(pixels)


def gaussian(pixels: Tensor, sigmas: tuple[float, ...], levels: Tensor) -> Tensor:
    """Blur float32 (B, C, H, W) by the sigma (pixels) of each sample's level."""
    height, width = pixels.shape[2:]
    device = pixels.device
    blurred = along_columns(pixels, gaussian_bank(sigmas, height, device), levels)
    return along_rows(blurred, gaussian_bank(sigmas, width, device), levels)


def next_smooth(size: int) -> int:
    """Return the next even number that has no prime factor above 5: a fast length for an FFT."""
    size += size % 2
    while _rest(size) > 1:
        size += 2
    return size


def _rest(size: int) -> int:
    for factor in (2, 3, 5):
        while math.gcd(size, factor) > 1:
            size //= factor
    return size
