"""Exact search for the K nearest images of every image, in bounded memory.

The N x N distances are never kept: blocks of them update the lists of the nearest. On the CPU each
block serves its rows and, by symmetry, its columns, which halves the matrix product.

Letters: N images, D feature dimension, K nearest images. Equal distances are ordered by position.
"""

# ruff: noqa: ANN001, ANN202 (numba types arguments)
import dataclasses
from collections.abc import Callable, Iterator

import numba
import numpy as np
import torch
from torch import Tensor

from fastreid_ext.neighbours.ordered_keys import ordered_keys
from fastreid_ext.neighbours.row_threads import RowThreads

_BLOCK_SIDE = 2048  # side of a block of distances on the CPU: 16 MiB
_CHUNK_VALUES = 2**24  # distances held at a time on a GPU: 64 MiB, and twice that of keys
_SKIPPED = 64  # distances skipped together if none is among the nearest


@dataclasses.dataclass(frozen=True)
class Nearest:
    """The K nearest images of each of N images, the image itself included.

    Attributes:
        index: (N, K) int64 positions of the nearest images, nearest first.
        distance: (N, K) float32 distances of these, ascending.
        largest: (N,) float32 distance of the farthest of all N images.
    """

    index: Tensor
    distance: Tensor
    largest: Tensor


Distances = Callable[[Tensor, slice, slice], Tensor]


def nearest(features: Tensor, count: int, as_distances: Distances) -> Nearest:
    """Find the ``count`` nearest images of each image.

    Example:
        >>> features = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
        >>> nearest(features, 2, lambda products, rows, columns: 1 - products).index.tolist()
        [[0, 1], [1, 0], [2, 1]]

    Args:
        features: (N, D) float32 features on any device.
        count: number K of nearest images, from 1 to N.
        as_distances: function that turns inner products into symmetric distances, in place; it
            gets the products and the slices of their rows and columns.

    Raises:
        ValueError: ``count`` is out of range; compiled code would write outside the lists.
    """
    if not 1 <= count <= len(features):
        raise ValueError(
            f"expected from 1 to {len(features)} nearest images (as many as there are), got {count}"
        )
    if features.device.type == "cpu":
        return _nearest_by_blocks(features, count, as_distances)
    return nearest_on_device(features, count, as_distances)


def _nearest_by_blocks(features: Tensor, count: int, as_distances: Distances) -> Nearest:
    index = np.zeros((len(features), count), np.int64)
    distance = np.full((len(features), count), np.inf, np.float32)
    largest = np.full(len(features), -np.inf, np.float32)

    def update(block: Tensor, rows: slice, columns: slice) -> None:
        def merge(part: slice) -> None:
            values = block[part.start - rows.start : part.stop - rows.start].numpy()
            _update(values, columns.start, index[part], distance[part], largest[part])

        threads.over(rows, merge)

    parts = list(_parts(len(features), _BLOCK_SIDE))
    with RowThreads() as threads:
        for number, rows in enumerate(parts):
            # A list sees its columns in ascending order, so that ties stay in that order.
            for columns in parts[number:]:
                block = as_distances(features[rows] @ features[columns].T, rows, columns)
                update(block, rows, columns)
                if columns != rows:
                    update(block.T.contiguous(), columns, rows)
    return Nearest(*map(torch.from_numpy, (index, distance, largest)))


def nearest_on_device(features: Tensor, count: int, as_distances: Distances) -> Nearest:
    """Find the nearest images as :func:`nearest` does, with tensor operations on any device."""
    everything = slice(0, len(features))
    found = []
    for rows in _parts(len(features), max(1, _CHUNK_VALUES // len(features))):
        block = as_distances(features[rows] @ features.T, rows, everything)
        keys = ordered_keys(block).topk(count, dim=1, largest=False, sorted=True).values
        index = keys & 0xFFFFFFFF
        found.append((index, block.gather(1, index), block.amax(dim=1)))
    return Nearest(*(torch.cat(column) for column in zip(*found, strict=True)))


def _parts(total: int, size: int) -> Iterator[slice]:
    for start in range(0, total, size):
        yield slice(start, min(start + size, total))


@numba.njit(cache=True, nogil=True)
def _any_below(values, limit):
    count = 0
    for position in range(len(values)):  # without a branch, so that it is vectorised
        count += values[position] < limit
    return count > 0


@numba.njit(cache=True, nogil=True)
def _insert(value, position, index, distance):
    """Insert into the ascending lists behind equal values; the last entry falls out."""
    slot = len(distance) - 1
    while slot > 0 and distance[slot - 1] > value:
        distance[slot] = distance[slot - 1]
        index[slot] = index[slot - 1]
        slot -= 1
    distance[slot] = value
    index[slot] = position


@numba.njit(cache=True, nogil=True, fastmath={"nnan"})
def _largest(values, start):
    for position in range(len(values)):
        start = max(start, values[position])
    return start


@numba.njit(cache=True, nogil=True)
def _update(block, first_column, index, distance, largest):
    """Merge a block of distances (R, C) into the lists (R, K) of its rows, in place."""
    for row in range(len(block)):
        largest[row] = _largest(block[row], largest[row])
        for start in range(0, block.shape[1], _SKIPPED):
            part = block[row, start : start + _SKIPPED]
            if not _any_below(part, distance[row, -1]):
                continue
            for offset in range(len(part)):
                if part[offset] < distance[row, -1]:
                    column = first_column + start + offset
                    _insert(part[offset], column, index[row], distance[row])
