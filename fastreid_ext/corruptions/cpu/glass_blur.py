"""Frosted glass: pixels replaced, one after another, by one nearby.

The reference means to swap two pixels, but both sides are views of one array, so the second
assignment writes back what the first has just put there: the near pixel is *copied*, and of the
pixels about two thirds are lost in three passes. Later copies read earlier ones, so the order
counts: from the bottom right to the top left, the outermost ``reach`` pixels (one more at the top
and left) left alone. A pass makes (H - 2 reach) * (W - 2 reach) copies.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from fastreid_ext.corruptions.cpu.gaussian_blur import gaussian_of_image
from fastreid_ext.corruptions.cpu.random_bits import random_words

Image = NDArray[np.uint8]
Offsets = NDArray[np.int32]
RandomSource = np.random.RandomState | np.random.Generator

# (standard deviation of the blur before and after, reach of the copies, both in pixels; passes),
# for severity 1 to 5.
GLASS_BLUR = ((0.7, 1, 2), (0.9, 2, 1), (1.0, 2, 3), (1.1, 3, 2), (1.5, 4, 2))


def glass_blur(image: Image, severity: int, rng: RandomSource, reference: bool) -> Image:
    """Blur an image, copy each pixel from one nearby, blur again.

    An offset is sampled for each pixel and pass.
    """
    sigma, reach, passes = GLASS_BLUR[severity - 1]
    blurred = gaussian_of_image(image, sigma, reference=reference)
    copied = copy_near_pixels(blurred, reach, passes, rng)
    return gaussian_of_image(copied, sigma, reference=reference)


@numba.njit(cache=True, nogil=True)
def _offsets_from_pairs(pairs: NDArray[np.uint32], reach: int, width: int) -> Offsets:
    """Turn pairs (x, y) of words, last bits uniform over [0, 2 reach), into offsets in pixels."""
    mask = np.uint32(7 if reach > 2 else 2 * reach - 1)
    offsets = np.empty(pairs.size // 2, np.int32)
    for i in range(offsets.size):
        x = np.int32(pairs[2 * i] & mask) - reach
        y = np.int32(pairs[2 * i + 1] & mask) - reach
        offsets[i] = y * width + x
    return offsets


@numba.njit(cache=True, nogil=True)
def _offsets_from_words(words: NDArray[np.uint16], reach: int, width: int) -> Offsets:
    """Choose one of the (2 reach)^2 offsets for each word, nearly equally likely."""
    side = 2 * reach
    offsets = np.empty(words.size, np.int32)
    table = np.empty(side * side, np.int32)
    for i in range(table.size):
        table[i] = (i // side - reach) * width + i % side - reach
    for i in range(words.size):
        offsets[i] = table[(np.uint32(words[i]) * np.uint32(table.size)) >> np.uint32(16)]
    return offsets


@numba.njit(cache=True, nogil=True)
def _packed(image: NDArray[np.uint8]) -> NDArray[np.uint32]:
    flat = image.reshape(-1)
    packed = np.empty(flat.size // 3, np.uint32)
    for i in range(packed.size):
        red = flat[3 * i]
        green = flat[3 * i + 1]
        blue = flat[3 * i + 2]
        packed[i] = np.uint32(red) | np.uint32(green) << 8 | np.uint32(blue) << 16
    return packed


@numba.njit(cache=True, nogil=True)
def _copied(image: Image, offsets: Offsets, reach: int) -> Image:
    """Make all passes over an (H, W, 3) image; each pixel is handled as one word."""
    height, width, _ = image.shape
    pixels = _packed(image)
    n = 0
    while n < offsets.size:
        for y in range(height - reach, reach, -1):
            start = y * width
            for x in range(width - reach, reach, -1):
                pixels[start + x] = pixels[start + x + offsets[n]]
                n += 1
    copied = np.empty(3 * pixels.size, np.uint8)
    for i in range(pixels.size):
        pixel = pixels[i]
        copied[3 * i] = pixel & np.uint32(255)
        copied[3 * i + 1] = (pixel >> np.uint32(8)) & np.uint32(255)
        copied[3 * i + 2] = pixel >> np.uint32(16)
    return copied.reshape(image.shape)


def copy_near_pixels(image: Image, reach: int, passes: int, rng: RandomSource) -> Image:
    """Copy pixels of an (H, W, 3) image ``passes`` times from offsets in [-reach, reach).

    A ``RandomState`` gives the pairs that ``randint(-reach, reach, size=2)`` gives pixel by pixel:
    that takes the last bits of a word, again if the number is too large, which a range of 2, 4 or 8
    never asks for.
    """
    height, width = image.shape[:2]
    count = passes * (height - 2 * reach) * (width - 2 * reach)
    if isinstance(rng, np.random.Generator):
        words = random_words(rng, (count + 1) // 2).view(np.uint16)[:count]
        return _copied(image, _offsets_from_words(words, reach, width), reach)
    if reach == 3:
        pairs = rng.randint(0, 6, size=2 * count).astype(np.uint32)
    else:
        pairs = rng.randint(0, 2**32, size=2 * count, dtype=np.uint32)
    return _copied(image, _offsets_from_pairs(pairs, reach, width), reach)
