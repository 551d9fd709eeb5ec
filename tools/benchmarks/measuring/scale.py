"""Measure memory of item lists and time of large samplers (``tools/benchmarks/scale.py``)."""

import gc
import itertools
import multiprocessing
import re
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

import fastreid_ext  # isort: skip  # noqa: F401  first, in spawned processes too
from fastreid.data.common import CommDataset
from numpy.typing import NDArray

from fastreid_ext.atomic import atomic_write
from fastreid_ext.data.dataset import PersonDataset
from fastreid_ext.data.item_arrays import ItemArrays, NumberedNames, TextArray
from fastreid_ext.data.large_samplers import (
    LargeBalanced,
    LargeNaive,
    LargeOncePerIdentity,
    ShuffledImages,
)
from fastreid_ext.data.packed import (
    PackedImages,
    PackedIndex,
    absolute_paths,
    reason_to_pack,
)
from fastreid_ext.data.samplers import ResumableSampler
from fastreid_ext.data.subsets import subset_items
from measuring.own_process import measured_alone

CUTS = ("few_shot_10", "few_shot_90", "small_scale_10", "small_scale_90")
METHODS = ("tuples", "arrays", "arrays, packed")
_LATE = 100_000_000  # position at which a stream is entered


@dataclass(frozen=True)
class Memory:
    """Memory of an item list in GB.

    Attributes:
        process: private memory of the process that makes the list, with the sampler's permutation.
        worker: private memory of one forked worker, beyond that of an idle one.
        seconds: wall time to make the list.
    """

    process: float
    worker: float
    seconds: float


def paths(count: int, length: int) -> Iterator[str]:
    """Yield different paths of a number of bytes, a thousand per folder."""
    for number in range(count):
        start = f"/data/{number // 1000:07d}/"
        yield start + f"{number:0{length - len(start) - 4}d}.jpg"


def measured_memory(method: str, count: int, length: int, workers: int) -> Memory:
    """Measure in a process of its own, which forks the workers.

    Args:
        method: one of the names in ``METHODS``.
        count: number of images in the list.
        length: bytes in a path.
        workers: number of forked processes.
    """
    # A new process: one forked from a large one copies the pages of all objects that it counts.
    return Memory(*measured_alone(_holder, method, count, length, workers))


def _holder(pipe: Connection, method: str, count: int, length: int, workers: int) -> None:
    gc.collect()
    before = private_gigabytes()
    began = time.perf_counter()
    dataset = _dataset(method, count, length)
    seconds = time.perf_counter() - began
    indices = iter(ResumableSampler(ShuffledImages(count), 0))
    next(indices)
    gc.collect()
    process = private_gigabytes() - before
    pipe.send((process, _in_workers(dataset, workers), seconds))


def _dataset(method: str, count: int, length: int) -> Any:
    if method != "tuples":
        items = ItemArrays.numbered(paths(count, length), "set_", "set_0")
        read = _packed(items.paths) if method == "arrays, packed" else None
        return PersonDataset(items, _unchanged, relabel=True, read=read)
    tuples = [(path, f"set_{n}", "set_0") for n, path in enumerate(paths(count, length))]
    return CommDataset(tuples)


def _unchanged(image: Any) -> Any:
    return image


def _packed(names: TextArray) -> PackedImages:
    """Open a packed set of images of one pixel as a start does, but for the files' stamps."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "one_pixel.packed"
        process = multiprocessing.get_context("fork").Process(target=_write, args=(file, names))
        process.start()  # else memory it leaves would count
        process.join()
        reason = reason_to_pack(file, absolute_paths(names), _stamps(len(names)))
        if reason:
            raise ValueError(f"expected a packed set of these images, got one of which {reason}")
        packed = PackedImages(file)
        packed(names[0])  # opens the file, which lasts until it is closed
    return packed


def _stamps(count: int) -> NDArray[np.int64]:
    return np.zeros((count, 2), np.int64)


def _write(file: Path, names: TextArray) -> None:
    sizes = np.ones((len(names), 2), np.int32)
    with atomic_write(file) as opened:  # on the disk: unwritten pages would count as memory
        PackedIndex.of(names, _stamps(len(names)), sizes, "").write(opened)


def _in_workers(dataset: Any, workers: int) -> float:
    """Return the mean of the workers' private memory beyond that of an idle one."""
    context = multiprocessing.get_context("fork")
    idle = [_ask(context, None, number, workers) for number in range(workers)]
    busy = [_ask(context, dataset, number, workers) for number in range(workers)]
    return float(np.mean(busy) - np.mean(idle))


def _ask(context: Any, dataset: Any, number: int, workers: int) -> float:
    ours, theirs = context.Pipe()
    process = context.Process(target=_worker, args=(theirs, dataset, number, workers))
    process.start()
    found = ours.recv()
    process.join()
    return found


def _worker(pipe: Connection, dataset: Any, number: int, workers: int) -> None:
    if dataset is not None:
        for index in range(number, len(dataset), workers):
            path, _, _ = dataset.img_items[index]
            if isinstance(getattr(dataset, "read", None), PackedImages):
                dataset.read(path)
    gc.collect()
    pipe.send(private_gigabytes())


def measured_cut(text: str, count: int, length: int) -> tuple[float, float, float]:
    """Measure in a process of its own how a list is cut for the first time and read again.

    Args:
        text: value of the key ``DATASETS.SUBSET``.
        count: number of images, 20 of an identity.
        length: bytes in a path.

    Returns:
        Peak of the resident memory with the whole list, in GB, while the subset is sampled and
        written and while it is read; wall time of both in seconds.
    """
    return measured_alone(_cutter, text, count, length)


def _cutter(pipe: Connection, text: str, count: int, length: int) -> None:
    gc.collect()
    before = _resident_gigabytes("VmRSS")
    items = ItemArrays.of(
        (path, f"set_{number // 20}", "set_0") for number, path in enumerate(paths(count, length))
    )
    peaks = []
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        for _ in range(2):
            Path("/proc/self/clear_refs").write_text("5")  # resets the peak
            subset_items(text, "Set", items, Path("/data"), Path(folder))
            peaks.append(_resident_gigabytes("VmHWM") - before)
        seconds = time.perf_counter() - began
    pipe.send((*peaks, seconds))


def _resident_gigabytes(what: str) -> float:
    text = Path("/proc/self/status").read_text()
    return int(re.search(rf"^{what}:\s+(\d+) kB", text, re.M)[1]) / 1e6


def private_gigabytes() -> float:
    """Return the memory of this process alone in GB.

    Pages of files count only once they are written to: those of a packed set are the system's
    cache, which it frees when others need the memory.
    """
    text = Path("/proc/self/smaps_rollup").read_text()
    return int(re.search(r"^Private_Dirty: +(\d+) kB", text, re.M)[1]) / 1e6


def batch_times(count: int, identities: int, batches: int) -> dict[str, tuple[float, float]]:
    """Return the CPU time of each identity sampler per batch, and of entering it late.

    Args:
        count: number of images, spread evenly over the identities.
        identities: number of different identities.
        batches: timed batches of 64 identities with 4 images each.
    """
    pids = np.random.default_rng(0).permutation(count) % identities
    no_paths = TextArray(np.empty(0, np.uint8), np.zeros(count + 1, np.int64))
    names = [NumberedNames(f"{part}_", np.arange(n)) for part, n in (("p", identities), ("c", 6))]
    items = ItemArrays(no_paths, pids.astype(np.int32), np.arange(count) % 6, *names)
    return {
        law.__name__: _times(law(items, batch_size=256, instances=4), batches)
        for law in (LargeNaive, LargeBalanced, LargeOncePerIdentity)
    }


def _times(stream: Any, batches: int) -> tuple[float, float]:
    next(stream(0))  # compiles
    began = time.process_time()
    late = stream.from_position(0, _LATE)
    next(late)
    entered = time.process_time() - began
    began = time.process_time()
    for _ in itertools.islice(late, 256 * batches):
        pass
    return (time.process_time() - began) / batches, entered
