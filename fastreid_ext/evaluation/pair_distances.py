"""Exact histograms of the distances between queries and gallery images, in bounded memory.

Pairs are of three kinds: positives (one identity, two cameras), same-camera positives (which the
evaluation leaves out) and negatives. Distances are counted into fine bins chunk by chunk; no
distance is kept.

Letters: Q queries, G gallery images, B bins.
"""

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastreid_ext.evaluation.distances import DistanceChunks, Metric
from fastreid_ext.evaluation.features import TestFeatures

_CHUNK_PAIRS = 2**23
POSITIVE, SAME_CAMERA, NEGATIVE = range(3)


@dataclasses.dataclass(frozen=True)
class PairHistograms:
    """Numbers of pairs by kind and distance.

    Attributes:
        edges: (B + 1,) edges of the bins, from 0; distances of ``metric``.
        counts: (3, B) number of pairs per kind (POSITIVE, SAME_CAMERA, NEGATIVE) and bin.
        metric: distance that was counted: "cosine" (1 - similarity, in [0, 2]) or "euclidean".
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    metric: Metric

    def equal_error_rate(self) -> tuple[float, float]:
        """Compute the equal error rate in [0, 1] and its threshold, both exact to a bin.

        Pairs with a distance up to the threshold are accepted; there, equal shares of positives
        are missed and of negatives accepted.
        """
        positives = self.counts[POSITIVE]
        negatives = self.counts[NEGATIVE]
        missed = 1 - np.append(0, positives.cumsum() / positives.sum())
        accepted = np.append(0, negatives.cumsum() / negatives.sum())
        after = int(np.argmax(accepted >= missed))  # the last one at the latest: 1 >= 0
        gaps = (missed - accepted)[after - 1 : after + 1]
        share = gaps[0] / (gaps[0] - gaps[1])  # of the bin, where both lines cross
        rate = missed[after - 1] + share * (missed[after] - missed[after - 1])
        return float(rate), float(self.edges[after - 1] + share * np.diff(self.edges)[after - 1])

    def coarse(self, bins: int) -> "PairHistograms":
        """Merge bins to about ``bins`` wider ones over the range of distances, for a plot."""
        used = np.flatnonzero(self.counts.sum(axis=0))
        step = max(1, round((used[-1] + 1 - used[0]) / bins))
        start = used[0] // step * step
        stop = -(-(used[-1] + 1) // step) * step
        counts = np.pad(self.counts, ((0, 0), (0, step)))[:, start:stop]
        width = self.edges[1] - self.edges[0]
        edges = np.arange(start, stop + 1, step) * width
        return PairHistograms(edges, counts.reshape(3, -1, step).sum(axis=2), self.metric)

    def overlap(self) -> float:
        """Compute the area in [0, 1] that the histograms of positives and negatives share."""
        positives = self.counts[POSITIVE]
        negatives = self.counts[NEGATIVE]
        shared = np.minimum(positives / positives.sum(), negatives / negatives.sum())
        return float(shared.sum())


def pair_histograms(
    test: TestFeatures, metric: Metric = "cosine", *, bins: int = 4000
) -> PairHistograms:
    """Count the distances of all query-gallery pairs.

    Example:
        >>> pids = np.array([7, 9, 7, 9])
        >>> cameras = np.array([1, 1, 2, 2])
        >>> test = TestFeatures(torch.rand(4, 8), pids, cameras, ["?"] * 4, num_query=2)
        >>> int(pair_histograms(test).counts[NEGATIVE].sum())
        2

    Args:
        test: features of a test set with their labels.
        metric: distance to count: "cosine" or "euclidean".
        bins: number of bins from 0 to the largest possible distance.

    Raises:
        ValueError: no positive pairs, no negative pairs, or features are not finite.
    """
    test.expect_finite()
    chunks = DistanceChunks(*test.split(test.features), metric, chunk_values=_CHUNK_PAIRS)
    largest = 2.0 if metric == "cosine" else _sum_of_largest_norms(test)
    counts = torch.zeros(3, bins, dtype=torch.float64)
    _, columns = test.rows_by_pid()
    start = 0
    for products in chunks:
        distances = products.as_distances().clamp_(min=0)
        if metric == "euclidean":
            distances.sqrt_()
        distances.clamp_(max=largest)  # histc ignores values outside, where rounding may put some
        # Exact: no bin of a chunk reaches 2^24, where float32 leaves whole numbers out.
        counts[NEGATIVE] += torch.histc(distances, bins, 0, largest)
        for kind, values in enumerate(_of_one_identity(test, columns, distances, start)):
            found = torch.histc(values, bins, 0, largest)
            counts[kind] += found
            counts[NEGATIVE] -= found
        start += len(distances)
    histograms = PairHistograms(np.linspace(0, largest, bins + 1), counts.long().numpy(), metric)
    _expect_both(histograms.counts.sum(axis=1))
    return histograms


def _of_one_identity(
    test: TestFeatures, columns: dict[int, NDArray[np.int64]], distances: Tensor, start: int
) -> tuple[Tensor, Tensor]:
    """Select from a chunk the distances of positives and of same-camera positives.

    Args:
        test: features of a test set with their labels.
        columns: positions in the gallery, by identity.
        distances: (R, G) distances of the queries from ``start`` on.
        start: position of the first query of the chunk.
    """
    query_pids, _, query_camids, gallery_camids = test.labels()
    of_kind: tuple[list[Tensor], ...] = tuple([distances.new_empty(0)] for _ in range(2))
    for row, values in enumerate(distances, start):
        own = columns.get(int(query_pids[row]))
        if own is not None:
            same_camera = torch.from_numpy(gallery_camids[own] == query_camids[row])
            positives = values[torch.from_numpy(own)]
            of_kind[POSITIVE].append(positives[~same_camera])
            of_kind[SAME_CAMERA].append(positives[same_camera])
    return torch.cat(of_kind[POSITIVE]), torch.cat(of_kind[SAME_CAMERA])


def _sum_of_largest_norms(test: TestFeatures) -> float:
    """Compute an upper bound of all Euclidean distances."""
    return sum(float(part.norm(dim=1).max()) for part in test.split(test.features)) or 1.0


def _expect_both(pairs: NDArray[np.int64]) -> None:
    if not pairs[POSITIVE]:
        raise ValueError(
            "expected pairs of one identity under two cameras, got none (same-camera pairs: "
            f"{pairs[SAME_CAMERA]}); check the identity and camera labels of query and gallery"
        )
    if not pairs[NEGATIVE]:
        raise ValueError(
            "expected pairs of two identities, got none: the test set has one identity; check its "
            "labels"
        )
