"""Image files as arrays, several times faster than Pillow and with the same pixels.

Plain JPEG and PNG files take the fast way; everything else (other formats, palettes, transparency,
16 bits, CMYK, a turned camera, damage) goes through :func:`fastreid_ext.data.dataset.read_rgb`, so
that there is one meaning of a file and one set of error messages.
"""

import math
import os
from collections.abc import Iterator

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from fastreid_ext.data.dataset import read_rgb

_PNG = b"\x89PNG\r\n\x1a\n"
# Chunks that do not change what Pillow makes of the pixels; others, like tRNS and eXIf, may.
_PLAIN_CHUNKS = {b"IHDR", b"IDAT", b"IEND", b"sRGB", b"gAMA", b"cHRM", b"pHYs", b"tIME", b"tEXt"}
# Text that holds EXIF or XMP data, where Pillow looks for a turned camera too.
_TELLING_TEXTS = (b"Raw profile type", b"XML:")
_ORIENTATION = 0x0112  # EXIF tag; 1: not turned
_START_OF_FRAME = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive
_START_OF_SCAN = 0xDA
_APP1 = 0xE1
_APP14 = 0xEE


def read_pixels(path: str | os.PathLike) -> NDArray[np.uint8]:
    """Return an image file as (H, W, 3) RGB in [0, 255], turned as its EXIF data says.

    The pixels are those of :func:`read_rgb`.

    Raises:
        OSError: the file is missing, damaged or no image; the message names it.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError:
        data = b""  # read_rgb says it
    pixels = _fast(data)
    return np.asarray(read_rgb(path)) if pixels is None else pixels


def pixel_count(path: str | os.PathLike) -> int:
    """Return the number of pixels of an image file from its first bytes.

    Raises:
        OSError: the file is missing or no image; the message names it.
    """
    try:
        with open(path, "rb") as file:
            if file.read(2) == b"\xff\xd8":
                file.seek(0)
                return math.prod(simplejpeg.decode_jpeg_header(file.read())[:2])
        with Image.open(path) as image:
            return math.prod(image.size)
    except (OSError, ValueError):
        return math.prod(read_rgb(path).size)


def _fast(data: bytes) -> NDArray[np.uint8] | None:
    """Decode a plain file; None for any other."""
    try:
        if data.startswith(b"\xff\xd8") and _is_plain_jpeg(data):
            return simplejpeg.decode_jpeg(data, "RGB")
        if data.startswith(_PNG) and _is_plain_png(data):
            # Turns grey to three channels.
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
            return None if pixels is None else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    # Their errors for damaged files; the file is decoded again by Pillow, which explains it.
    except (ValueError, IndexError, cv2.error):
        pass
    return None


def _is_plain_jpeg(data: bytes) -> bool:
    """Whether it is grey or YCbCr of 8 bits and not turned."""
    frames = 0
    for marker, body in _jpeg_segments(data):
        if marker in _START_OF_FRAME:
            frames += 1
            if body[0] != 8 or body[5] not in (1, 3):
                return False
        elif marker == _APP14 and body[11] != 1:  # Adobe's segment: no YCbCr
            return False
        elif marker == _APP1 and _may_be_turned(body):
            return False
    return frames == 1


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield marker and body of each segment before the pixels."""
    place = 2
    marker = 0
    while marker != _START_OF_SCAN:
        if data[place] != 0xFF:
            raise ValueError("expected a marker")
        marker = data[place + 1]
        length = int.from_bytes(data[place + 2 : place + 4])
        yield marker, data[place + 4 : place + 2 + length]
        place += 2 + length


def _may_be_turned(segment: bytes) -> bool:
    """Whether EXIF data, or XMP data in its stead, may say something else than upright."""
    if not segment.startswith(b"Exif\0\0"):
        return b"Orientation" in segment
    exif = Image.Exif()
    try:
        exif.load(segment)
        return exif.get(_ORIENTATION, 1) != 1
    except Exception:  # as many kinds as there are ways to damage it
        return True


def _is_plain_png(data: bytes) -> bool:
    """Whether it is grey or RGB of 8 bits and has nothing that changes the pixels."""
    place = 8
    depth = 0
    colours = 0
    while place < len(data):
        length = int.from_bytes(data[place : place + 4])
        name = data[place + 4 : place + 8]
        if name not in _PLAIN_CHUNKS:
            return False
        if name == b"tEXt" and data.startswith(_TELLING_TEXTS, place + 8):
            return False
        if name == b"IHDR":
            depth, colours = data[place + 16], data[place + 17]
        place += 12 + length
    return depth == 8 and colours in (0, 2) and place == len(data)
