"""Threads that share the rows of compiled kernels, which release Python's lock."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

import numpy as np
import torch


class RowThreads:
    """Pool of as many threads as torch uses, open within a ``with`` block.

    Each row is processed by one thread alone, so the number of threads does not change results.
    """

    def __enter__(self) -> "RowThreads":
        """Start the threads."""
        self._count = torch.get_num_threads()
        self._pool = ThreadPoolExecutor(self._count)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the threads."""
        self._pool.shutdown()

    def over(self, rows: slice, work: Callable[[slice], None]) -> None:
        """Call ``work`` on consecutive parts of the rows and wait for all."""
        if self._count == 1:
            work(rows)
            return
        edges = np.linspace(rows.start, rows.stop, self._count + 1).astype(int).tolist()
        list(self._pool.map(work, map(slice, edges[:-1], edges[1:])))
