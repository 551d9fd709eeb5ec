"""Collection of features that arrive in batches, joined without a second copy of all.

Letters: N images, B images of a batch, D feature dimension.
"""

import torch
from torch import Tensor

# Blocks this large go back to the system when they are freed; the C library keeps smaller ones.
_BLOCK_BYTES = 2**26


class FeatureRows:
    """Collected rows of float32 on the CPU; :meth:`joined` empties the collection."""

    def __init__(self) -> None:
        self._blocks: list[Tensor] = []
        self._filled = 0  # rows of the last block

    def append(self, rows: Tensor) -> None:
        """Copy rows (B, D) of any float type and device; D as in the first batch."""
        rows = rows.detach().to("cpu", torch.float32)
        while len(rows):
            if not self._blocks or self._filled == len(self._blocks[-1]):
                size = max(1, _BLOCK_BYTES // (4 * max(1, rows.shape[1])))
                self._blocks.append(torch.empty((size, rows.shape[1])))
                self._filled = 0
            part = rows[: len(self._blocks[-1]) - self._filled]
            self._blocks[-1][self._filled : self._filled + len(part)] = part
            self._filled += len(part)
            rows = rows[len(part) :]

    def joined(self) -> Tensor:
        """Join all rows (N, D) in their order, (0, 0) if there are none, and discard them."""
        if not self._blocks:
            return torch.empty((0, 0))
        self._blocks[-1] = self._blocks[-1][: self._filled]
        total = sum(map(len, self._blocks))
        joined = torch.empty((total, self._blocks[0].shape[1]))
        end = total
        while self._blocks:
            block = self._blocks.pop()
            joined[end - len(block) : end] = block
            end -= len(block)
        return joined
