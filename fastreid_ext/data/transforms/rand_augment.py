"""RandAugment of torchvision on uint8 arrays.

[0] Cubuk et al., "RandAugment: Practical automated data augmentation with a reduced search space",
    NeurIPS 2020, https://arxiv.org/abs/1909.13719
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import RandAugment as OfTorchvision


class RandAugment:
    """A number of random operations of one strength. Images are (H, W, 3) uint8 in [0, 255].

    torchvision draws from torch's global generator, which ``PersonDataset`` seeds for each draw of
    an image; the generator given here is not read.

    Args:
        operations: number of operations on each image.
        magnitude: their strength, 0 to 30.
    """

    def __init__(self, *, operations: int, magnitude: int) -> None:
        self._augment = OfTorchvision(
            num_ops=operations, magnitude=magnitude, interpolation=InterpolationMode.BILINEAR
        )

    def __call__(self, image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """Return a changed copy."""
        return np.array(self._augment(Image.fromarray(image)))

    def __repr__(self) -> str:
        return repr(self._augment)
