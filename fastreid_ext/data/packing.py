"""Write packed sets (:mod:`~fastreid_ext.data.packed`) once, however many processes start."""

import contextlib
import errno
import fcntl
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from fastreid_ext.atomic import atomic_write
from fastreid_ext.data.decode import pixel_count
from fastreid_ext.data.packed import (
    DECODERS,
    FOOTER,
    MAGIC,
    PackedImages,
    read_index,
    reason_to_pack,
    stamp,
)

logger = logging.getLogger(__name__)
_SECONDS_BETWEEN_REPORTS = 10.0
_FULL = (errno.ENOSPC, errno.EDQUOT)

Read = Callable[[str], NDArray[np.uint8]]


def packed_images(folder: str | Path, name: str, paths: Sequence[str], read: Read) -> PackedImages:
    """Return the packed set of some images; write it if there is none or a file has changed.

    Several processes may call this at the same time: one writes, the others wait.

    Args:
        folder: where packed sets are; made if need be.
        name: begin of the file's name, for people.
        paths: image files; repetitions count once.
        read: decodes one.

    Raises:
        OSError: an image cannot be read, or the disk is full; nothing is left behind.
    """
    paths = sorted(set(paths))
    absolute = [os.path.abspath(path) for path in paths]
    which = hashlib.blake2b("\n".join(absolute).encode(), digest_size=8).hexdigest()
    file = Path(folder) / f"{name}-{which}.packed"
    file.parent.mkdir(parents=True, exist_ok=True)
    stamps = [_stamp(path, read) for path in paths]
    if reason_to_pack(file, absolute, stamps):
        with _only_one(file):
            # Another process may have written it in the meantime.
            reason = reason_to_pack(file, absolute, stamps)
            if reason:
                logger.info("Packing %d images to %s: %s", len(paths), file, reason)
                _pack(file, absolute, stamps, read)
    packed = PackedImages(file, paths)
    gib, content = file.stat().st_size / 2**30, packed.index["content"]
    logger.info("Packed set %s: %d images, %.3f GiB, content %s", file, len(paths), gib, content)
    return packed


def _stamp(path: str, read: Read) -> tuple[int, int]:
    try:
        return stamp(path)
    except OSError:
        read(path)  # says which file it is and what to do
        raise


@contextlib.contextmanager
def _only_one(file: Path) -> Iterator[None]:
    """Let one process at a time pass; the lock ends with the process, however it ends."""
    with open(file.with_name(f".{file.name}.lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("Waiting for another process that packs %s", file)
            fcntl.flock(lock, fcntl.LOCK_EX)
        for left in file.parent.glob(f".{file.name}.*.partial"):
            left.unlink()  # of a process that was killed, else it would hold the lock
        yield


def _pack(file: Path, paths: Sequence[str], stamps: Sequence[tuple[int, int]], read: Read) -> None:
    needed = 3 * sum(map(pixel_count, paths))
    free = shutil.disk_usage(file.parent).free
    if needed > free:
        raise OSError(_no_space(file, len(paths), needed, free))
    try:
        with atomic_write(file) as opened:
            _reserve(opened, needed)
            index = {"paths": paths, "stamps": stamps, "decoders": DECODERS}
            sizes, content = _write_pixels(opened, paths, read)
            data = json.dumps({**index, "sizes": sizes, "content": content}).encode()
            opened.write(data + FOOTER.pack(len(data), MAGIC))
            opened.truncate()
    except OSError as error:
        if error.errno not in _FULL:
            raise
        free = shutil.disk_usage(file.parent).free
        raise OSError(_no_space(file, len(paths), needed, free)) from error
    read_index(file)


def _reserve(opened: BinaryIO, size: int) -> None:
    """Take the space now, so that a full disk is found before anything is decoded."""
    try:
        os.posix_fallocate(opened.fileno(), 0, max(size, 1))
    except OSError as error:
        if error.errno in _FULL:
            raise
        # A file system that cannot do it; writing tells.


def _write_pixels(
    opened: BinaryIO, paths: Sequence[str], read: Read
) -> tuple[list[tuple[int, int]], str]:
    """Write all images; return their heights and widths, and the hash of their pixels."""
    sizes, content, reported = [], hashlib.blake2b(digest_size=16), time.monotonic()
    for done, path in enumerate(paths):
        if time.monotonic() - reported > _SECONDS_BETWEEN_REPORTS:
            reported = time.monotonic()
            mib = opened.tell() / 2**20
            logger.info("Packed %d of %d images, %.0f MiB", done, len(paths), mib)
        pixels = np.ascontiguousarray(read(path))
        sizes.append(pixels.shape[:2])
        content.update(pixels)
        opened.write(pixels)
    return sizes, content.hexdigest()


def _no_space(file: Path, count: int, needed: int, free: int) -> str:
    return (
        f"expected {needed / 2**30:.3f} GiB of free space for the pixels of {count} images in "
        f"{file}, got {free / 2**30:.3f} GiB; free some, or give another folder as "
        "DATALOADER.PACKED_CACHE, or none ('') to decode the images each time"
    )
