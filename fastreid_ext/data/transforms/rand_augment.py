"""RandAugment of torchvision and of timm on uint8 arrays.

Both sample from process-wide generators (torchvision from torch's, timm from those of ``random``
and numpy), which ``PersonDataset`` seeds for each image of a batch; the generator argument of the
steps is not used.

[0] Cubuk et al., "RandAugment: Practical automated data augmentation with a reduced search space",
    NeurIPS 2020, https://arxiv.org/abs/1909.13719
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import RandAugment as OfTorchvision


class RandAugment:
    """A number of random operations of one strength. Images are (H, W, 3) uint8 in [0, 255].

    Example:
        >>> augment = RandAugment(operations=2, magnitude=9)
        >>> augment(np.zeros((64, 32, 3), np.uint8), np.random.default_rng(0)).shape
        (64, 32, 3)

    Args:
        operations: number of operations on each image.
        magnitude: strength of the operations, 0 to 30.
    """

    def __init__(self, *, operations: int, magnitude: int) -> None:
        self._augment = OfTorchvision(
            num_ops=operations, magnitude=magnitude, interpolation=InterpolationMode.BILINEAR
        )

    def __call__(self, image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """Apply random operations to a copy of an image."""
        return np.array(self._augment(Image.fromarray(image)))

    def __repr__(self) -> str:
        return repr(self._augment)


class TimmRandAugment:
    """timm's RandAugment, used by the recipes of ConvNeXt, DeiT and Swin.

    Example:
        >>> augment = TimmRandAugment("rand-m9-mstd0.5-inc1", fill=(124, 116, 104))
        >>> augment(np.zeros((64, 32, 3), np.uint8), np.random.default_rng(0)).shape
        (64, 32, 3)

    Args:
        text: policy in timm's notation, e.g. "rand-m9-mstd0.5-inc1": magnitude 9 of 10 with a
            standard deviation of 0.5, operations that grow stronger with it, two of them on an
            image, each left out with probability 0.5.
        fill: RGB colour in [0, 255] of pixels from outside the image.
    """

    def __init__(self, text: str, *, fill: Sequence[float]) -> None:
        from timm.data.auto_augment import rand_augment_transform  # here: it takes a second

        self.text = text
        colour = tuple(min(255, round(value)) for value in fill)
        self._augment = rand_augment_transform(text, {"img_mean": colour})
        for operation in self._augment.ops:
            if operation.name.startswith("Posterize"):
                operation.aug_fn = functools.partial(_keep_bits, operation.aug_fn)

    def __call__(self, image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """Apply random operations to a copy of an image."""
        return np.array(self._augment(Image.fromarray(image)))

    def __repr__(self) -> str:
        return f"TimmRandAugment('{self.text}')"


def _keep_bits(posterize: Callable, image: Image.Image, bits: int, **kwargs: Any) -> Image.Image:
    """Let timm's posterize keep 0 bits, which is black: Pillow refuses that since version 13.

    At magnitude 9 with a deviation of 0.5 it happens to about one image in 700.
    """
    return posterize(image, bits, **kwargs) if bits else Image.new(image.mode, image.size)
