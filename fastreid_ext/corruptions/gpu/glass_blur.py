"""Glass blur: pixels are copied from nearby, one after the other, between two Gaussian blurs.

[0] visits the pixels from the bottom right to the top left and replaces each by a neighbour at a
random offset (it means to swap; what runs is a copy). A pixel thus gets the *new* value of a
neighbour that was visited before, else the old one. As a graph: every pixel points to where its
value comes from, a chain runs on through visited pixels, and pointer doubling, p <- p[p], shortens
all chains at once; 6 rounds follow 64 steps. A chain goes on with a probability of at most 27/64,
so a longer one has a probability below 10^-23.

Letters: B batch, H height, W width, P = H * W pixels, T passes, D largest offset in pixels.

[0] imagecorruptions 1.1.2
"""

import functools

import numpy as np
import torch
from torch import Tensor

from fastreid_ext.corruptions.cpu.glass_blur import GLASS_BLUR
from fastreid_ext.corruptions.gpu.arithmetic import NUDGE
from fastreid_ext.corruptions.gpu.gaussian_blur import gaussian
from fastreid_ext.corruptions.gpu.random_numbers import Bucket

# By severity: sigma of both blurs in pixels; D, of which offsets lie in [-D, D); T.
SIGMA, LARGEST_OFFSET, PASSES = zip(*GLASS_BLUR, strict=True)
_ROUNDS = 6


def glass_blur(images: Tensor, bucket: Bucket) -> Tensor:
    """Blur, move pixels about, blur."""
    height, width = images.shape[2:]
    passes = max(PASSES[level] for level in bucket.host_levels)
    return move_pixels(images, bucket.levels, random_offsets(bucket, passes, height * width))


def move_pixels(images: Tensor, levels: Tensor, offsets: Tensor) -> Tensor:
    """Blur, copy by given offsets, blur; arguments are those of :func:`copy_sources`."""
    sources = copy_sources(offsets, levels, *images.shape[2:])
    blurred = gaussian(images.float(), SIGMA, levels).add_(NUDGE).floor_().flatten(2)
    moved = blurred.gather(2, sources[:, None].expand_as(blurred)).view(images.shape)
    return gaussian(moved, SIGMA, levels).add_(NUDGE)


def random_offsets(bucket: Bucket, passes: int, pixels: int) -> Tensor:
    """Sample (B, T, P, 2) int64 offsets in [-D, D): rows and columns."""
    halves = bucket.bits(passes * pixels).view(torch.int16)  # in [-2^15, 2^15)
    largest = bucket.constants(LARGEST_OFFSET).to(torch.int64)
    return halves.view(-1, passes, pixels, 2).mul(2 * largest) >> 16


def copy_sources(offsets: Tensor, levels: Tensor, height: int, width: int) -> Tensor:
    """Compute which pixel's value each pixel ends up with.

    Args:
        offsets: (B, T, P, 2) int64, rows and columns; those outside the visited region and of
            passes that a severity does not have are ignored.
        levels: (B,) severity - 1 of each image, in [0, 4].
        height: rows of the image, in pixels.
        width: columns of the image, in pixels.

    Returns:
        (B, P) int64 indices into the pixels.
    """
    count = height * width
    visited, numbers = _visited_pixels(height, width, offsets.device)
    visited = visited[:, : offsets.shape[1]].index_select(0, levels)
    pixels, old = numbers.split(count)
    neighbours = offsets[..., 0].mul(width).add_(offsets[..., 1]).mul_(visited).add_(pixels)
    is_new = visited.gather(2, neighbours).logical_and_(neighbours > pixels)
    # Pixels, then their old values, each of which ends a chain.
    pointers = torch.where(is_new, neighbours, neighbours + count)
    pointers = torch.cat([pointers, old.expand_as(pointers)], dim=2)
    for _ in range(_ROUNDS):
        pointers = pointers.gather(2, pointers)
    places = pointers[:, :, :count] - count
    sources = places[:, 0]
    for number in range(1, places.shape[1]):  # the value that a pass copies was placed by the last
        sources = sources.gather(1, places[:, number])
    return sources


@functools.lru_cache(maxsize=8)
def _visited_pixels(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Compute the pixels that each pass of each severity visits, those off the rim, and numbers.

    Rows and columns D + 1 to H - D and W - D.

    Returns:
        (5, 3, P) bool, and (2 * P,) int64 from 0 on.
    """
    visited = np.zeros((len(PASSES), max(PASSES), height, width), bool)
    for level, (passes, most) in enumerate(zip(PASSES, LARGEST_OFFSET, strict=True)):
        visited[level, :passes, most + 1 : height - most + 1, most + 1 : width - most + 1] = True
    numbers = torch.arange(2 * height * width, device=device)
    return torch.from_numpy(visited).flatten(2).to(device), numbers
