"""Frost: a window of a picture of frost laid over the image.

The pictures come with imagecorruptions and are read from the installed package's folder; the
package itself is not imported. The reference lists six and samples from the first five.
"""

import functools
import importlib.util
from pathlib import Path

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from fastreid_ext.corruptions.cpu.fog import LARGEST_SIDE

Image = NDArray[np.uint8]
RandomSource = np.random.RandomState | np.random.Generator

# (weight of the image, weight of the texture) for severity 1 to 5.
FROST = ((1.0, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))
TEXTURES = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg")
_ROOM = 256  # pixels in which the window of a mirrored texture may move
_INSTALL = "install it with: pip install --no-deps imagecorruptions==1.1.2"


def frost(image: Image, severity: int, rng: RandomSource, reference: bool) -> Image:
    """Lay a window of frost over an image.

    One of five textures is sampled, then top and left of the window.
    """
    height, width = image.shape[:2]
    below = rng.randint if reference else rng.integers
    texture = covering_texture(int(below(len(TEXTURES))), height, width)
    top = int(below(0, texture.shape[0] - height))
    left = int(below(0, texture.shape[1] - width))
    return _with_texture(image, texture, top, left, *FROST[severity - 1])


@numba.njit(cache=True, nogil=True)
def _with_texture(
    image: Image, texture: Image, top: int, left: int, weight: float, other: float
) -> Image:
    """Compute ``weight * image + other * texture`` in float64, so equal to the reference."""
    result = np.empty_like(image)
    for y in range(image.shape[0]):
        pixels = image[y].reshape(-1)
        row = result[y].reshape(-1)
        ice = texture[top + y].reshape(-1)[3 * left : 3 * left + row.size]
        for i in range(row.size):
            row[i] = np.uint8(np.int32(min(weight * pixels[i] + other * ice[i], 255.0)))
    return result


def frost_texture(index: int, height: int, width: int) -> NDArray[np.uint8]:
    """Load texture ``index`` for an image of that size: (>= height + 3, >= width + 3, 3) RGB.

    It is enlarged 1.1 times, or as far as needed to cover the image. Textures of
    images that fit into them are kept for good (5 arrays of 0.6 to 2 MB); of larger ones the last
    10. The arrays are read-only.

    Raises:
        ImportError: imagecorruptions is not installed.
        FileNotFoundError: imagecorruptions is installed without the file.
    """
    rows, columns = _decoded(index).shape[:2]
    needed = max(height / rows, width / columns, 1) * 1.1
    if needed == 1.1:
        return _unscaled(index)
    return _scaled(index, needed)


def covering_texture(index: int, height: int, width: int) -> NDArray[np.uint8]:
    """Load :func:`frost_texture`, for slivers a mirrored one, which takes little memory.

    A texture as large as a sliver of 32 x 21,333 pixels would take 1 GB. So where the longer side
    is above ``LARGEST_SIDE``, the texture is enlarged for that many pixels only (or for the shorter
    side, if that is longer) and continued by its mirror image; 256 pixels of room remain.
    """
    largest = max(LARGEST_SIDE, min(height, width))
    texture = frost_texture(index, min(height, largest), min(width, largest))
    if max(height, width) <= largest:
        return texture
    rows = _mirrored(np.arange(height + _ROOM), texture.shape[0])
    columns = _mirrored(np.arange(width + _ROOM), texture.shape[1])
    return texture[rows[:, None], columns]


def _mirrored(places: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Map places to [0, count): forwards, then backwards, and so on."""
    within = places % (2 * count)
    return np.where(within < count, within, 2 * count - 1 - within)


@functools.cache
def _unscaled(index: int) -> NDArray[np.uint8]:
    return _resized(_decoded(index), 1.1)


@functools.lru_cache(maxsize=10)
def _scaled(index: int, factor: float) -> NDArray[np.uint8]:
    return _resized(_decoded(index), factor)


def _resized(texture: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    rows, columns = texture.shape[:2]
    size = int(np.ceil(columns * factor)), int(np.ceil(rows * factor))
    texture = cv2.resize(texture, dsize=size, interpolation=cv2.INTER_CUBIC)
    texture.flags.writeable = False
    return texture


@functools.cache
def _decoded(index: int) -> NDArray[np.uint8]:
    path = _folder() / TEXTURES[index]
    picture = cv2.imread(str(path))
    if picture is None:
        raise FileNotFoundError(
            f"expected a picture of frost at {path}, found none that can be read; the installation "
            f"of imagecorruptions is incomplete, {_INSTALL}"
        )
    return np.ascontiguousarray(picture[:, :, ::-1])


def _folder() -> Path:
    found = importlib.util.find_spec("imagecorruptions")
    if found is None or found.origin is None:
        raise ImportError(
            "expected imagecorruptions, whose pictures the corruption 'frost' lays over an image, "
            f"to be installed; {_INSTALL}"
        )
    return Path(found.origin).parent / "frost"
