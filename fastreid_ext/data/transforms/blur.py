"""Random Gaussian blur of a whole image, as in the views of contrastive learning.

[0] Chen et al., "Improved Baselines with Momentum Contrastive Learning", 2020 (probability 0.5,
    deviation of 0.1 to 2 pixels), https://arxiv.org/abs/2003.04297
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter


class RandomBlur:
    """Blur images. Images are (H, W, 3) uint8 RGB in [0, 255].

    Example:
        >>> blur = RandomBlur(probability=1.0)
        >>> blur(np.zeros((64, 32, 3), np.uint8), np.random.default_rng(0)).shape
        (64, 32, 3)

    Args:
        probability: probability that an image is blurred, in [0, 1].
        sigma: least and largest standard deviation of the Gaussian in pixels.
    """

    def __init__(self, *, probability: float, sigma: Sequence[float] = (0.1, 2.0)) -> None:
        self.probability = probability
        self.sigma = tuple(sigma)

    def __call__(self, image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """Blur an image with the probability; the input is not written to."""
        sigma = self.sample(rng)
        return image if sigma is None else self.apply(image, sigma)

    def sample(self, rng: np.random.Generator) -> float | None:
        """Sample the deviation of an image's blur; None where it stays unchanged."""
        if rng.random() >= self.probability:
            return None
        return float(rng.uniform(*self.sigma))

    @staticmethod
    def apply(image: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
        """Blur by a Gaussian of a deviation, as Pillow approximates it with box filters."""
        return np.array(Image.fromarray(image).filter(ImageFilter.GaussianBlur(sigma)))

    def __repr__(self) -> str:
        return f"RandomBlur(probability={self.probability:g}, sigma={self.sigma})"
