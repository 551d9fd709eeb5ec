"""Noise of each channel value: gaussian, shot, impulse and speckle.

The constants of the severities are for images in [0, 1].

Letters: B batch, H height, W width.

[0] Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations", ICLR 2019, https://arxiv.org/abs/1903.12261; as in imagecorruptions 1.1.2
"""

import functools
import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastreid_ext.corruptions.cpu.noise import (
    GAUSSIAN_SCALES,
    IMPULSE_SHARES,
    PHOTONS_OF_WHITE,
    SPECKLE_SCALES,
)
from fastreid_ext.corruptions.gpu.random_numbers import Bucket

_OUTCOMES = 64  # counts of a Poisson sample, of which the last in use is the first that is white
_FRACTION_BITS = 15


def gaussian_noise(images: Tensor, bucket: Bucket) -> Tensor:
    """Add normal noise."""
    scale = bucket.constants(tuple(255 * math.sqrt(2) * sigma for sigma in GAUSSIAN_SCALES))
    return torch.addcmul(images.float(), bucket.scaled_normals(*images.shape[1:]), scale)


def speckle_noise(images: Tensor, bucket: Bucket) -> Tensor:
    """Add normal noise in proportion to the value."""
    scale = bucket.constants(tuple(math.sqrt(2) * sigma for sigma in SPECKLE_SCALES))
    factors = bucket.scaled_normals(*images.shape[1:]).mul_(scale).add_(1)
    return factors.mul_(images)


def impulse_noise(images: Tensor, bucket: Bucket) -> Tensor:
    """Make values 0 or 255, each with half of the severity's probability."""
    bits = bucket.bits(images[0].numel()).view(images.shape)
    reach = bucket.constants(tuple(2.0**31 * share for share in IMPULSE_SHARES)).int()
    black = bits < reach.sub(2**31)
    white = bits > reach.neg().add(2**31 - 1)
    return images.masked_fill(black, 0).masked_fill_(white, 255)


def shot_noise(images: Tensor, bucket: Bucket) -> Tensor:
    """Replace each value by a Poisson count of photons; see :func:`alias_table`."""
    bits = bucket.bits(images[0].numel()).view(images.shape)
    row = bucket.levels[:, None, None, None] * 256 + images
    entry = alias_table(images.device).take(row.mul_(_OUTCOMES).add_(bits & (_OUTCOMES - 1)))
    fraction = (bits >> 6) & (2**_FRACTION_BITS - 1)
    return torch.where(fraction < entry >> 16, entry, entry >> 8).bitwise_and_(255)


@functools.lru_cache(maxsize=8)
def alias_table(device: torch.device) -> Tensor:
    """Build the Poisson distributions of all severities and values as Walker's alias tables.

    A sample picks one of 64 cells by 6 random bits, and its value or its alias by 15 more: two
    look-ups for the exact distribution (probabilities in steps of 2^-21), whatever the mean.

    Returns:
        (5 * 256 * 64,) int32: the probability of the own value (times 2^15) << 16 | the alias's
        grey level << 8 | the own grey level.
    """
    probabilities, greys = zip(*map(_outcomes, PHOTONS_OF_WHITE), strict=True)
    own, alias = _walker(np.concatenate(probabilities))
    grey = np.concatenate([np.broadcast_to(levels, (256, _OUTCOMES)) for levels in greys])
    # A cell with nothing but its own outcome is its own alias, so the cut loses nothing.
    threshold = np.minimum(np.rint(own * 2**_FRACTION_BITS), 2**_FRACTION_BITS - 1).astype(np.int64)
    packed = threshold << 16 | np.take_along_axis(grey, alias, 1) << 8 | grey
    return torch.from_numpy(packed.astype(np.int32).ravel()).to(device)


def _outcomes(photons: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Compute the probability of each count for each grey level (256, 64), and its level (64,)."""
    counts = np.arange(_OUTCOMES)
    mean = np.arange(256)[:, None] * photons / 255
    log_factorial = np.array([math.lgamma(count + 1) for count in counts])
    with np.errstate(divide="ignore", invalid="ignore"):
        log = np.where(counts == 0, 0, counts * np.log(mean)) - mean - log_factorial
    probability = np.exp(log)
    # All counts from `photons` on are white.
    probability[:, photons] = np.maximum(0, 1 - probability[:, :photons].sum(axis=1))
    probability[:, photons + 1 :] = 0
    grey = np.minimum(counts / photons, 1) * 255
    return probability, grey.astype(np.int64)


def _walker(probability: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Compute the share of each cell's own outcome and the outcome of the rest, by rows."""
    rows = np.arange(len(probability))
    rest = probability / probability.sum(axis=1, keepdims=True) * _OUTCOMES
    own = np.ones_like(rest)
    alias = np.tile(np.arange(_OUTCOMES), (len(rows), 1))
    is_open = np.ones(rest.shape, bool)
    for _ in range(_OUTCOMES - 1):
        poor = np.where(is_open, rest, np.inf).argmin(axis=1)
        rich = np.where(is_open, rest, -np.inf).argmax(axis=1)
        own[rows, poor] = np.minimum(rest[rows, poor], 1)
        alias[rows, poor] = np.where(own[rows, poor] < 1, rich, poor)
        rest[rows, rich] -= 1 - own[rows, poor]
        is_open[rows, poor] = False
    return own, alias
