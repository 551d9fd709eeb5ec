"""Count the operations that a GPU would be sent, on any device, and those that would wait for it.

A batch of small images is bound by the number of launches, 5 to 10 microseconds each, long before
it is bound by arithmetic or memory; so this is what can be measured of it without a GPU.
"""

from collections import Counter
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

# Operations whose result has a size or goes to a place that only the device knows.
WAITING = frozenset(
    {"_local_scalar_dense", "item", "nonzero", "masked_select", "unique", "_unique2", "equal"}
)
# Memory is had or a view is made.
_FREE = frozenset({"empty", "empty_like", "_reshape_alias", "_unsafe_view"})


class LaunchCounter(TorchDispatchMode):
    """Count operations within a ``with`` block; views are free, everything else is one launch.

    That is a lower bound: a Fourier transform, say, is one operation and a few kernels.

    Attributes:
        counts: operations by name, without views.
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run an operation, and count it unless its result is a view."""
        name = function.overloadpacket.__name__
        if not function.is_view and name not in _FREE:
            self.counts[name] += 1
        if name in ("index", "index_put", "index_put_") and _has_mask(args[1]):
            self.counts["nonzero"] += 1
        return function(*args, **(kwargs or {}))

    @property
    def launches(self) -> int:
        """All operations."""
        return sum(self.counts.values())

    @property
    def waits(self) -> dict[str, int]:
        """The operations that would wait for the device."""
        return {name: count for name, count in self.counts.items() if name in WAITING}


def _has_mask(indices: Any) -> bool:
    return any(index is not None and index.dtype == torch.bool for index in indices)
