"""Pixelation: coarse pixels, as Pillow's resizing makes them.

[0] Hendrycks and Dietterich, ICLR 2019; parameters are those of imagecorruptions 1.1.2.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

Image = NDArray[np.uint8]
RandomSource = np.random.RandomState | np.random.Generator

# Side of the small image as a share of the large one's, for severity 1 to 5.
PIXELATE_SIDES = (0.6, 0.5, 0.4, 0.3, 0.25)


def pixelate(image: Image, severity: int, rng: RandomSource, reference: bool) -> Image:
    """Shrink an image by averaging boxes and enlarge it by copying; nothing is random."""
    height, width = image.shape[:2]
    share = PIXELATE_SIDES[severity - 1]
    small = PillowImage.fromarray(image).resize(
        (int(width * share), int(height * share)), PillowImage.Resampling.BOX
    )
    return np.array(small.resize((width, height), PillowImage.Resampling.NEAREST))
