"""JPEG compression of low quality.

[0] Hendrycks and Dietterich, ICLR 2019; parameters are those of imagecorruptions 1.1.2.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
RandomSource = np.random.RandomState | np.random.Generator

JPEG_QUALITIES = (25, 18, 15, 10, 7)  # severity 1 to 5


def jpeg_compression(image: Image, severity: int, rng: RandomSource, reference: bool) -> Image:
    """Compress an image and decode it again; OpenCV's codec gives Pillow's pixels."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITIES[severity - 1]]
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality)
    return cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
