"""Read all decoded images of a data set from one file that every process maps into memory.

The file holds pixels, index and footer. Pixels: the images (h, w, 3) uint8 at their own sizes, one
after the other. Index: the arrays of :class:`PackedIndex` and a line of JSON. Footer: the length of
that line and a magic word, 16 bytes. :mod:`~fastreid_ext.data.packing` writes the file.

The index is not copied: a process maps the pages it reads, which belong to the system's cache of
the file and are shared with all other processes.
"""

import hashlib
import json
import mmap
import os
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import PIL
import simplejpeg
from numpy.typing import NDArray

from fastreid_ext.data.item_arrays import TextArray

MAGIC = b"PACKED_2"
FOOTER = struct.Struct("<Q8s")  # length of the line of JSON, magic word
# Other versions may decode a file to different pixels.
DECODERS = f"Pillow {PIL.__version__}, simplejpeg {simplejpeg.__version__}"
_ALIGNMENT = 8  # bytes; numpy copies unaligned arrays before it searches them
_DIGEST = 16  # bytes in a hash of pixels


@dataclass(frozen=True)
class PackedIndex:
    """Index of the N images of a packed set, in the order of their paths.

    Attributes:
        paths: absolute paths of the image files, sorted, without repetitions.
        stamps: (N, 2) int64, :func:`stamp` of each file.
        begins: (N + 1,) int64, position of each image's first byte, and the end of the pixels.
        sizes: (N, 2) int32, height and width of each image in pixels.
        keys: (N,) uint64, sorted hashes of the paths.
        places: (N,) int32, position of each key's image in the order of the paths.
        decoders: versions of the libraries that decoded the images.
        content: hash of the pixels of all images.
    """

    paths: TextArray
    stamps: NDArray[np.int64]
    begins: NDArray[np.int64]
    sizes: NDArray[np.int32]
    keys: NDArray[np.uint64]
    places: NDArray[np.int32]
    decoders: str
    content: str

    @classmethod
    def of(
        cls, paths: TextArray, stamps: NDArray[np.int64], sizes: NDArray[np.int32], content: str
    ) -> "PackedIndex":
        """Build the index of images that the libraries of this process decoded.

        Raises:
            ValueError: two paths have the same hash, once in 10^13 sets of a million images.
        """
        begins = np.zeros(len(paths) + 1, np.int64)
        np.cumsum(3 * sizes.astype(np.int64).prod(1), out=begins[1:])
        keys = np.fromiter(map(_key, paths), np.uint64, count=len(paths))
        places = np.argsort(keys, kind="stable").astype(np.int32)
        keys = keys[places]
        same = np.flatnonzero(keys[1:] == keys[:-1])
        if len(same):
            first = paths[places[same[0]]]
            second = paths[places[same[0] + 1]]
            raise ValueError(
                f"expected paths of different 64-bit hashes, got the same for {first} and "
                f"{second}; rename one of them"
            )
        return cls(paths, stamps, begins, sizes, keys, places, DECODERS, content)

    def place(self, path: str) -> int:
        """Find the position of an image in the order of the paths.

        Raises:
            KeyError: the image is not in the packed set.
        """
        key = np.uint64(_key(os.path.abspath(path)))
        first = int(self.keys.searchsorted(key))
        if first == len(self.keys) or self.keys[first] != key:
            raise KeyError(f"expected one of the {len(self.keys)} packed images, got {path}")
        return int(self.places[first])

    def places_of(self, paths: Sequence[str]) -> NDArray[np.int32]:
        """Find the positions of many images in the order of the paths.

        Args:
            paths: (N,) paths of image files in any order, with or without repetitions.

        Raises:
            KeyError: an image is not in the packed set.
        """
        absolute = (_key(os.path.abspath(path)) for path in paths)
        keys = np.fromiter(absolute, np.uint64, count=len(paths))
        firsts = self.keys.searchsorted(keys)
        # A key after the last one has no position; it differs from the key of the last image.
        firsts = np.minimum(firsts, max(len(self.keys) - 1, 0))
        missing = np.flatnonzero(self.keys[firsts] != keys)
        if len(missing):
            self.place(paths[int(missing[0])])  # raises the error that names the path
        return self.places[firsts]

    def write(self, opened: BinaryIO) -> None:
        """Write index and footer after the pixels of an opened file, and truncate it there."""
        end = int(self.begins[-1])
        opened.seek(end)
        opened.write(bytes(-end % _ALIGNMENT))
        for array in (self.stamps, self.begins, self.paths.bounds, self.keys):
            opened.write(np.ascontiguousarray(array))
        for array in (self.places, self.sizes, self.paths.data):
            opened.write(np.ascontiguousarray(array))
        counts = {"images": len(self.paths), "path_bytes": len(self.paths.data), "pixels": end}
        texts = {"decoders": self.decoders, "content": self.content}
        line = json.dumps(counts | texts).encode()
        opened.write(line + FOOTER.pack(len(line), MAGIC))
        opened.truncate()


class PackedImages:
    """Reader of the images of a packed set by path; each process opens the file for itself.

    Args:
        file: path of the packed set.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._opened: tuple[NDArray[np.uint8], PackedIndex] | None = None

    @property
    def index(self) -> PackedIndex:
        """Index of the packed set, mapped into memory."""
        return self._open()[1]

    def __call__(self, path: str) -> NDArray[np.uint8]:
        """Return the (h, w, 3) pixels of an image, read-only."""
        return self.at(self.index.place(path))

    def places_of(self, paths: Sequence[str]) -> NDArray[np.int32]:
        """Find the positions of N images, with which :meth:`at` reads them.

        Raises:
            KeyError: an image is not in the packed set.
        """
        return self.index.places_of(paths)

    def at(self, place: int) -> NDArray[np.uint8]:
        """Return the (h, w, 3) pixels of the image at a position of the index, read-only."""
        pixels, index = self._opened or self._open()
        begin = index.begins.item(place)
        end = index.begins.item(place + 1)
        height, width = index.sizes[place].tolist()
        return pixels[begin:end].reshape(height, width, 3)

    def _open(self) -> tuple[NDArray[np.uint8], PackedIndex]:
        if self._opened is None:
            self._opened = _mapped(self.file)
        return self._opened

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without the mapping, so that another process maps the file itself."""
        return {**vars(self), "_opened": None}

    def verify(self) -> None:
        """Read all pixels and compare them with the hash in the index.

        Raises:
            OSError: the pixels are not those that were written.
        """
        pixels, index = self._open()
        bounds = pairwise(index.begins.tolist())
        found = content_of(digest(pixels[begin:end]) for begin, end in bounds)
        if found != index.content:
            raise OSError(
                f"expected the pixels in {self.file} to have the hash {index.content}, got "
                f"{found}; remove the file, and the next run writes it again"
            )


def digest(pixels: NDArray[np.uint8]) -> bytes:
    """Hash the pixels of an image in C order."""
    return hashlib.blake2b(pixels, digest_size=_DIGEST).digest()


def content_of(digests: Iterable[bytes]) -> str:
    """Combine the hashes of images, in order, into the hash of all pixels."""
    content = hashlib.blake2b(digest_size=_DIGEST)
    for one in digests:
        content.update(one)
    return content.hexdigest()


def read_index(file: Path) -> PackedIndex:
    """Read the index of a packed set, mapped into memory.

    Raises:
        ValueError: the file is not a complete packed set.
    """
    return _mapped(file)[1]


def _mapped(file: Path) -> tuple[NDArray[np.uint8], PackedIndex]:
    """Map the bytes of a packed set and its index into memory."""
    size = file.stat().st_size
    if size < FOOTER.size:
        raise ValueError(f"expected a packed set of version {MAGIC.decode()}")
    with open(file, "rb") as opened:
        data = np.frombuffer(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
    length, magic = FOOTER.unpack(data[-FOOTER.size :])
    if magic != MAGIC or length > size:
        raise ValueError(f"expected a packed set of version {MAGIC.decode()}")
    head = json.loads(bytes(data[size - FOOTER.size - length : size - FOOTER.size]))
    return data, _index(data, head, size - FOOTER.size - length)


def _index(data: NDArray[np.uint8], head: dict[str, Any], end: int) -> PackedIndex:
    """View the bytes between the pixels and ``end`` as the arrays of the index."""
    count = head["images"]
    place = head["pixels"] + -head["pixels"] % _ALIGNMENT
    expected = place + count * 52 + 16 + head["path_bytes"]
    if expected != end:
        raise ValueError(f"expected {expected} bytes of pixels and index, got {end}")
    begin_of_paths = end - head["path_bytes"]
    begin_of_shorts = begin_of_paths - 12 * count
    longs = data[place:begin_of_shorts].view("<i8")
    stamps, begins, bounds, keys = np.split(longs, [2 * count, 3 * count + 1, 4 * count + 2])
    places, sizes = np.split(data[begin_of_shorts:begin_of_paths].view("<i4"), [count])
    if begins[-1] != head["pixels"]:
        raise ValueError(f"expected {head['pixels']} bytes of pixels, got {begins[-1]}")
    return PackedIndex(
        paths=TextArray(data[begin_of_paths:end], bounds),
        stamps=stamps.reshape(count, 2),
        begins=begins,
        sizes=sizes.reshape(count, 2),
        keys=keys.view("<u8"),
        places=places,
        decoders=head["decoders"],
        content=head["content"],
    )


def _key(path: str) -> int:
    name = path.encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little")


def absolute_paths(paths: Iterable[str]) -> TextArray:
    """Make paths absolute, sort them and drop repetitions."""
    absolute = TextArray.of(os.path.abspath(path) for path in paths)
    if all(first < second for first, second in pairwise(absolute)):
        return absolute
    return TextArray.of(sorted(set(absolute)))


def stamp(path: str) -> tuple[int, int]:
    """Return the size of a file in bytes and the time of its last change in ns."""
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns


def stamps_of(paths: TextArray, read: Callable[[str], Any]) -> NDArray[np.int64]:
    """Collect the :func:`stamp` of each of N files as (N, 2) int64.

    Args:
        paths: paths of the image files.
        read: function that reads an image file, and whose error names a missing file and a remedy.

    Raises:
        OSError: a file is missing.
    """
    stamps = np.empty((len(paths), 2), np.int64)
    for place, path in enumerate(paths):
        try:
            stamps[place] = stamp(path)
        except OSError:
            read(path)  # raises an error that names the file and a remedy
            raise
    return stamps


def hash_of_paths(paths: TextArray) -> str:
    """Hash a list of paths, in its order, to 16 hexadecimal digits."""
    joined = hashlib.blake2b(digest_size=8)
    for place, path in enumerate(paths):
        text = f"\n{path}" if place else path
        joined.update(text.encode("utf-8", "surrogateescape"))
    return joined.hexdigest()


def reason_to_pack(file: Path, paths: TextArray, stamps: NDArray[np.int64]) -> str:
    """Explain why a packed set cannot be used for these images; "" if it can.

    Args:
        file: path of the packed set, which may not exist.
        paths: absolute paths of the image files, sorted.
        stamps: (N, 2) int64, :func:`stamp` of each file.
    """
    if not file.exists():
        return "the file does not exist yet"
    try:
        index = read_index(file)
    except (ValueError, KeyError) as error:
        return f"{file} is damaged: {error}"
    if index.decoders != DECODERS:
        return f"it was decoded by {index.decoders}, here is {DECODERS}"
    if not _are_equal(index.paths, paths):
        return "it has other images"
    changed = np.flatnonzero((index.stamps != stamps).any(1))
    if not len(changed):
        return ""
    return f"{len(changed)} files changed, the first is {paths[int(changed[0])]}"


def _are_equal(first: TextArray, second: TextArray) -> bool:
    return np.array_equal(first.bounds, second.bounds) and np.array_equal(first.data, second.data)
