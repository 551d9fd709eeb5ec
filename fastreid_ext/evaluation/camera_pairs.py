"""Ranking metrics of each pair of a query camera and a gallery camera.

The cell (a, b) ranks the queries of camera a in the gallery images of camera b *alone*. A query
without a match there does not count in that cell. Junk (images of the query's identity and camera)
is removed as usual, so a cell (a, a) is empty: all its matches would be junk.

The cells do not average to the metrics of the whole gallery: every cell has its own, smaller
gallery, and a query counts in each camera that has images of its identity.
"""

import dataclasses

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from fastreid_ext.evaluation.distances import DistanceChunks, Metric, checked_features
from fastreid_ext.evaluation.query_scores import MAX_RANK, score_chunks
from fastreid_ext.evaluation.rank_labels import RankLabels


@dataclasses.dataclass(frozen=True)
class CameraPairMetrics:
    """Metrics by query camera (A rows) and gallery camera (B columns), in [0, 1].

    Attributes:
        query_cameras: (A,) camera ids of the queries, ascending.
        gallery_cameras: (B,) camera ids of the gallery, ascending.
        cmc: (A, B, 50) share of the cell's queries with a match at rank 1..k; NaN without queries.
        mAP: (A, B) mean AP by fastreid's rule; NaN without queries.
        mAP_market: (A, B) mean AP by Market's trapezoids; NaN without queries.
        queries: (A, B) number of queries that count.
    """

    query_cameras: NDArray[np.int64]
    gallery_cameras: NDArray[np.int64]
    cmc: NDArray[np.float64]
    mAP: NDArray[np.float64]
    mAP_market: NDArray[np.float64]
    queries: NDArray[np.int64]

    @property
    def rank1(self) -> NDArray[np.float64]:
        """Share (A, B) of a cell's queries whose nearest image is a match."""
        return self.cmc[:, :, 0]


def camera_pair_metrics(
    query_features: Tensor | ArrayLike,
    gallery_features: Tensor | ArrayLike,
    query_pids: ArrayLike,
    gallery_pids: ArrayLike,
    query_camids: ArrayLike,
    gallery_camids: ArrayLike,
    *,
    metric: Metric = "cosine",
) -> CameraPairMetrics:
    """Rank the queries of each camera in the gallery of each camera.

    This takes about as long as one evaluation of the whole gallery.

    Args:
        query_features: (Q, D) finite features of the queries, of any float type.
        gallery_features: (G, D) finite features of the gallery.
        query_pids: (Q,) identities of the queries, any int64.
        gallery_pids: (G,) identities of the gallery images.
        query_camids: (Q,) camera ids of the queries.
        gallery_camids: (G,) camera ids of the gallery images.
        metric: distance that ranks: "cosine" or "euclidean".

    Raises:
        ValueError: invalid features or labels, as in ``ranking.rank_metrics``; cells without
            matches are NaN instead.

    Example:
        >>> gallery = torch.eye(2)
        >>> camera_pair_metrics(gallery[:1], gallery, [7], [7, 8], [0], [1, 2]).rank1
        array([[ 1., nan]])
    """
    labels = RankLabels.checked(query_pids, gallery_pids, query_camids, gallery_camids)
    query, _ = checked_features(query_features, "query_features")
    gallery, _ = checked_features(gallery_features, "gallery_features")
    labels.expect(len(query), len(gallery))
    rows = np.unique(labels.query_camids)
    columns = np.unique(labels.gallery_camids)
    cmc = np.full((len(rows), len(columns), MAX_RANK), np.nan)
    means = np.full((2, len(rows), len(columns)), np.nan)
    counts = np.zeros((len(rows), len(columns)), np.int64)
    for column, camera in enumerate(columns):
        chosen = labels.gallery_camids == camera
        part = gallery[torch.from_numpy(chosen).to(gallery.device)]
        scores = score_chunks(DistanceChunks(query, part, metric), labels.of_gallery(chosen))
        for row, query_camera in enumerate(rows):
            valid = (labels.query_camids == query_camera) & (scores.first_match > 0)
            counts[row, column] = valid.sum()
            if valid.any():
                cmc[row, column] = scores.cmc(valid)
                means[0, row, column] = scores.fastreid_ap[valid].mean()
                means[1, row, column] = scores.market_ap[valid].mean()
    return CameraPairMetrics(rows, columns, cmc, *means, counts)
