"""Read image files as arrays, several times faster than Pillow and with the same pixels.

Plain JPEG and PNG files are decoded by faster libraries. All others (other formats, palettes,
transparency, 16 bits, CMYK, rotation by EXIF, damage) are read by
:func:`fastreid_ext.data.dataset.read_rgb`, which also raises all error messages.
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
# Chunks that do not change the pixels that Pillow reads; others, such as tRNS and eXIf, may.
_PLAIN_CHUNKS = {b"IHDR", b"IDAT", b"IEND", b"sRGB", b"gAMA", b"cHRM", b"pHYs", b"tIME", b"tEXt"}
# Text chunks with EXIF or XMP data, from which Pillow reads the orientation too.
_ORIENTATION_TEXTS = (b"Raw profile type", b"XML:")
_ORIENTATION = 0x0112  # EXIF tag; 1: not rotated
_START_OF_FRAME = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive
_START_OF_SCAN = 0xDA
_APP1 = 0xE1
_APP14 = 0xEE


def read_pixels(path: str | os.PathLike) -> NDArray[np.uint8]:
    """Read an image file as (H, W, 3) RGB in [0, 255], rotated as its EXIF data says.

    The pixels equal those of :func:`read_rgb`.

    Raises:
        OSError: the file is missing, damaged or not an image; the message names it.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError:
        data = b""  # read_rgb raises the error
    pixels = _decoded(data)
    return np.asarray(read_rgb(path)) if pixels is None else pixels


def pixel_count(path: str | os.PathLike) -> int:
    """Compute the number of pixels of an image file from its header.

    Raises:
        OSError: the file is missing or not an image; the message names it.
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


def _decoded(data: bytes) -> NDArray[np.uint8] | None:
    """Decode a plain JPEG or PNG file; return None for any other."""
    try:
        if data.startswith(b"\xff\xd8") and _is_plain_jpeg(data):
            return simplejpeg.decode_jpeg(data, "RGB")
        if data.startswith(_PNG) and _is_plain_png(data):
            # IMREAD_COLOR makes three channels of a grey image.
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
            return None if pixels is None else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    # Errors of damaged files; Pillow decodes the file again and explains the damage.
    except (ValueError, IndexError, cv2.error):
        pass
    return None


def _is_plain_jpeg(data: bytes) -> bool:
    """Tell whether a JPEG file is grey or YCbCr of 8 bits and not rotated."""
    frames = 0
    for marker, body in _jpeg_segments(data):
        if marker in _START_OF_FRAME:
            frames += 1
            if body[0] != 8 or body[5] not in (1, 3):
                return False
        elif marker == _APP14 and body[11] != 1:  # Adobe's segment: not YCbCr
            return False
        elif marker == _APP1 and _may_be_rotated(body):
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


def _may_be_rotated(segment: bytes) -> bool:
    """Tell whether a segment of EXIF or XMP data may ask for a rotation."""
    if not segment.startswith(b"Exif\0\0"):
        return b"Orientation" in segment
    exif = Image.Exif()
    try:
        exif.load(segment)
        return exif.get(_ORIENTATION, 1) != 1
    except Exception:  # as many kinds as there are ways to damage it
        return True


def _is_plain_png(data: bytes) -> bool:
    """Tell whether a PNG file is grey or RGB of 8 bits without chunks that change the pixels."""
    place = 8
    depth = 0
    colours = 0
    while place < len(data):
        length = int.from_bytes(data[place : place + 4])
        name = data[place + 4 : place + 8]
        if name not in _PLAIN_CHUNKS:
            return False
        if name == b"tEXt" and data.startswith(_ORIENTATION_TEXTS, place + 8):
            return False
        if name == b"IHDR":
            depth = data[place + 16]
            colours = data[place + 17]
        place += 12 + length
    return depth == 8 and colours in (0, 2) and place == len(data)
