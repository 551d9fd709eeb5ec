"""The photographs of frost that come with imagecorruptions, ready to be cut from.

They are read from the installed package's folder; the package itself is not imported. The reference
lists six and draws from the first five.
"""

import functools
import importlib.util
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fastreid_ext.corruptions.cpu.fog import LARGEST_SIDE

TEXTURES = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg")
_ROOM = 256  # for the window in a mirrored texture
_INSTALL = "install it with: pip install --no-deps imagecorruptions==1.1.2"


def frost_texture(index: int, height: int, width: int) -> NDArray[np.uint8]:
    """Return texture ``index`` for an image of that size: (>= height + 3, >= width + 3, 3) RGB.

    It is 1.1 times as large as it comes, or as large as it must be to cover the image. Textures of
    images that fit into them are kept for good (5 arrays of 0.6 to 2 MB); of larger ones the last
    10. Not to be written to.

    Raises:
        ImportError: imagecorruptions is not installed.
        FileNotFoundError: it is, without the file.
    """
    rows, columns = _decoded(index).shape[:2]
    needed = max(height / rows, width / columns, 1) * 1.1
    if needed == 1.1:
        return _unscaled(index)
    return _scaled(index, needed)


def covering_texture(index: int, height: int, width: int) -> NDArray[np.uint8]:
    """Return :func:`frost_texture`, but for slivers a mirrored one, which takes little memory.

    A texture as large as a sliver of 32 x 21,333 pixels would take 1 GB. So where the longer side
    is above ``LARGEST_SIDE``, the texture is enlarged for that many pixels only (or for the shorter
    side, if that is longer) and continued by its mirror image; 256 pixels of room remain.
    """
    largest = max(LARGEST_SIDE, min(height, width))
    texture = frost_texture(index, min(height, largest), min(width, largest))
    if max(height, width) <= largest:
        return texture
    rows, columns = (
        _mirrored(np.arange(side + _ROOM), count)
        for side, count in zip((height, width), texture.shape[:2], strict=True)
    )
    return texture[rows[:, None], columns]


def _mirrored(places: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return places below ``count``: forwards, then backwards, and so on."""
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
            f"expected a picture of frost at {path}, found none that can be read; imagecorruptions "
            f"is not whole, {_INSTALL}"
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
