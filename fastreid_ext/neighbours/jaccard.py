"""Jaccard distances of k-reciprocal neighbour sets, sparse and exact, for clustering.

The distances that clustering methods of unsupervised Re-ID share [0, 1]: each image is described by
the weights of its expanded k-reciprocal set, and two images are near if they share members. Unlike
re-ranking, nothing of the original distance is added. Most pairs share nothing and have distance 1;
only pairs within ``max_distance`` are kept, so no N x N matrix is made.

Letters: N images, D feature dimension, k1 nearest images (the image itself included), V (N, N)
sparse weights of the sets, rows of sum 1.

[0] Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017
[1] Ge et al., "Self-paced Contrastive Learning with Hybrid Memory", NeurIPS 2020
"""

# ruff: noqa: ANN001, ANN202 (numba types arguments)
import numba
import numpy as np
import scipy.sparse
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional as F

from fastreid_ext.neighbours.knn import Nearest, nearest
from fastreid_ext.neighbours.reciprocal_sets import SparseRows, expanded_sets
from fastreid_ext.neighbours.row_threads import RowThreads

# Distances have atoms: two images that share 4 of 6 averaged neighbours and nothing else have
# distance 1 - 4 / 8 = 0.5, which rounding may move to either side of a threshold of 0.5.
TOLERANCE = 1e-5


def jaccard_distances(
    features: Tensor | ArrayLike,
    *,
    k1: int = 30,
    k2: int = 6,
    max_distance: float = 0.65,
) -> scipy.sparse.csr_array:
    """Compute the Jaccard distances of all pairs of images within ``max_distance``.

    The result is symmetric and has an entry for each image with itself. A stored 0 is a distance
    of 0, a missing entry a distance above ``max_distance``: never drop zeros.

    Example:
        >>> angles = torch.deg2rad(torch.tensor([0.0, 4.0, 9.0, 100.0, 103.0, 200.0]))
        >>> features = torch.stack([angles.cos(), angles.sin()], dim=1)
        >>> jaccard_distances(features, k1=3, k2=1)[[0]].data.round(4)
        array([0.    , 0.0075, 0.0168], dtype=float32)

    Args:
        features: (N, D) finite features on any device; they are normalised to length 1.
        k1: number of nearest images searched for mutual ones, the image itself included, 1 to N.
        k2: number of nearest images to average weights over, from 1 to ``k1``; 1 does not average.
        max_distance: largest distance in (0, 1) that is kept, plus :data:`TOLERANCE`.

    Returns:
        (N, N) float32 sparse rows, columns ascending.

    Raises:
        ValueError: the features are not (N, D) or not finite, or an argument is out of range.
    """
    features = unit_features(features)
    near = nearest_by_cosine(features, k1)
    return jaccard_of_neighbours(features.cpu(), near, k2=k2, max_distance=max_distance)


def unit_features(features: Tensor | ArrayLike) -> Tensor:
    """Check features (N, D) and normalise them to length 1, float32 on their device.

    Raises:
        ValueError: the features are not (N, D), or not finite.
    """
    features = torch.as_tensor(features).detach()
    if features.ndim != 2 or not len(features):
        raise ValueError(f"expected features (N, D) of images, got {tuple(features.shape)}")
    features = features.float()
    is_broken = ~features.isfinite().all(dim=1)
    if bool(is_broken.any()):
        first = int(is_broken.nonzero()[0])
        raise ValueError(
            f"expected finite features, got NaN or infinity in {int(is_broken.sum())} of "
            f"{len(features)} rows (first row {first}); the model has diverged, or its weights are "
            "damaged"
        )
    return F.normalize(features, dim=1)


def nearest_by_cosine(features: Tensor, count: int) -> Nearest:
    """Find the nearest images of each image, the image itself first, others by (distance, index).

    Args:
        features: (N, D) float32 features of length 1 on any device.
        count: number of nearest images, the image itself included; ``k1`` of [0].

    Returns:
        Nearest images and cosine distances in [0, 2], on the CPU.

    Raises:
        ValueError: ``count`` is below 1 or above N.
    """
    if not 1 <= count <= len(features):
        raise ValueError(
            f"expected k1 from 1 to {len(features)}, the number of images, got {count}; lower k1, "
            "or give more images"
        )
    found = nearest(features, count, _cosine_with_self_first)
    return Nearest(found.index.cpu(), found.distance.clamp(min=0).cpu(), found.largest.cpu())


def _cosine_with_self_first(products: Tensor, rows: slice, columns: slice) -> Tensor:
    """Turn inner products into cosine distances, in place; -1 for an image and itself."""
    distances = products.neg_().add_(1).clamp_(min=0)
    first = max(rows.start, columns.start)
    last = min(rows.stop, columns.stop)
    own = torch.arange(first, max(first, last), device=products.device)
    distances[own - rows.start, own - columns.start] = -1
    return distances


def jaccard_of_neighbours(
    features: Tensor, near: Nearest, *, k2: int = 6, max_distance: float = 0.65
) -> scipy.sparse.csr_array:
    """Compute :func:`jaccard_distances` when the nearest images are known.

    Args:
        features: (N, D) float32 features of length 1 on the CPU.
        near: k1 nearest images by :func:`nearest_by_cosine`.
        k2: number of nearest images to average weights over, from 1 to k1.
        max_distance: largest distance in (0, 1) that is kept, plus :data:`TOLERANCE`.

    Raises:
        ValueError: an argument is out of range.
    """
    count = near.index.shape[1]
    if not 1 <= k2 <= count:
        raise ValueError(f"expected k2 from 1 to k1 = {count}, got {k2}")
    if not 0 < max_distance < 1:
        raise ValueError(
            "expected max_distance between 0 and 1, got "
            f"{max_distance}; pairs that share no member have distance 1 and are never stored"
        )
    weights = set_weights(features, near)
    if k2 > 1:
        weights = weights.averaged(near.index[:, :k2])
    return _pairs_within(weights, len(features), max_distance + TOLERANCE)


def set_weights(features: Tensor, near: Nearest) -> SparseRows:
    """Compute the weights of the expanded k-reciprocal sets [0, eq. 3 and 7].

    The weights of a set are the softmax of the negative squared distances to its members. The half
    sets that expand it have the round(k1 / 2) + 1 nearest images, halves rounded to even as in the
    released code.

    Args:
        features: (N, D) float32 features of length 1 on the CPU.
        near: k1 nearest images by :func:`nearest_by_cosine`.

    Returns:
        (N, N) float64 sparse rows of sum 1.
    """
    count = near.index.shape[1]
    half = min(round(count / 2) + 1, count)
    members = expanded_sets(near.index, near.distance, half)

    def cosine(row: Tensor, column: Tensor) -> Tensor:
        return 1 - torch.linalg.vecdot(features[row], features[column]).clamp_(max=1)

    squared = 2 * members.completed(cosine).double()
    weight = torch.exp(-squared)  # at least exp(-4), so no sum is near 0
    total = weight.new_zeros(len(features)).index_add_(0, members.row, weight)
    return SparseRows(members.row, members.column, weight / total[members.row])


def _pairs_within(
    weights: SparseRows, num_images: int, max_distance: float
) -> scipy.sparse.csr_array:
    """Find all pairs within a distance: for each member of a set, the sets that hold it too."""
    shape = (num_images, num_images)
    entries = (weights.value.numpy(), (weights.row.numpy(), weights.column.numpy()))
    by_row = scipy.sparse.csr_array(entries, shape=shape)
    by_column = by_row.tocsc()
    parts: dict[int, tuple[NDArray, NDArray, NDArray]] = {}

    def find(rows: slice) -> None:
        parts[rows.start] = _pairs_of_rows(
            rows.start,
            rows.stop,
            (by_row.indptr, by_row.indices, by_row.data),
            (by_column.indptr, by_column.indices, by_column.data),
            max_distance,
        )

    with RowThreads() as threads:
        threads.over(slice(0, num_images), find)
    in_order = [parts[start] for start in sorted(parts)]
    row = np.concatenate([part[0] for part in in_order])
    column = np.concatenate([part[1] for part in in_order])
    distance = np.concatenate([part[2] for part in in_order])
    # Not a sum of the matrix and its transpose, which would drop distances of 0.
    rows = np.concatenate([row, column[column > row]])
    columns = np.concatenate([column, row[column > row]])
    distances = np.concatenate([distance, distance[column > row]])
    pairs = scipy.sparse.csr_array((distances, (rows, columns)), shape=shape)
    pairs.sort_indices()
    return pairs


@numba.njit(cache=True, nogil=True)
def _pairs_of_rows(start, stop, by_row, by_column, max_distance):
    """Collect the pairs of some rows with images from the row on: rows, columns, distances."""
    row_begins, members, weights = by_row
    column_begins, holders, held = by_column
    num_images = len(column_begins) - 1
    shared = np.zeros(num_images)  # sum of minima with each image, of one row
    met = np.empty(num_images, np.int32)
    # Holders before the row are left out: they have found the pair.
    first = column_begins[:-1].copy()
    rows = np.empty(32 * (stop - start), np.int32)
    columns = np.empty(len(rows), np.int32)
    distances = np.empty(len(rows), np.float32)
    total = 0
    for row in range(start, stop):
        num_met = 0
        for entry in range(row_begins[row], row_begins[row + 1]):
            member = members[entry]
            weight = weights[entry]
            while holders[first[member]] < row:
                first[member] += 1
            for place in range(first[member], column_begins[member + 1]):
                holder = holders[place]
                if shared[holder] == 0:
                    met[num_met] = holder
                    num_met += 1
                shared[holder] += min(weight, held[place])
        if total + num_met > len(rows):
            rows = _grown(rows, total + num_met)
            columns = _grown(columns, total + num_met)
            distances = _grown(distances, total + num_met)
        for column in met[:num_met]:
            distance = max(0.0, 1 - shared[column] / (2 - shared[column]))
            shared[column] = 0
            if distance <= max_distance:
                rows[total] = row
                columns[total] = column
                distances[total] = distance
                total += 1
    return rows[:total].copy(), columns[:total].copy(), distances[:total].copy()


@numba.njit(cache=True, nogil=True)
def _grown(values, needed):
    """Copy to an array that is at least twice as long."""
    grown = np.empty(max(needed, 2 * len(values)), values.dtype)
    grown[: len(values)] = values
    return grown
