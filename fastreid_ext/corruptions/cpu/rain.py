"""Rain: the corruption that CIL adds to the 19 of ImageNet-C.

CIL calls ``RandomRain`` of albumentations 0.5.2 with brightness coefficient 1, then its
``RandomBrightness`` [0]. Reconstructed from their sources, they paint lines one pixel wide in (200,
200, 200), from the sampled place down by the type's length and *right by 10 pixels*. The slant that
is sampled from [-10, 10] and cut to an integer only sets how far left or right a line may begin,
because 0.5.2 does not use it for the lines. Then a box blur, a turn to 8-bit HLS and back (which
rounds, and no more with coefficient 1), and brightness as a table, decimals cut off. An image of at
most 60 rows is first enlarged to 65 by Pillow's bicubic filter.

Two things differ: such an image is brought back to its size, because every corruption here keeps
the size (CIL resizes to the network's size next); and the random stream. albumentations samples
from Python's ``random``, so there is no numpy stream to repeat: both modes run one procedure, and
reference mode only means that it samples from a ``RandomState``. Given the drops, the image equals
albumentations 0.5.2's.

[0] Chen et al., "Benchmarks for Corruption Invariant Person Re-identification", NeurIPS 2021
    Datasets and Benchmarks, https://arxiv.org/abs/2111.00880; code: MinghuiChen43/CIL-ReID
"""

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

Image = NDArray[np.uint8]
RandomSource = np.random.RandomState | np.random.Generator

# (pixels of the image per drop, length of a drop in rows): drizzle, heavy twice, torrential twice.
_DRIZZLE = (770, 10)
_HEAVY = (600, 30)
_TORRENTIAL = (500, 60)
RAIN = (_DRIZZLE, _HEAVY, _HEAVY, _TORRENTIAL, _TORRENTIAL)
# Columns from the top to the bottom of a painted drop; also the bound of the sampled slant.
SLANT = 10
_COLOUR = (200, 200, 200)
_SMALLEST = 60  # rows
_ENLARGED = 65


def rain(image: Image, severity: int, rng: RandomSource, reference: bool) -> Image:
    """Paint rain; the slant is sampled, then column and row of each drop."""
    height, width = image.shape[:2]
    if height > _SMALLEST:
        return apply_drops(image, severity, sample_drops(height, width, severity, rng))
    enlarged = _resized(image, _ENLARGED, int(width * _ENLARGED / height))
    drops = sample_drops(*enlarged.shape[:2], severity, rng)
    return _resized(apply_drops(enlarged, severity, drops), height, width)


def sample_drops(height: int, width: int, severity: int, rng: RandomSource) -> NDArray[np.int64]:
    """Sample where drops begin, (N, 2) columns and rows; a column may lie outside the image.

    Args:
        height: rows of the image, at least the length of a drop.
        width: columns of the image, in pixels.
        severity: strength of the rain, 1 to 5.
        rng: generator of the slant, then of column and row of one drop after the other.
    """
    area, length = RAIN[severity - 1]
    slant = int(rng.uniform(-SLANT, SLANT))
    low = (min(slant, 0), 0)
    high = (width - max(slant, 0) + 1, height - length + 1)
    below = rng.integers if isinstance(rng, np.random.Generator) else rng.randint
    return below(low, high, size=(height * width // area, 2))


def apply_drops(image: Image, severity: int, drops: NDArray[np.int64]) -> Image:
    """Paint drops that begin at (N, 2) columns and rows on a copy of (H, W, 3), and darken it."""
    length = RAIN[severity - 1][1]
    wet = image.copy()
    ends = drops + np.array([SLANT, length])
    lines = np.stack([drops, ends], axis=1).astype(np.int32)  # (N, 2, 2)
    cv2.polylines(wet, lines, isClosed=False, color=_COLOUR, thickness=1)
    wet = cv2.blur(wet, (2 + severity, 2 + severity))
    wet = cv2.cvtColor(cv2.cvtColor(wet, cv2.COLOR_RGB2HLS), cv2.COLOR_HLS2RGB)
    darker = np.arange(256, dtype=np.float32) - np.float32((0.05 + 0.05 * severity) * 255)
    return cv2.LUT(wet, np.clip(darker, 0, 255).astype(np.uint8))


def _resized(image: Image, height: int, width: int) -> Image:
    resized = PillowImage.fromarray(image).resize((width, height), PillowImage.Resampling.BICUBIC)
    return np.array(resized)
