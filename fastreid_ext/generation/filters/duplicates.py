"""Near-duplicates by perceptual hash (pHash: the signs of 64 low frequencies of the grey image).

Hashes are 16 hexadecimal digits, of 64 bits.
"""

from collections.abc import Iterable

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

BITS = 64  # of a hash, and the distance of an image that no other was kept before


def hash_of(image: NDArray[np.uint8]) -> str:
    """Return the hash of an (H, W, 3) RGB image in [0, 255]."""
    return str(imagehash.phash(Image.fromarray(image)))


def hamming(first: str, second: str) -> int:
    """Return the number of bits in which two hashes differ."""
    return (int(first, 16) ^ int(second, 16)).bit_count()


def nearest(own: str, others: Iterable[str]) -> int:
    """Return the least distance to any of ``others``; BITS if there are none."""
    return min((hamming(own, other) for other in others), default=BITS)
