"""Read the VAE's latents of all training images from one file that every process maps into memory.

The file holds head, latents and stamps. Head: a line of JSON, padded to 4096 bytes. Latents:
(N, 2, c, h, w) float16, scaled mean and deviation of the VAE's posterior of each image, in the
order of the data set. Stamps: (N, 2) int64, size and time of the last change of each image file
when its latent was computed; (0, 0) for a latent that is still missing.

A file is written as ``<name>.unfinished`` and renamed once it is complete. A stamp is written when
its latent is on the disk, so a killed process loses no more than the batch it was computing, and
an image file that changes costs one latent, not all of them.

Letters: N images, c x h x w a latent.
"""

import contextlib
import dataclasses
import hashlib
import json
import math
import mmap
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastreid_ext.atomic import DISK_FULL, atomic_write, reserve_space, sync_folder
from fastreid_ext.data.item_arrays import TextArray
from fastreid_ext.data.packed import hash_of_paths

_VERSION = "LATENTS_1"
_HEAD_BYTES = 4096  # a page, so that a latent of 4 x 16 x 16 is a page too
_STAMP_BYTES = 16
_HALF_BYTES = 2
_REMEDY = "remove the file, and the next run writes it again"


@dataclasses.dataclass(frozen=True, kw_only=True)
class LatentSource:
    """Identity of the latents in a file: which images a VAE encoded, at which size.

    Attributes:
        autoencoder: name of the VAE with a hash of its weights.
        size: height and width of the encoded images in pixels.
        images: number of images, N.
        paths: hash of the absolute paths of the images, in order.
    """

    autoencoder: str
    size: tuple[int, int]
    images: int
    paths: str

    @classmethod
    def of(cls, paths: Iterable[str], *, autoencoder: str, size: Sequence[int]) -> "LatentSource":
        """Build the identity from the images themselves.

        Args:
            paths: path of each image, in the order of the data set.
            autoencoder: name of the VAE with a hash of its weights.
            size: height and width of the encoded images in pixels.

        Example:
            >>> LatentSource.of(["/a.jpg"], autoencoder="tiny@1f", size=[128, 128]).key
            'f59c38517180c443'
        """
        absolute = TextArray.of(os.path.abspath(path) for path in paths)
        height, width = size
        return cls(
            autoencoder=autoencoder,
            size=(int(height), int(width)),
            images=len(absolute),
            paths=hash_of_paths(absolute),
        )

    @property
    def key(self) -> str:
        """Hash of all attributes, 16 hexadecimal digits, for the name of the file."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


class LatentFile:
    """Reader of latents by the position of their image; each process maps the file for itself.

    Args:
        file: path of a file of latents.
        source: identity of the latents that the file must hold.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file holds other latents, or is cut short.
    """

    def __init__(self, file: Path, source: LatentSource) -> None:
        self.file = file
        self.source = source
        self._opened: tuple[NDArray[np.float16], NDArray[np.int64]] | None = None
        self._open()

    @property
    def stamps(self) -> NDArray[np.int64]:
        """(N, 2) stamps of the image files when they were encoded; (0, 0) = not yet."""
        return self._open()[1]

    def at(self, index: int) -> Tensor:
        """Read the latent of an image: (2, c, h, w) float16, scaled mean and deviation.

        Args:
            index: position of the image in the data set.
        """
        latents, _ = self._opened or self._open()
        return torch.from_numpy(latents[index].copy())  # a tensor must be writable

    def _open(self) -> tuple[NDArray[np.float16], NDArray[np.int64]]:
        if self._opened is None:
            self._opened = _mapped(self.file, self.source)
        return self._opened

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without the mapping, so that another process maps the file itself."""
        return {**vars(self), "_opened": None}


def missing_latents(
    file: Path, source: LatentSource, stamps: NDArray[np.int64]
) -> NDArray[np.integer]:
    """List the positions of images that a file has no latents of, or that changed since.

    Args:
        file: path of a file of latents, which may not exist.
        source: identity of the latents that the file must hold.
        stamps: (N, 2) int64, stamp of each image file now.

    Raises:
        ValueError: the file holds other latents, or is cut short.
    """
    if not file.exists():
        return np.arange(len(stamps))
    return np.flatnonzero((LatentFile(file, source).stamps != stamps).any(1))


class LatentWriter:
    """Writer of the latents that an unfinished file lacks; see :func:`writing_latents`.

    Attributes:
        missing: positions of the images to encode, in ascending order.
    """

    def __init__(
        self,
        opened: BinaryIO,
        missing: NDArray[np.integer],
        stamps: NDArray[np.int64],
        latent_shape: tuple[int, int, int],
    ) -> None:
        self.missing = missing
        self._opened = opened
        self._stamps = stamps
        self._latent_shape = latent_shape

    def write(self, places: Sequence[int] | NDArray[np.integer], latents: Tensor) -> None:
        """Write latents of some images to the disk, and record that they are there.

        Args:
            places: (B,) positions of the images in the data set.
            latents: (B, 2, c, h, w) scaled means and deviations.
        """
        row_bytes = _row_bytes(self._latent_shape)
        begin_of_stamps = _HEAD_BYTES + row_bytes * len(self._stamps)
        rows = latents.cpu().to(torch.float16).numpy()
        if rows.shape != (len(places), 2, *self._latent_shape):
            raise ValueError(
                f"expected latents {(len(places), 2, *self._latent_shape)}, got {rows.shape}; "
                "give mean and deviation of each image"
            )
        for place, row in zip(places, rows, strict=True):
            self._opened.seek(_HEAD_BYTES + row_bytes * int(place))
            self._opened.write(np.ascontiguousarray(row))
        _sync(self._opened)
        for place in places:
            self._opened.seek(begin_of_stamps + _STAMP_BYTES * int(place))
            self._opened.write(self._stamps[place])
        self._opened.flush()


@contextlib.contextmanager
def writing_latents(
    file: Path,
    source: LatentSource,
    stamps: NDArray[np.int64],
    latent_shape: tuple[int, int, int],
) -> Iterator[LatentWriter]:
    """Give the writer of what ``file`` lacks; the file is replaced when the block ends.

    What a killed process, or an earlier ``file``, has of these latents is kept. Only one process
    may do this at a time (:func:`fastreid_ext.atomic.one_writer`).

    Args:
        file: path of a file of latents, which may not exist.
        source: identity of the latents to write.
        stamps: (N, 2) int64, stamp of each image file now.
        latent_shape: shape (c, h, w) of the latent of an image.

    Raises:
        OSError: the disk is full; what was written is kept.
        ValueError: an unfinished file holds other latents, or the block did not write all.
    """
    unfinished = file.with_name(f"{file.name}.unfinished")
    try:
        if not unfinished.exists():
            _begin(unfinished, file, source, latent_shape)
        missing = missing_latents(unfinished, source, stamps)
        with open(unfinished, "r+b") as opened:
            yield LatentWriter(opened, missing, stamps, latent_shape)
            _sync(opened)
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        raise OSError(_no_space(file, source, latent_shape)) from error
    left = missing_latents(unfinished, source, stamps)
    if len(left):
        raise ValueError(
            f"expected latents of all {source.images} images in {unfinished}, got none of "
            f"{len(left)}; write all that are missing"
        )
    os.replace(unfinished, file)
    sync_folder(file.parent)


def _begin(
    unfinished: Path, file: Path, source: LatentSource, latent_shape: tuple[int, int, int]
) -> None:
    """Write a file with the latents of an earlier one, or with space for all latents."""
    needed = _total_bytes(source.images, latent_shape)
    if needed > shutil.disk_usage(file.parent).free:
        raise OSError(_no_space(file, source, latent_shape))
    with atomic_write(unfinished) as opened:
        if file.exists():
            with open(file, "rb") as earlier:
                shutil.copyfileobj(earlier, opened)
        else:
            opened.write(_head(source, latent_shape))
            reserve_space(opened, needed)
            opened.truncate(needed)


def _head(source: LatentSource, latent_shape: tuple[int, int, int]) -> bytes:
    head = {"version": _VERSION, "latent": latent_shape, **dataclasses.asdict(source)}
    return json.dumps(head).encode().ljust(_HEAD_BYTES)


def _read_head(file: Path) -> tuple[LatentSource, tuple[int, int, int]]:
    """Read identity and shape (c, h, w) of the latents in a file."""
    with open(file, "rb") as opened:
        line = opened.read(_HEAD_BYTES)
    try:
        head = json.loads(line)
        version = head.pop("version")
        channels, height, width = head.pop("latent")
        source = LatentSource(**{**head, "size": tuple(head["size"])})
    except (AttributeError, KeyError, TypeError, ValueError):
        version = ""
    if version != _VERSION:
        raise ValueError(f"expected latents of version {_VERSION} in {file}; {_REMEDY}")
    return source, (channels, height, width)


def _mapped(file: Path, source: LatentSource) -> tuple[NDArray[np.float16], NDArray[np.int64]]:
    """Map the latents and stamps of a file into memory."""
    found, latent_shape = _read_head(file)
    for name, expected in dataclasses.asdict(source).items():
        got = getattr(found, name)
        if got != expected:
            raise ValueError(
                f"expected latents with {name} {expected} in {file}, got {got}: they are those of "
                f"another run; {_REMEDY}"
            )
    needed = _total_bytes(source.images, latent_shape)
    size = file.stat().st_size
    if size != needed:
        raise ValueError(
            f"expected {needed} bytes in {file}, got {size}: it was cut short, perhaps by a copy; "
            f"{_REMEDY}"
        )
    with open(file, "rb") as opened:
        data = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    begin_of_stamps = needed - _STAMP_BYTES * source.images
    halves = np.frombuffer(data, "<f2", (begin_of_stamps - _HEAD_BYTES) // _HALF_BYTES, _HEAD_BYTES)
    stamps = np.frombuffer(data, "<i8", offset=begin_of_stamps)
    return halves.reshape(source.images, 2, *latent_shape), stamps.reshape(source.images, 2)


def _row_bytes(latent_shape: tuple[int, int, int]) -> int:
    return 2 * _HALF_BYTES * math.prod(latent_shape)


def _total_bytes(images: int, latent_shape: tuple[int, int, int]) -> int:
    return _HEAD_BYTES + images * (_row_bytes(latent_shape) + _STAMP_BYTES)


def _sync(opened: BinaryIO) -> None:
    opened.flush()
    os.fsync(opened.fileno())


def _no_space(file: Path, source: LatentSource, latent_shape: tuple[int, int, int]) -> str:
    needed = _total_bytes(source.images, latent_shape) / 2**20
    free = shutil.disk_usage(file.parent).free / 2**20
    return (
        f"expected {needed:.1f} MiB of free space for the latents of {source.images} images in "
        f"{file}, got {free:.1f} MiB; free some space, or give another folder as "
        "MODEL.DIFFUSION.LATENT_CACHE, or '' to encode the images of each batch"
    )
