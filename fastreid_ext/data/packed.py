"""All decoded images of a data set in one file, mapped into memory by every process.

The file is pixels, index, footer: the images (h, w, 3) uint8 at their own sizes one after the
other; the index as JSON; the length of the index and a magic word, 16 bytes. It is written by
:mod:`~fastreid_ext.data.packing`.
"""

import hashlib
import itertools
import json
import mmap
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import simplejpeg
from numpy.typing import NDArray

MAGIC = b"PACKED_1"
FOOTER = struct.Struct("<Q8s")  # length of the index, magic word
# Other versions may decode to other pixels.
DECODERS = f"Pillow {PIL.__version__}, simplejpeg {simplejpeg.__version__}"
_PIECE = 16 << 20  # bytes hashed at once


class PackedImages:
    """Reads images of a packed set by their paths; made again in each process that needs it.

    Args:
        file: the packed set.
        paths: the images as the data set names them, in the order of the index.
    """

    def __init__(self, file: Path, paths: Sequence[str]) -> None:
        self.file = file
        self.index = read_index(file)
        sizes = [tuple(size) for size in self.index["sizes"]]
        ends = list(itertools.accumulate(height * width * 3 for height, width in sizes))
        begins = [0, *ends[:-1]] if ends else []
        places = zip(begins, ends, sizes, strict=True)
        self._place = dict(zip(paths, places, strict=True))
        self._pixels: NDArray[np.uint8] | None = None

    def __call__(self, path: str) -> NDArray[np.uint8]:
        """Return the (h, w, 3) pixels of an image, read-only."""
        if self._pixels is None:
            self._pixels = _mapped(self.file)
        begin, end, (height, width) = self._place[path]
        return self._pixels[begin:end].reshape(height, width, 3)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the mapping behind on the way to another process."""
        return {**vars(self), "_pixels": None}

    def verify(self) -> None:
        """Read everything and compare it with the hash in the index.

        Raises:
            OSError: the pixels are not those that were written.
        """
        digest, pixels = hashlib.blake2b(digest_size=16), memoryview(_mapped(self.file))
        total = sum(height * width * 3 for height, width in self.index["sizes"])
        for begin in range(0, total, _PIECE):
            digest.update(pixels[begin : min(begin + _PIECE, total)])
        if digest.hexdigest() != self.index["content"]:
            raise OSError(
                f"expected the pixels in {self.file} to have the hash {self.index['content']}, got "
                f"{digest.hexdigest()}; remove the file, it is written anew"
            )


def _mapped(file: Path) -> NDArray[np.uint8]:
    with open(file, "rb") as opened:
        mapping = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    return np.frombuffer(mapping, np.uint8)


def read_index(file: Path) -> dict[str, Any]:
    """Return the index: paths, stamps, sizes (height, width), decoders, content.

    Raises:
        ValueError: the file is not a whole packed set.
    """
    size = file.stat().st_size
    with open(file, "rb") as opened:
        opened.seek(max(size - FOOTER.size, 0))
        footer = opened.read()
        length, magic = FOOTER.unpack(footer) if len(footer) == FOOTER.size else (0, b"")
        if magic != MAGIC or length > size:
            raise ValueError("it is no packed set of this version")
        opened.seek(size - FOOTER.size - length)
        index = json.loads(opened.read(length))
    pixels = sum(height * width * 3 for height, width in index["sizes"])
    if pixels + length + FOOTER.size != size:
        raise ValueError(f"expected {pixels} bytes of pixels, got {size - length - FOOTER.size}")
    return index


def stamp(path: str) -> tuple[int, int]:
    """Return size in bytes and time of the last change in ns of an image file."""
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns


def reason_to_pack(file: Path, paths: Sequence[str], stamps: Sequence[tuple[int, int]]) -> str:
    """Return why a packed set cannot be used for these images; "" if it can.

    Args:
        file: the packed set, which may not exist.
        paths: the image files.
        stamps: of each, :func:`stamp`.
    """
    if not file.exists():
        return "there is none yet"
    try:
        index = read_index(file)
    except (ValueError, KeyError) as error:
        return f"{file} is damaged: {error}"
    if index["decoders"] != DECODERS:
        return f"it was decoded by {index['decoders']}, here is {DECODERS}"
    if index["paths"] != list(paths):
        return "it has other images"
    changed = [
        path
        for path, old, new in zip(paths, index["stamps"], stamps, strict=True)
        if tuple(old) != tuple(new)
    ]
    return f"{len(changed)} files changed, the first is {changed[0]}" if changed else ""
