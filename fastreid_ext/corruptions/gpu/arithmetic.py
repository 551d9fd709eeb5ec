"""Arithmetic that several corruptions share: maps along rows and columns, borders, lengths of FFTs.

A linear map along rows or columns with its treatment of the border is a square matrix; the five of
a corruption are a bank, and each image takes the map of its severity. Two batched products are two
launches on a GPU, however wide the filter. Sums are in float32; where products may be TF32
(``torch.set_float32_matmul_precision("high")``), results move by up to 1.

Letters: B batch, C channels, H height, W width, N length of a row or column.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Matrix = NDArray[np.float64]
# Added before truncation, so that rounding does not turn a whole number into the one below.
NUDGE = 2.0**-11


def nearest_index(index: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Continue a row by its border value."""
    return np.clip(index, 0, size - 1)


def half_sample_index(index: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Continue a row by its mirror image, the border value repeated (SciPy's "reflect")."""
    index = np.mod(index, 2 * size)
    return np.minimum(index, 2 * size - 1 - index)


def to_bank(matrices: list[Matrix], device: torch.device) -> Tensor:
    """Stack equally large matrices to one float32 tensor on the device."""
    return torch.from_numpy(np.stack(matrices)).float().to(device)


def along_rows(pixels: Tensor, of_width: Tensor, levels: Tensor) -> Tensor:
    """Map each row of (B, C, H, W) by the image's matrix of a bank (5, W, W)."""
    batch, _, _, width = pixels.shape
    matrices = of_width.index_select(0, levels).transpose(1, 2)
    return torch.bmm(pixels.reshape(batch, -1, width), matrices).view_as(pixels)


def along_columns(pixels: Tensor, of_height: Tensor, levels: Tensor) -> Tensor:
    """Map each column of (B, C, H, W) by the image's matrix of a bank (5, H, H)."""
    batch, channels, height, width = pixels.shape
    matrices = of_height.index_select(
        0, levels.repeat_interleave(channels, output_size=batch * channels)
    )
    return torch.bmm(matrices, pixels.reshape(-1, height, width)).view_as(pixels)


def next_smooth(size: int) -> int:
    """Find the next even number that has no prime factor above 5: a fast length for an FFT."""
    size += size % 2
    while _rest(size) > 1:
        size += 2
    return size


def _rest(size: int) -> int:
    for factor in (2, 3, 5):
        while math.gcd(size, factor) > 1:
            size //= factor
    return size


def to_unit(places: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Convert pixel indices to coordinates of ``grid_sample`` with aligned corners."""
    return places * (2 / (size - 1)) - 1
