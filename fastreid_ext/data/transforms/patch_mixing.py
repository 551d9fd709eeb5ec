"""Self-patch mixing: a rectangle of a training image is mixed with another one of the same image.

Size, place and weight are sampled as for soft random erasing; the second rectangle has the size of
the first and lies anywhere, so they may overlap.

[0] Chen et al., "Benchmarks for Corruption Invariant Person Re-identification", NeurIPS 2021
    (datasets and benchmarks), https://arxiv.org/abs/2111.00880
"""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from fastreid_ext.data.transforms.rectangles import (
    Patch,
    PatchTransform,
    place_patch,
    with_mixed_patch,
)


@dataclasses.dataclass(frozen=True)
class MixedPatch:
    """Two rectangles of one image and their mixture.

    Attributes:
        patch: rectangle that is changed.
        source: rectangle that is mixed in, of equal size.
        weight: share of the source in [0, 1], Beta distributed.
    """

    patch: Patch
    source: Patch
    weight: float


class PatchMixing(PatchTransform):
    """Mix a random rectangle with another one. Images are (H, W, 3) uint8 RGB in [0, 255].

    Example:
        >>> mixing = PatchMixing(probability=1.0)
        >>> mixing(np.zeros((64, 32, 3), np.uint8), np.random.default_rng(0)).shape
        (64, 32, 3)

    Args:
        probability: probability that an image is changed, in [0, 1].
        beta: the two parameters of the Beta distribution of the weight of the other rectangle.
        area: least and largest area as shares of the image.
        aspect: least ratio of height to width; the largest is its inverse.
    """

    def sample(self, rng: np.random.Generator, height: int, width: int) -> MixedPatch | None:
        """Sample the rectangles in an image of that size; None where it stays unchanged."""
        patch = self.sample_patch(rng, height, width)
        if patch is None:
            return None
        weight = float(rng.beta(*self.beta))
        source = place_patch(rng, height, width, (patch.height, patch.width))
        return MixedPatch(patch, source, weight)

    def apply(self, image: NDArray[np.uint8], mixed: MixedPatch) -> NDArray[np.uint8]:
        """Mix both rectangles of the input into a copy of it."""
        source = image[mixed.source.slices].astype(np.float32)
        return with_mixed_patch(image, mixed.patch, source, mixed.weight)
