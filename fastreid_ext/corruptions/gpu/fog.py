"""Fog: a plasma fractal added to the image.

The fractal is made by midpoint displacement on a square torus: each step sets the middles of
squares, then the middles of their edges, to the mean of four neighbours plus noise. Pixels are kept
in the order in which they are filled, so that a step is one contiguous range: gather, sum, add. The
first five levels, 1,024 pixels, are one product with a matrix.

Letters: B batch, H height, W width, S side of the fractal (a power of 2), S^2 its pixels.

[0] imagecorruptions 1.1.2
"""

import dataclasses
import functools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastreid_ext.corruptions.cpu.fog import FOG, map_side
from fastreid_ext.corruptions.gpu.arithmetic import NUDGE
from fastreid_ext.corruptions.gpu.random_numbers import Bucket

# Weight of the fog, and decay of the square root of the noise from level to level, by severity.
DENSITY, DECAY = zip(*FOG, strict=True)
_COARSE_LEVELS = 5
_COARSE = 4**_COARSE_LEVELS


@dataclasses.dataclass(frozen=True)
class FillingOrder:
    """The pixels of a fractal in the order in which they are filled.

    Attributes:
        rank: (S, S) int64 place of each pixel in the order of filling.
        levels: (S^2,) int64 level of each pixel in that order; the first pixel counts as level 0.
        neighbours: one (M, 4) int64 for each step, the ranks of the four neighbours of its M
            pixels; a step begins where the one before it ended, the first at rank 1.
    """

    rank: NDArray[np.int64]
    levels: NDArray[np.int64]
    neighbours: tuple[NDArray[np.int64], ...]


@functools.lru_cache(maxsize=4)
def filling_order(side: int) -> FillingOrder:
    """Compute the order in which [0] fills a fractal and uses its random numbers."""
    pixels = [np.zeros((1, 2), np.int64)]
    levels = [np.zeros(1, np.int64)]
    steps = []
    for level in range(side.bit_length() - 1):
        step = side >> level
        half = step // 2
        corners = np.arange(0, side, step)
        corner = np.stack(np.meshgrid(corners, corners, indexing="ij"), axis=-1).reshape(-1, 2)
        middles = corner + half
        edges = (corner + np.array([[[0, half]], [[half, 0]]])).reshape(-1, 2)
        diagonal = np.array([(-half, -half), (half, -half), (-half, half), (half, half)])
        straight = np.array([(-half, 0), (half, 0), (0, -half), (0, half)])
        pixels += [middles, edges]
        levels.append(np.full(3 * len(corner), level))
        steps += [middles[:, None] + diagonal, edges[:, None] + straight]
    rank = np.empty((side, side), np.int64)
    rank[tuple(np.concatenate(pixels).T)] = np.arange(side * side)
    neighbours = tuple(rank[tuple(np.moveaxis(step % side, -1, 0))] for step in steps)
    return FillingOrder(rank, np.concatenate(levels), neighbours)


@dataclasses.dataclass(frozen=True)
class _Tables:
    """Tables of a fractal on the device.

    Attributes:
        amplitudes: (5, S^2) amplitude of the noise for each severity.
        coarse: (1024, 1024) matrix from the noise of the first levels to their pixels.
        steps: begin, end and (4 * M,) ranks of the neighbours for each later step.
        places: (H * W,) ranks of the image's pixels.
    """

    amplitudes: Tensor
    coarse: Tensor
    steps: tuple[tuple[int, int, Tensor], ...]
    places: Tensor


@functools.lru_cache(maxsize=4)
def _tables(height: int, width: int, device: torch.device) -> _Tables:
    side = map_side(height, width)
    order = filling_order(side)
    amplitudes = np.array(DECAY)[:, None] ** (-2.0 * order.levels)
    amplitudes[:, 0] = 0  # the first pixel is 0
    coarse = np.eye(_COARSE)
    steps = []
    begin = 1
    for neighbours in order.neighbours:
        end = begin + len(neighbours)
        if end <= _COARSE:
            coarse[begin:end] += coarse[neighbours].mean(axis=1)
        else:
            steps.append((begin, end, torch.from_numpy(neighbours.ravel()).to(device)))
        begin = end
    rows, columns = np.ogrid[:height, :width]
    return _Tables(
        torch.from_numpy(amplitudes).float().to(device),
        torch.from_numpy(coarse.T).float().to(device),
        tuple(steps),
        torch.from_numpy(order.rank[rows % side, columns % side].ravel()).to(device),
    )


def fog(images: Tensor, bucket: Bucket) -> Tensor:
    """Add fog and scale back to the image's largest value."""
    height, width = images.shape[2:]
    side = map_side(height, width)
    return add_fog(images, bucket, bucket.signed_uniforms(side * side))


def add_fog(images: Tensor, bucket: Bucket, noise: Tensor) -> Tensor:
    """Add the fog of given noise, (B, S^2) in (-1, 1), in the order of filling."""
    height, width = images.shape[2:]
    plasma = plasma_fractal(noise, bucket.levels, height, width)
    density = bucket.constants(tuple(255 * density for density in DENSITY))
    largest = images.amax(dim=(1, 2, 3), keepdim=True).float()
    fogged = torch.addcmul(images, density, plasma)
    return fogged.mul_(largest / (largest + density)).add_(NUDGE)


def plasma_fractal(noise: Tensor, levels: Tensor, height: int, width: int) -> Tensor:
    """Compute the top left (B, 1, H, W) of fractals scaled to [0, 1]; ``noise`` is overwritten."""
    tables = _tables(height, width, noise.device)
    values = noise.mul_(tables.amplitudes.index_select(0, levels))
    values[:, :_COARSE] = values[:, :_COARSE] @ tables.coarse
    for begin, end, neighbours in tables.steps:
        means = values.index_select(1, neighbours).view(len(values), -1, 4).mean(dim=2)
        values[:, begin:end].add_(means)
    low, high = values.aminmax(dim=1, keepdim=True)
    window = values.index_select(1, tables.places)
    return window.sub_(low).div_(high.sub_(low)).view(-1, 1, height, width)
