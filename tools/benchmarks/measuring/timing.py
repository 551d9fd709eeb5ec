"""Features of known quality and the size of a public test set, and what work on them costs.

Used by ``tools/benchmarks/`` only. Ratios of methods that take turns in one run are the point:
the load of the machine falls on all of them.

Letters: Q queries, G gallery images, D feature dimension.
"""

import ctypes
import dataclasses
import gc
import multiprocessing
import multiprocessing.connection
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.overrides import TorchFunctionMode


@dataclasses.dataclass(frozen=True)
class TestSetSize:
    """Counts of a test set; distractors are gallery images of identities that no query has."""

    __test__ = False

    queries: int
    gallery: int
    identities: int
    cameras: int
    distractors: int = 0


SIZES = {
    "small": TestSetSize(200, 1_000, 50, 6, 100),
    "third": TestSetSize(1_100, 5_300, 250, 6, 900),
    "market": TestSetSize(3_368, 15_913, 750, 6, 2_793),
    "msmt17": TestSetSize(11_659, 82_161, 3_060, 15),
}
# Noise of a feature beside its identity's centre of unit variance: mAP of about 0.9, about 0.6, and
# chance, for Market's size and D = 2048.
QUALITIES = {"good": 2.2, "medium": 3.3, "random": 1e3}
_AT_ONCE = 1_000  # features sampled together, so that no second copy of all is needed


@dataclasses.dataclass(frozen=True)
class SampledSet:
    """A sampled test set.

    Attributes:
        query: (Q, D) float32 query features.
        gallery: (G, D) float32 gallery features.
        labels: query pids, gallery pids, query camids, gallery camids.
    """

    query: Tensor
    gallery: Tensor
    labels: list[NDArray[np.int64]]


def sample_test_set(
    size: TestSetSize, noise: float, *, dim: int = 2048, seed: int = 0
) -> SampledSet:
    """Sample features around the centres of identities.

    Images differ in quality: the noise of each is multiplied by exp(0.5 z) with a normal z.
    """
    generator = torch.Generator().manual_seed(seed)
    total = size.queries + size.gallery
    pids = torch.randint(1, size.identities + 1, (total,), generator=generator)
    pids[total - size.distractors :] = 0
    centres = torch.randn(size.identities + 1, dim, generator=generator)
    features = torch.empty(total, dim)
    for start in range(0, total, _AT_ONCE):
        part = features[start : start + _AT_ONCE].normal_(generator=generator)
        quality = torch.randn(len(part), 1, generator=generator).mul_(0.5).exp_()
        is_known = (pids[start : start + _AT_ONCE] > 0)[:, None]
        part.mul_(noise * quality).add_(centres[pids[start : start + _AT_ONCE]] * is_known)
    camids = torch.randint(0, size.cameras, (total,), generator=generator)
    labels = [part for ids in (pids, camids) for part in np.split(ids.numpy(), [size.queries])]
    return SampledSet(features[: size.queries], features[size.queries :], labels)


def seconds(run: Callable[[], object], device: str) -> float:
    """Return this process's CPU seconds; on CUDA wall time up to the end of the GPU's work."""
    is_cuda = device.startswith("cuda")
    clock = time.perf_counter if is_cuda else time.process_time
    if is_cuda:
        torch.cuda.synchronize(device)
    began = clock()
    run()
    if is_cuda:
        torch.cuda.synchronize(device)
    return clock() - began


class ProductClock(TorchFunctionMode):
    """Add up the seconds that are spent in matrix products within a ``with`` block.

    Args:
        device: decides the clock, see :func:`seconds`.
    """

    def __init__(self, device: str) -> None:
        super().__init__()
        self.seconds = 0.0
        self._device = device

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run a function of torch, on the clock if it is a product."""
        if function not in (torch.mm, Tensor.matmul, Tensor.__matmul__):
            return function(*args, **(kwargs or {}))
        results = []
        self.seconds += seconds(
            lambda: results.append(function(*args, **(kwargs or {}))), self._device
        )
        return results[0]


def seconds_in_turns(
    methods: Mapping[str, Callable[[], object]], rounds: int, device: str
) -> dict[str, list[float]]:
    """Return the seconds of each method in each round; first forwards, then backwards."""
    times: dict[str, list[float]] = {name: [] for name in methods}
    for number in range(rounds):
        order = list(methods) if number % 2 == 0 else list(reversed(methods))
        for name in order:
            times[name].append(seconds(methods[name], device))
    return times


def median_seconds(
    methods: Mapping[str, Callable[[], object]], rounds: int, device: str
) -> dict[str, float]:
    """Return the median seconds of each method; they take turns, first forwards, then backwards."""
    times = seconds_in_turns(methods, rounds, device)
    return {name: statistics.median(values) for name, values in times.items()}


def median_ratio(times: Sequence[float], of_other: Sequence[float]) -> float:
    """Return the median over rounds of a method's seconds over another's in the same round.

    Example:
        >>> median_ratio([2.0, 9.0, 4.0], [1.0, 3.0, 4.0])
        2.0
    """
    return statistics.median(own / other for own, other in zip(times, of_other, strict=True))


def peak_extra_mib(run: Callable[[], object], device: str) -> float:
    """Return by how much the memory of a process of its own grows at most while it runs.

    On CUDA it is the memory of the GPU, and no process of its own.
    """
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    _return_free_memory()
    context = multiprocessing.get_context("fork")  # the features are there already, shared
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_send_peak, args=(run, sender))
    child.start()
    sender.close()  # the child's end alone stays open, so that its death ends the waiting
    try:
        return receiver.recv()
    except EOFError as error:
        child.join()
        raise RuntimeError(
            f"expected the peak memory of a process, got its end (exit code {child.exitcode}); "
            "its error is above, or the machine has too little memory: take a smaller --size"
        ) from error
    finally:
        child.join()


def _return_free_memory() -> None:
    """Give freed memory back to the system; a child would use it again without growing."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc
    if trim is not None:
        trim(0)


def _send_peak(run: Callable[[], object], sender: multiprocessing.connection.Connection) -> None:
    torch.set_num_threads(1)  # a pool of threads does not survive the fork
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run()
    sender.send((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10)
