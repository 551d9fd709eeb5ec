"""Cooperation of the processes of a run: gather rows, wait for the main one, end after an error.

Letters: W processes, N rows of each.

The gradients of :func:`rows_of_all` and :func:`sum_over_all` are sums over all processes. Where
each process has the mean loss of its own images, DDP's average of the gradients is then the
gradient of the mean loss of all images, without further scaling.
"""

import contextlib
import itertools
import logging
import os
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

_FAILED = "fastreid_ext/failed"  # key in the store: rank and error of the process that failed
_HEARD = "fastreid_ext/heard"  # key in the store: number of processes that have read it
_SECONDS_BETWEEN_LOOKS = 1.0
# Time for a process that reads of a failure to end by itself and close its files.
_SECONDS_TO_END = 5.0
_calls = itertools.count()


def process_count() -> int:
    """Count the processes of the run, W; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def process_rank() -> int:
    """Return the rank of this process; 0 is the main process."""
    return dist.get_rank() if process_count() > 1 else 0


def rows_of_all(rows: Tensor) -> Tensor:
    """Join the rows of all processes in the order of their ranks; differentiable.

    Args:
        rows: rows (N, ...) of this process, of equal shape on all processes.

    Returns:
        Rows (W * N, ...), equal on all processes.
    """
    return rows if process_count() == 1 else _GatherRows.apply(rows)


def sum_over_all(values: Tensor) -> Tensor:
    """Sum a tensor over all processes; differentiable."""
    return values if process_count() == 1 else _Sum.apply(values)


def on_main_process(work: Callable[[], Result], what: str) -> Result:
    """Run ``work`` on the main process and return its result on all, however long it takes.

    The other processes ask the group's key-value store from time to time. A barrier, or any other
    exchange, would end them after the timeout of the group (10 minutes with NCCL, 30 with gloo).

    Args:
        work: function called on the main process only; its result is pickled.
        what: name of the work in error messages, such as "the evaluation".

    Raises:
        RuntimeError: on the other processes, if ``work`` failed on the main one.
    """
    if process_count() == 1:
        return work()
    key = f"fastreid_ext/main/{next(_calls)}"
    store = _store()
    if process_rank() > 0:
        _wait_for(store, key)
        result, failure = pickle.loads(store.get(key))
        if failure:
            raise RuntimeError(f"{what} failed on the main process: {failure}")
        return result
    try:
        result = work()
    except BaseException as error:  # the other processes must read of it first
        store.set(key, pickle.dumps((None, repr(error))))
        raise
    store.set(key, pickle.dumps((result, "")))
    return result


def meet() -> None:
    """Wait until all processes are here, however long it takes; see :func:`on_main_process`."""
    if process_count() == 1:
        return
    key = f"fastreid_ext/meeting/{next(_calls)}"
    store = _store()
    if store.add(key, 1) == process_count():
        store.set(f"{key}/all", b"here")
    _wait_for(store, f"{key}/all")


@contextlib.contextmanager
def ending_together() -> Iterator[None]:
    """End every process of the run when one fails, each with the error named in its log.

    torchrun and our own launch end the other processes. Under ``srun``, or where processes were
    started by hand, they would wait in an exchange until the timeout of the group.
    """
    if process_count() == 1:
        yield
        return
    store = _store()
    ended = threading.Event()
    # A clone, because a store handles one request at a time, and waiting for a peer is a request.
    watch = threading.Thread(target=_watch, args=(store.clone(), ended), daemon=True)
    watch.start()
    try:
        yield
    except BaseException as error:
        ended.set()
        if not (isinstance(error, SystemExit) and error.code in (0, None)):
            _tell(store, error)
        raise
    finally:
        ended.set()


def _watch(store: Any, ended: threading.Event) -> None:
    """Wait for the failure of another process, then end this one."""
    while not ended.wait(_SECONDS_BETWEEN_LOOKS):
        try:
            if not store.check([_FAILED]):
                continue
            rank, message = pickle.loads(store.get(_FAILED))
            store.add(_HEARD, 1)
        except RuntimeError:  # the store is gone with the process that held it
            return
        logger.error(
            "process %d of %d failed: %s; process %d, which waits for it, ends too",
            rank,
            process_count(),
            message,
            process_rank(),
        )
        if not ended.wait(_SECONDS_TO_END):
            # A thread that waits in an exchange cannot be interrupted in any other way.
            logging.shutdown()
            os._exit(1)


def _tell(store: Any, error: BaseException) -> None:
    """Store an error for the other processes; wait a little, since this one may hold the store."""
    # A command ends with SystemExit after it has printed its error.
    cause = (error.__context__ or error) if isinstance(error, SystemExit) else error
    message = f"{type(cause).__name__}: {cause}"
    with contextlib.suppress(RuntimeError):  # the store is gone, and so are the others
        if store.check([_FAILED]):
            return
        store.set(_FAILED, pickle.dumps((process_rank(), message)))
        until = time.monotonic() + 3 * _SECONDS_BETWEEN_LOOKS
        while time.monotonic() < until and store.add(_HEARD, 0) < process_count() - 1:
            time.sleep(0.05)


def _wait_for(store: Any, key: str) -> None:
    pause = 0.001
    while not store.check([key]):
        time.sleep(pause)
        pause = min(2 * pause, 0.2)


def _store() -> Any:
    """Return the key-value store with which the process group was made."""
    return dist.distributed_c10d._get_default_store()  # torch has no public name for it


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(process_count())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.clone()  # contiguous, and not the caller's
        dist.all_reduce(gradient)
        return gradient.chunk(process_count())[process_rank()]


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        values = values.clone()
        dist.all_reduce(values)
        return values

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.clone()
        dist.all_reduce(gradient)
        return gradient
