"""Near-duplicates by perceptual hash (pHash: the signs of 64 low frequencies of the grey image).

A hash is 64 bits, written as 16 hexadecimal digits.
"""

from collections.abc import Iterable

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

BITS = 64  # length of a hash, and the distance of an image while no other is kept


def hash_of(image: NDArray[np.uint8]) -> str:
    """Compute the perceptual hash of an image (H, W, 3) uint8 RGB."""
    return str(imagehash.phash(Image.fromarray(image)))


def hamming(first: str, second: str) -> int:
    """Count the bits in which two hashes differ.

    Example:
        >>> hamming("000000000000000f", "0000000000000001")
        3
    """
    return (int(first, 16) ^ int(second, 16)).bit_count()


def nearest(own: str, others: Iterable[str]) -> int:
    """Compute the smallest distance to any of ``others``; BITS if there are none."""
    return min((hamming(own, other) for other in others), default=BITS)
