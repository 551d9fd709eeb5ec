"""Exact histograms of the distances between queries and gallery images, in bounded memory.

Pairs are of three kinds: positives (one person, two cameras), same-camera positives (which the
evaluation leaves out) and negatives. Distances are counted into fine bins chunk by chunk; no
distance is kept.

Letters: Q queries, G gallery images, B bins.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastreid_ext.evaluation.distances import Metric
from fastreid_ext.evaluation.features import TestFeatures

_CHUNK_PAIRS = 2**22
POSITIVE, SAME_CAMERA, NEGATIVE = range(3)


@dataclasses.dataclass(frozen=True)
class PairHistograms:
    """Numbers of pairs by distance.

    Attributes:
        edges: (B + 1,) ends of the bins, from 0; distances of ``metric``.
        counts: (3, B) pairs per kind (POSITIVE, SAME_CAMERA, NEGATIVE) and bin.
        metric: "cosine" (1 - similarity, in [0, 2]) or "euclidean".
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    metric: Metric

    def equal_error_rate(self) -> tuple[float, float]:
        """Return the rate in [0, 1] at which as many positives are missed as negatives accepted.

        A pair is accepted up to a threshold, which is returned as well; both are exact to a bin.
        """
        positives, negatives = self.counts[POSITIVE], self.counts[NEGATIVE]
        missed = 1 - np.append(0, positives.cumsum() / positives.sum())
        accepted = np.append(0, negatives.cumsum() / negatives.sum())
        after = int(np.argmax(accepted >= missed))  # the last one at the latest: 1 >= 0
        gaps = (missed - accepted)[after - 1 : after + 1]
        share = gaps[0] / (gaps[0] - gaps[1])  # of the bin, where both lines cross
        rate = missed[after - 1] + share * (missed[after] - missed[after - 1])
        return float(rate), float(self.edges[after - 1] + share * np.diff(self.edges)[after - 1])

    def coarse(self, bins: int) -> "PairHistograms":
        """Return about ``bins`` wider bins over the distances that occur, to be drawn."""
        used = np.flatnonzero(self.counts.sum(axis=0))
        step = max(1, round((used[-1] + 1 - used[0]) / bins))
        start, stop = used[0] // step * step, -(-(used[-1] + 1) // step) * step
        counts = np.pad(self.counts, ((0, 0), (0, step)))[:, start:stop]
        width = self.edges[1] - self.edges[0]
        edges = np.arange(start, stop + 1, step) * width
        return PairHistograms(edges, counts.reshape(3, -1, step).sum(axis=2), self.metric)

    def overlap(self) -> float:
        """Return the area in [0, 1] that the histograms of positives and negatives share."""
        positives, negatives = self.counts[POSITIVE], self.counts[NEGATIVE]
        shared = np.minimum(positives / positives.sum(), negatives / negatives.sum())
        return float(shared.sum())


def pair_histograms(
    test: TestFeatures, metric: Metric = "cosine", *, bins: int = 4000
) -> PairHistograms:
    """Count the distances of all query-gallery pairs.

    Args:
        test: features with labels.
        metric: "cosine" or "euclidean".
        bins: number of bins from 0 to the largest distance possible.

    Raises:
        ValueError: no positive seen by two cameras, no negative, or features that are not finite.
    """
    unit = test.unit_features()
    query, gallery = test.split(unit if metric == "cosine" else test.features)
    largest = 2.0
    if metric == "euclidean":
        largest = float(query.norm(dim=1).max() + gallery.norm(dim=1).max()) or 1.0
    counts = torch.zeros(3 * bins, dtype=torch.int64)
    query_pids, gallery_pids, query_camids, gallery_camids = map(torch.from_numpy, test.labels())
    for rows, distances in _chunks(query, gallery, metric):
        same_person = query_pids[rows, None] == gallery_pids[None]
        same_camera = query_camids[rows, None] == gallery_camids[None]
        kind = torch.where(same_person, same_camera.long(), NEGATIVE)  # POSITIVE is 0
        place = distances.mul_(bins / largest).long().clamp_(0, bins - 1)
        counts += torch.bincount((kind * bins + place).flatten(), minlength=3 * bins)
    histograms = PairHistograms(
        np.linspace(0, largest, bins + 1), counts.view(3, bins).numpy(), metric
    )
    _expect_both(histograms.counts.sum(axis=1))
    return histograms


def _chunks(query: Tensor, gallery: Tensor, metric: Metric) -> Iterator[tuple[slice, Tensor]]:
    step = max(1, _CHUNK_PAIRS // len(gallery))
    for start in range(0, len(query), step):
        rows = slice(start, min(start + step, len(query)))
        if metric == "cosine":
            yield rows, 1 - query[rows] @ gallery.T
        else:
            yield rows, torch.cdist(query[rows], gallery)


def _expect_both(pairs: NDArray[np.int64]) -> None:
    if not pairs[POSITIVE]:
        raise ValueError(
            "expected pairs of one person under two cameras, got none (same-camera pairs: "
            f"{pairs[SAME_CAMERA]}); check the person and camera ids of query and gallery"
        )
    if not pairs[NEGATIVE]:
        raise ValueError("expected pairs of two persons, got none: the test set has one person")
