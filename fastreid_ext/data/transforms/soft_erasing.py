"""Soft random erasing: a rectangle of a training image is mixed with Gaussian pixels.

Choices where [0] and its code [1] differ or are silent:

- The noise is a standard normal *after normalisation*, as in random erasing by pixels:
  PIXEL_MEAN + PIXEL_STD * N(0, 1) in grey levels, clipped to [0, 255]. [1] adds N(0, 1) in units of
  the whole grey scale before normalisation, and its conversion to bytes wraps values outside.
- Area and place are those of [1]: a share of the image sampled uniformly, the ratio of height to
  width sampled uniformly (not its logarithm), both again until the rectangle is
  smaller than the image.

[0] Chen et al., "Benchmarks for Corruption Invariant Person Re-identification", NeurIPS 2021
    (datasets and benchmarks), https://arxiv.org/abs/2111.00880
[1] https://github.com/MinghuiChen43/CIL-ReID
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastreid_ext.corruptions.cpu.random_bits import random_normals
from fastreid_ext.data.transforms.rectangles import (
    Patch,
    PatchTransform,
    with_mixed_patch,
)


@dataclasses.dataclass(frozen=True)
class SoftErasure:
    """Rectangle of one image and the noise mixed into it.

    Attributes:
        patch: rectangle that is erased.
        weight: share of the noise in [0, 1]; ``m`` of [1], Beta distributed.
        seed: seed of the noise, in [0, 2^63).
    """

    patch: Patch
    weight: float
    seed: int


class SoftErasing(PatchTransform):
    """Mix a random rectangle with Gaussian pixels. Images are (H, W, 3) uint8 RGB in [0, 255].

    Example:
        >>> erasing = SoftErasing(probability=1.0, mean=(124, 116, 104), std=(58, 57, 57))
        >>> erasing(np.zeros((64, 32, 3), np.uint8), np.random.default_rng(0)).shape
        (64, 32, 3)

    Args:
        probability: probability that an image is changed, in [0, 1].
        beta: the two parameters of the Beta distribution of the weight of the noise; with a second
            of 0 the weight is 1, its limit: noise alone, random erasing by pixels.
        area: least and largest area as shares of the image.
        aspect: least ratio of height to width; the largest is its inverse.
        mean: mean of the noise for each channel, in grey levels.
        std: standard deviation of the noise for each channel, in grey levels.
    """

    def __init__(self, *, mean: Sequence[float], std: Sequence[float], **sampling: Any) -> None:
        super().__init__(**sampling)
        self.mean = np.asarray(mean, np.float32)
        self.std = np.asarray(std, np.float32)

    def sample(self, rng: np.random.Generator, height: int, width: int) -> SoftErasure | None:
        """Sample the erasure of an image of that size; None where it stays unchanged."""
        patch = self.sample_patch(rng, height, width)
        if patch is None:
            return None
        weight = float(rng.beta(*self.beta)) if self.beta[1] else 1.0
        return SoftErasure(patch, weight, int(rng.integers(2**63)))

    def apply(self, image: NDArray[np.uint8], erasure: SoftErasure) -> NDArray[np.uint8]:
        """Mix the rectangle of a copy of the image with the noise of the seed."""
        patch = erasure.patch
        rng = np.random.default_rng(erasure.seed)
        shape = (patch.height, patch.width, 3)
        noise = random_normals(rng, math.prod(shape), 0.0, 1.0).reshape(shape)
        noise *= self.std
        noise += self.mean
        np.clip(noise, 0, 255, out=noise)
        return with_mixed_patch(image, patch, noise, erasure.weight)
