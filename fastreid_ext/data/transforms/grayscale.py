"""Random grey: an image loses its colours, as in the views of contrastive pre-training.

[0] Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020,
    app. A (probability 0.2), https://arxiv.org/abs/2002.05709
"""

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image


class RandomGrayscale:
    """Make images grey. Images are (H, W, 3) uint8 RGB in [0, 255].

    Args:
        probability: of an image to become grey, in [0, 1].
    """

    def __init__(self, *, probability: float) -> None:
        self.probability = probability

    def __call__(self, image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """Return the image, perhaps in grey; the input is not written to."""
        return self.apply(image) if self.sample(rng) else image

    def sample(self, rng: np.random.Generator) -> bool:
        """Draw whether an image becomes grey."""
        return bool(rng.random() < self.probability)

    @staticmethod
    def apply(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return three equal channels, the luminance of ITU-R 601-2."""
        return cv2.merge([np.asarray(Image.fromarray(image).convert("L"))] * 3)

    def __repr__(self) -> str:
        return f"RandomGrayscale(probability={self.probability:g})"
