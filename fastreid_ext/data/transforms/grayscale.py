"""Random greyscale: an image loses its colours, as in the views of contrastive pre-training.

[0] Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020,
    app. A (probability 0.2), https://arxiv.org/abs/2002.05709
"""

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image


class RandomGrayscale:
    """Make images grey. Images are (H, W, 3) uint8 RGB in [0, 255].

    Example:
        >>> grey = RandomGrayscale(probability=1.0)
        >>> grey(np.zeros((64, 32, 3), np.uint8), np.random.default_rng(0)).shape
        (64, 32, 3)

    Args:
        probability: probability that an image becomes grey, in [0, 1].
    """

    def __init__(self, *, probability: float) -> None:
        self.probability = probability

    def __call__(self, image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """Make an image grey with the probability; the input is not written to."""
        return self.apply(image) if self.sample(rng) else image

    def sample(self, rng: np.random.Generator) -> bool:
        """Sample whether an image becomes grey."""
        return bool(rng.random() < self.probability)

    @staticmethod
    def apply(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Copy the luminance of ITU-R 601-2 to three channels."""
        return cv2.merge([np.asarray(Image.fromarray(image).convert("L"))] * 3)

    def __repr__(self) -> str:
        return f"RandomGrayscale(probability={self.probability:g})"
