"""Write packed sets (:mod:`~fastreid_ext.data.packed`); of several processes only one writes.

The images are decoded on all cores. Their positions in the file follow from the sizes in the
headers of the image files, so each process writes its own images, and the bytes of the file do not
depend on the number of processes.
"""

import contextlib
import itertools
import logging
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from fastreid_ext.atomic import DISK_FULL, atomic_write, one_writer, reserve_space
from fastreid_ext.data.decode import pixel_count
from fastreid_ext.data.item_arrays import TextArray
from fastreid_ext.data.packed import (
    PackedImages,
    PackedIndex,
    absolute_paths,
    content_of,
    digest,
    hash_of_paths,
    read_index,
    reason_to_pack,
    stamps_of,
)

logger = logging.getLogger(__name__)
_SECONDS_BETWEEN_REPORTS = 10.0
_CHUNK = 32  # images in one task of a process
_FEW = 1000  # this many images are decoded faster than processes start

Read = Callable[[str], NDArray[np.uint8]]
Spread = Callable[..., Iterator[Any]]


def packed_images(
    folder: str | Path, name: str, paths: Sequence[str], read: Read, *, workers: int | None = None
) -> PackedImages:
    """Open the packed set of some images; write it if it does not exist or a file has changed.

    Several processes may call this at the same time: one writes, the others wait.

    Args:
        folder: folder of the packed sets, which is created if it does not exist.
        name: prefix of the file name, which helps users to recognise the file.
        paths: paths of the image files; repetitions count once.
        read: function that decodes an image file and can be pickled.
        workers: number of decoding processes; 0 = this process alone, None = one per core, or this
            process alone for few images.

    Raises:
        OSError: an image cannot be read, or the disk is full; no partial file remains.
    """
    absolute = absolute_paths(paths)
    file = Path(folder) / f"{name}-{hash_of_paths(absolute)}.packed"
    file.parent.mkdir(parents=True, exist_ok=True)
    stamps = stamps_of(absolute, read)
    if reason_to_pack(file, absolute, stamps):
        with one_writer(file):
            # Another process may have written it in the meantime.
            reason = reason_to_pack(file, absolute, stamps)
            if reason:
                logger.info("Packing %d images to %s: %s", len(absolute), file, reason)
                workers = _process_count(len(absolute)) if workers is None else workers
                with _spreading(workers) as spread:
                    _pack(file, absolute, stamps, read, spread)
    packed = PackedImages(file)
    gib = file.stat().st_size / 2**30
    content = packed.index.content
    count = len(absolute)
    logger.info("Packed set %s: %d images, %.3f GiB, content %s", file, count, gib, content)
    return packed


def _pack(
    file: Path, paths: TextArray, stamps: NDArray[np.int64], read: Read, spread: Spread
) -> None:
    pixels = np.zeros(len(paths), np.int64)
    for first, counts in zip(_firsts(paths), spread(_pixel_counts, _chunks(paths)), strict=True):
        pixels[first : first + len(counts)] = counts
    needed = 3 * int(pixels.sum())
    free = shutil.disk_usage(file.parent).free
    if needed > free:
        raise OSError(_no_space(file, len(paths), needed, free))
    try:
        with atomic_write(file) as opened:
            reserve_space(opened, needed)
            sizes, content = _write_pixels(str(opened.name), paths, pixels, read, spread)
            PackedIndex.of(paths, stamps, sizes, content).write(opened)
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        free = shutil.disk_usage(file.parent).free
        raise OSError(_no_space(file, len(paths), needed, free)) from error
    read_index(file)


def _write_pixels(
    file: str, paths: TextArray, pixels: NDArray[np.int64], read: Read, spread: Spread
) -> tuple[NDArray[np.int32], str]:
    """Write all images; return (N, 2) heights and widths, and the hash of all pixels."""
    begins = 3 * (np.cumsum(pixels) - pixels)
    sizes = np.empty((len(paths), 2), np.int32)
    tasks = (
        (file, chunk, begins[first : first + _CHUNK], pixels[first : first + _CHUNK], read)
        for first, (chunk,) in zip(_firsts(paths), _chunks(paths), strict=True)
    )
    digests = []
    with tqdm(total=len(paths), desc="Packing", unit="image", disable=None) as bar:
        reported = time.monotonic()
        for first, (own, chunk_digests) in zip(
            _firsts(paths), spread(_write_chunk, tasks), strict=True
        ):
            sizes[first : first + len(own)] = own
            digests.append(chunk_digests)
            bar.update(len(own))
            if bar.disable and time.monotonic() - reported > _SECONDS_BETWEEN_REPORTS:
                reported = time.monotonic()
                logger.info("Packed %d of %d images", first + len(own), len(paths))
    return sizes, content_of(digests)


def _firsts(paths: TextArray) -> range:
    return range(0, len(paths), _CHUNK)


def _chunks(paths: TextArray) -> Iterator[tuple[list[str]]]:
    return ((list(paths[first : first + _CHUNK]),) for first in _firsts(paths))


def _pixel_counts(paths: list[str]) -> list[int]:
    return [pixel_count(path) for path in paths]


def _write_chunk(
    file: str,
    paths: list[str],
    begins: NDArray[np.int64],
    counts: NDArray[np.int64],
    read: Read,
) -> tuple[list[tuple[int, int]], bytes]:
    """Write some images at their positions; return their sizes and joined hashes."""
    sizes = []
    digests = []
    with open(file, "r+b", buffering=0) as opened:
        for path, begin, count in zip(paths, begins.tolist(), counts.tolist(), strict=True):
            pixels = np.ascontiguousarray(read(path))
            if pixels.size != 3 * count:
                raise OSError(
                    f"expected {count} pixels in {path}, as its header says, got "
                    f"{pixels.size // 3}; do not change images while they are packed, and start "
                    "again"
                )
            opened.seek(begin)
            _write_all(opened, pixels)
            sizes.append(pixels.shape[:2])
            digests.append(digest(pixels))
    return sizes, b"".join(digests)


def _write_all(opened: Any, pixels: NDArray[np.uint8]) -> None:
    left = memoryview(pixels).cast("B")
    while len(left):
        left = left[opened.write(left) :]


def _process_count(images: int) -> int:
    """Choose the number of decoding processes; 0 = this process alone."""
    # A loader worker may not start processes.
    if images < _FEW or multiprocessing.current_process().daemon:
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return cores if cores and cores > 1 else 0


@contextlib.contextmanager
def _spreading(workers: int) -> Iterator[Spread]:
    """Open a pool as a function that yields ``function(*task)`` of all tasks in order.

    Args:
        workers: number of processes, started in the same way as loader workers; 0 = this process.
    """
    if not workers:
        yield itertools.starmap
        return
    pool = ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context(), initializer=_end_with_parent
    )
    try:
        yield lambda function, tasks: _in_order(pool, 4 * workers, function, tasks)
    except BrokenProcessPool as error:
        raise RuntimeError(
            "a process that packs images was killed, often because memory was full (dmesg shows "
            "it); free some memory, and start again"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _in_order(
    pool: Executor, most: int, function: Callable[..., Any], tasks: Iterator[tuple[Any, ...]]
) -> Iterator[Any]:
    """Yield the results of tasks in order; at most ``most`` run, which bounds the memory."""
    running: deque[Future[Any]] = deque()
    for task in tasks:
        running.append(pool.submit(function, *task))
        if len(running) == most:
            yield running.popleft().result()
    while running:
        yield running.popleft().result()


def _end_with_parent() -> None:
    """End this process when its parent is killed; otherwise it would wait and hold the lock."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the work
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _no_space(file: Path, count: int, needed: int, free: int) -> str:
    return (
        f"expected {needed / 2**30:.3f} GiB of free space for the pixels of {count} images in "
        f"{file}, got {free / 2**30:.3f} GiB; free some space, or give another folder as "
        "DATALOADER.PACKED_CACHE, or '' to decode the images each time"
    )
