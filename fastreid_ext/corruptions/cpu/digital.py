"""Corruptions of a camera's file: flat contrast, coarse pixels, JPEG.

Nothing is random in them, and both modes are the same code.

Letters: H height, W width. Values of the reference are in [0, 1], ours are grey levels.

[0] Hendrycks and Dietterich, ICLR 2019; parameters as in imagecorruptions 1.1.2.
"""

import cv2
import numba
import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Severity 1 to 5.
CONTRASTS = (0.4, 0.3, 0.2, 0.1, 0.05)  # what is left of the distance to the channel's mean
PIXELATE_SIDES = (0.6, 0.5, 0.4, 0.3, 0.25)  # of the small image, as a share of the large one's
JPEG_QUALITIES = (25, 18, 15, 10, 7)

_LEVELS = 256
_UNIT = np.arange(_LEVELS) / 255.0  # what the reference makes of each grey level


def contrast(
    image: NDArray[np.uint8],
    severity: int,
    rng: np.random.RandomState | np.random.Generator,
    faithful: bool,
) -> NDArray[np.uint8]:
    """Move every value towards the mean of its channel."""
    return _flattened(image, _UNIT, CONTRASTS[severity - 1])


def pixelate(
    image: NDArray[np.uint8],
    severity: int,
    rng: np.random.RandomState | np.random.Generator,
    faithful: bool,
) -> NDArray[np.uint8]:
    """Make the image small by averaging, and large again without."""
    height, width = image.shape[:2]
    share = PIXELATE_SIDES[severity - 1]
    small = Image.fromarray(image).resize(
        (int(width * share), int(height * share)), Image.Resampling.BOX
    )
    return np.array(small.resize((width, height), Image.Resampling.NEAREST))


def jpeg_compression(
    image: NDArray[np.uint8],
    severity: int,
    rng: np.random.RandomState | np.random.Generator,
    faithful: bool,
) -> NDArray[np.uint8]:
    """Write as JPEG of low quality and read again; OpenCV's codec gives Pillow's pixels."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITIES[severity - 1]]
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality)
    return cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)


@numba.njit(cache=True, nogil=True)
def _flattened(
    image: NDArray[np.uint8], unit: NDArray[np.float64], share: float
) -> NDArray[np.uint8]:
    pixels = image.reshape(-1)
    # Added one by one, as numpy does over the first two axes: the last bit of a mean counts where
    # the result is a whole grey level.
    red = green = blue = 0.0
    for at in range(0, pixels.size, 3):
        red += unit[pixels[at]]
        green += unit[pixels[at + 1]]
        blue += unit[pixels[at + 2]]
    levels = np.empty((3, _LEVELS), np.uint8)
    for channel, total in enumerate((red, green, blue)):
        mean = total / (pixels.size // 3)
        for level in range(_LEVELS):
            value = (unit[level] - mean) * share + mean
            levels[channel, level] = np.uint8(min(max(value, 0.0), 1.0) * 255)
    result = np.empty_like(image)
    results = result.reshape(-1)
    reds = levels[0]
    greens = levels[1]
    blues = levels[2]
    for at in range(0, pixels.size, 3):
        results[at] = reds[pixels[at]]
        results[at + 1] = greens[pixels[at + 1]]
        results[at + 2] = blues[pixels[at + 2]]
    return result
