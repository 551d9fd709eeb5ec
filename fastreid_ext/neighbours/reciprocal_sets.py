"""Expanded k-reciprocal neighbour sets as sparse tensors, and their overlaps.

Works on any device; everything except one chunk of dense overlaps is sparse.

Letters: N images, of which the first Q are queries and the other G the gallery; K nearest images of
each, itself included, and the H nearest of these for the expansion; n rows of one chunk.

[0] Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017
"""

import dataclasses
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

_ROW_CHUNK = 512  # images whose sets are built together: about 100 bytes x K x H x K each
_COMPLETED_CHUNK = 512  # missing distances computed together; their features fit a cache
_PAIR_CHUNK = 2**21  # pairs of set members compared together: about 50 bytes each


@dataclasses.dataclass(frozen=True)
class Members:
    """Members of the sets of N images, sorted by image, then member.

    Attributes:
        row: (M,) position of the image that owns the set.
        column: (M,) position of the member image.
        distance: (M,) float32 distances from the nearest lists; NaN for members not in them.
    """

    row: Tensor
    column: Tensor
    distance: Tensor

    def completed(self, distance_of: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Complete the distances (M,): compute those that are NaN.

        Args:
            distance_of: function from two (m,) positions of images to their (m,) distances.
        """
        distance = self.distance.clone()
        for part in distance.isnan().nonzero().flatten().split(_COMPLETED_CHUNK):
            distance[part] = distance_of(self.row[part], self.column[part])
        return distance


def expanded_sets(index: Tensor, distance: Tensor, half: int) -> Members:
    """Build the expanded sets R* of all images [0, eq. 3].

    A member of R(i) is among the K nearest of i, and i among its K nearest. The half set of a
    member (with H in place of K) joins if more than two thirds of it are in R(i).

    Args:
        index: (N, K) positions of the nearest images.
        distance: (N, K) float32 distances of the nearest images.
        half: number H of nearest images for the expansion, at most K.
    """
    mutual = _mutual(index)
    mutual_half = _mutual(index[:, :half])
    parts = [
        _expanded_chunk(rows, index, distance, mutual, mutual_half)
        for rows in torch.arange(len(index), device=index.device).split(_ROW_CHUNK)
    ]
    return Members(*(torch.cat(values) for values in zip(*parts, strict=True)))


def _mutual(index: Tensor) -> Tensor:
    """Mask (N, K) the nearest images that are mutual."""
    own = torch.arange(len(index), device=index.device)
    parts = zip(index.split(_ROW_CHUNK), own.split(_ROW_CHUNK), strict=True)
    return torch.cat([(index[near] == row[:, None, None]).any(dim=2) for near, row in parts])


def _expanded_chunk(
    rows: Tensor, index: Tensor, distance: Tensor, mutual: Tensor, mutual_half: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    near = index[rows]  # (n, K)
    is_member = mutual[rows]
    half = mutual_half.shape[1]
    candidates = index[near, :half]  # (n, K, H)
    is_candidate = mutual_half[near]
    members = torch.where(is_member, near, -1)
    shared = (candidates[..., None] == members[:, None, None, :]).any(dim=3) & is_candidate
    joins = is_member & (shared.sum(dim=2) > 2 / 3 * is_candidate.sum(dim=2).double())
    joining = torch.where(joins[..., None] & is_candidate, candidates, -1).flatten(1)
    columns = torch.cat([members, joining], dim=1)
    # Members of the nearest lists have a distance; they sort before duplicates from half sets.
    unknown = distance.new_full(joining.shape, torch.nan)
    order = columns.argsort(dim=1, stable=True)
    columns = columns.gather(1, order)
    distances = torch.cat([distance[rows], unknown], dim=1).gather(1, order)
    is_first = columns != columns.roll(1, dims=1)
    is_first[:, 0] = True
    row, slot = ((columns >= 0) & is_first).nonzero(as_tuple=True)
    return rows[row], columns[row, slot], distances[row, slot]


@dataclasses.dataclass(frozen=True)
class SparseRows:
    """Rows of a sparse matrix, sorted by row; entry e is at (row[e], column[e])."""

    row: Tensor
    column: Tensor
    value: Tensor

    def averaged(self, index: Tensor) -> "SparseRows":
        """Average the rows of the k2 nearest images ``index`` (N, k2) of each image [0, eq. 11]."""
        counts = torch.bincount(self.row, minlength=len(index))
        first = counts.cumsum(0) - counts
        parts = []
        for rows in torch.arange(len(index), device=index.device).split(_ROW_CHUNK):
            near = index[rows].flatten()
            range_of, entry = ranges(first[near], counts[near])
            owner = rows[range_of // index.shape[1]]
            cells, cell = torch.unique(
                owner * len(index) + self.column[entry], sorted=True, return_inverse=True
            )
            total = self.value.new_zeros(len(cells)).index_add_(0, cell, self.value[entry])
            parts.append((cells // len(index), cells % len(index), total / index.shape[1]))
        return SparseRows(*(torch.cat(values) for values in zip(*parts, strict=True)))


def ranges(first: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Concatenate the ranges ``first[r] .. first[r] + counts[r] - 1``.

    Returns:
        Number r of the range of each value, and the values; both of length ``counts.sum()``.
    """
    number = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
    begins = counts.cumsum(0) - counts
    offset = torch.arange(len(number), device=counts.device) - begins[number]
    return number, first[number] + offset


class Overlaps:
    """Overlap of the weighted set of each query with that of each gallery image [0, eq. 9].

    Args:
        weights: weighted sets of all N images, each row of sum 1.
        num_images: number N of images, queries and gallery.
        num_query: number Q of queries, which come first.
    """

    def __init__(self, weights: SparseRows, num_images: int, num_query: int) -> None:
        self._num_gallery = num_images - num_query
        of_gallery = weights.row >= num_query
        by_column = weights.column[of_gallery].argsort(stable=True)
        # Gallery images whose set holds a member, and its weight there; sorted by member.
        self._holder = (weights.row[of_gallery] - num_query)[by_column]
        self._held = weights.value[of_gallery][by_column]
        counts = torch.bincount(weights.column[of_gallery], minlength=num_images)
        self._holders = counts[weights.column]
        self._first = (counts.cumsum(0) - counts)[weights.column]
        self._weights = weights

    def of(self, rows: slice) -> Tensor:
        """Compute the sums of minima (n, G) of some queries, in [0, 1]."""
        edges = torch.tensor([rows.start, rows.stop], device=self._weights.row.device)
        start, stop = torch.searchsorted(self._weights.row, edges).tolist()
        overlap = self._held.new_zeros((rows.stop - rows.start) * self._num_gallery)
        for part in self._parts(start, stop):
            number, slot = ranges(self._first[part], self._holders[part])
            entry = part.start + number
            cell = (self._weights.row[entry] - rows.start) * self._num_gallery + self._holder[slot]
            overlap.index_add_(0, cell, torch.minimum(self._weights.value[entry], self._held[slot]))
        return overlap.view(-1, self._num_gallery)

    def _parts(self, start: int, stop: int) -> Iterator[slice]:
        """Split entries so that the number of pairs per part is bounded."""
        pairs = self._holders[start:stop].cumsum(0)
        while start < stop:
            taken = max(1, int(torch.searchsorted(pairs, _PAIR_CHUNK, right=True)))
            yield slice(start, start + taken)
            pairs = pairs[taken:] - pairs[taken - 1]
            start += taken
