"""Exact Re-ID ranking metrics from features or distances, without sorting the gallery.

CMC, AP and INP need only the ranks of a query's positives. These ranks are counted: each distance
up to that of the farthest positive is placed among the few sorted positives (or, if many are
nearer, each positive is compared with the whole row). Junk (same identity and camera, which the
protocol removes) is subtracted. Queries are processed in chunks, so memory is bounded and no
distance matrix is kept. Features on a GPU are ranked there.

Letters: Q queries, G gallery images, D feature dimension.

Equal distances are ranked by gallery position, as a stable sort would.

The official Market-1501 evaluation has two kinds of gallery images without an identity:
distractors (pid 0), which are ranked, and junk (pid -1), which is removed before ranking. Here
every pid except ``junk_pid`` is ranked; without a ``junk_pid``, images of pid -1 cause a warning.

[0] Zheng et al., "Scalable Person Re-identification: A Benchmark", ICCV 2015 (CMC, AP, junk rule)
[1] Ye et al., "Deep Learning for Person Re-identification: A Survey and Outlook", TPAMI 2021 (INP)
"""

import dataclasses
import logging
from collections.abc import Iterable
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from fastreid_ext.evaluation.distances import DistanceChunks, Metric
from fastreid_ext.evaluation.query_scores import QueryScores, score_chunks
from fastreid_ext.evaluation.rank_labels import RankLabels

logger = logging.getLogger(__name__)

APRule = Literal["fastreid", "market"]
AP_RULES: tuple[APRule, ...] = ("fastreid", "market")
_OFFICIAL_JUNK = -1  # pid of junk images in Market-1501's files


@dataclasses.dataclass(frozen=True)
class RankMetrics:
    """Metrics of one ranking, all in [0, 1].

    Attributes:
        cmc: (50,) share of valid queries with a match at rank 1..k.
        mAP: mean of ``average_precision`` over valid queries.
        mINP: mean inverse negative penalty, matches / rank of the last match [1].
        average_precision: (Q,) AP of each query; NaN without a valid match in the gallery.
        num_valid: number of queries with a match seen by another camera; others do not count.
        ap_rule: rule of ``mAP`` and ``average_precision``: "fastreid" or "market".
        mAP_by_rule: mean AP over valid queries, by both rules.
    """

    cmc: NDArray[np.float64]
    mAP: float
    mINP: float
    average_precision: NDArray[np.float64]
    num_valid: int
    ap_rule: APRule
    mAP_by_rule: dict[APRule, float]

    def percentages(self) -> dict[str, float]:
        """Convert to the columns of a Re-ID table, in percent.

        The columns are Rank-1, 5 and 10, mAP (by fastreid's rule, whatever ``ap_rule``), mINP and
        "mAP (market)". :func:`column_title` adds the rule to "mAP" in tables and plots.
        """
        ranks = {f"Rank-{k}": 100 * float(self.cmc[k - 1]) for k in (1, 5, 10)}
        return {
            **ranks,
            "mAP": 100 * self.mAP_by_rule["fastreid"],
            "mINP": 100 * self.mINP,
            "mAP (market)": 100 * self.mAP_by_rule["market"],
        }


def column_title(key: str) -> str:
    """Name a metric in a table or plot; fastreid's key "mAP" gets its rule added."""
    return f"{key} (fastreid)" if key.split("/")[-1] == "mAP" else key


def rank_metrics(
    query_features: Tensor | ArrayLike,
    gallery_features: Tensor | ArrayLike,
    query_pids: ArrayLike,
    gallery_pids: ArrayLike,
    query_camids: ArrayLike,
    gallery_camids: ArrayLike,
    *,
    metric: Metric = "cosine",
    ap_rule: APRule = "fastreid",
    junk_pid: int | None = None,
) -> RankMetrics:
    """Rank the gallery for every query and compute CMC, mAP and mINP.

    Args:
        query_features: (Q, D) finite features of any float type, not necessarily normalised.
        gallery_features: (G, D) finite features, moved to the device of the queries.
        query_pids: (Q,) identities of the queries; any int64, also with gaps.
        gallery_pids: (G,) identities of the gallery images.
        query_camids: (Q,) camera ids; gallery images of a query's identity and camera are ignored.
        gallery_camids: (G,) camera ids of the gallery images.
        metric: distance that ranks: "cosine" (1 - cosine similarity) or "euclidean".
        ap_rule: rule of the average precision. "fastreid" averages the precision at each positive;
            "market" is the trapezoid of the official Market-1501 evaluation [0].
        junk_pid: identity of gallery images to remove before ranking, -1 for Market-1501's files.
            None ranks every gallery image; identities without a query are distractors.

    Raises:
        ValueError: shapes do not agree, labels are not whole numbers, features or distances are
            not finite, the gallery is empty, the metric or rule is unknown, a query has the
            identity ``junk_pid``, or no query has a valid match.

    Example:
        >>> features = torch.eye(3)
        >>> rank_metrics(features[:1], features, [7], [7, -1, 3], [1], [2, 2, 2], junk_pid=-1).mAP
        1.0
    """
    labels = RankLabels.checked(query_pids, gallery_pids, query_camids, gallery_camids)
    chunks = DistanceChunks(query_features, gallery_features, metric)
    labels.expect(len(chunks.query), len(chunks.gallery))
    ranked = _ranked_images(labels, junk_pid)
    if ranked is not None:
        labels = labels.of_gallery(ranked)
        gallery = chunks.gallery[torch.from_numpy(ranked).to(chunks.gallery.device)]
        chunks = DistanceChunks(chunks.query, gallery, metric)
    return summary(score_chunks(chunks, labels), ap_rule)


def rank_distances(
    distances: NDArray[np.floating] | Iterable[Tensor],
    query_pids: ArrayLike,
    gallery_pids: ArrayLike,
    query_camids: ArrayLike,
    gallery_camids: ArrayLike,
    *,
    ap_rule: APRule = "fastreid",
    junk_pid: int | None = None,
) -> RankMetrics:
    """Rank the gallery by given distances, for example re-ranked ones.

    Args:
        distances: (Q, G) distances of any float type, ranked without rounding; may be infinite. Or
            an iterator over chunks of rows: float32 tensors without NaN, all on one device.
        query_pids: (Q,) identities of the queries; any int64, also with gaps.
        gallery_pids: (G,) identities of the gallery images.
        query_camids: (Q,) camera ids; gallery images of a query's identity and camera are ignored.
        gallery_camids: (G,) camera ids of the gallery images.
        ap_rule: rule of the average precision, see :func:`rank_metrics`.
        junk_pid: identity of gallery images to remove before ranking, see :func:`rank_metrics`.

    Raises:
        ValueError: invalid labels or rule, as in :func:`rank_metrics`, or NaN among the distances.

    Example:
        >>> rank_distances(np.array([[0.1, 0.2, 0.3]]), [7], [3, 7, 7], [1], [2, 2, 2]).mINP
        0.6666666666666666
    """
    labels = RankLabels.checked(query_pids, gallery_pids, query_camids, gallery_camids)
    ranked = _ranked_images(labels, junk_pid)
    of_ranked = labels if ranked is None else labels.of_gallery(ranked)
    if not isinstance(distances, np.ndarray | Tensor | list | tuple):
        labels.expect(len(labels.query_pids), len(labels.gallery_pids))
        if ranked is not None:
            distances = (chunk[:, torch.from_numpy(ranked).to(chunk.device)] for chunk in distances)
        return summary(score_chunks(distances, of_ranked), ap_rule)
    matrix = np.asarray(distances)
    if matrix.ndim != 2 or np.isnan(matrix).any():
        raise ValueError(f"expected distances (Q, G) without NaN, got shape {matrix.shape}")
    labels.expect(*matrix.shape)
    if ranked is not None:
        matrix = matrix[:, ranked]
    kind = np.float32 if matrix.dtype in (np.float16, np.float32) else np.float64
    whole = torch.from_numpy(np.ascontiguousarray(matrix, dtype=kind))
    return summary(score_chunks([whole], of_ranked), ap_rule)


def _ranked_images(labels: RankLabels, junk_pid: int | None) -> NDArray[np.bool_] | None:
    """Mask (G,) the images to rank, None for all; warn of images that look like junk."""
    distractors = int((labels.gallery_pids == _OFFICIAL_JUNK).sum())
    if junk_pid is None and distractors and _OFFICIAL_JUNK not in labels.query_pids:
        logger.warning(
            "%d gallery images of identity -1 are ranked as distractors; if they are junk, as in "
            "Market-1501's files, pass junk_pid=-1 to remove them",
            distractors,
        )
    return labels.is_ranked(junk_pid)


def summary(scores: QueryScores, ap_rule: APRule = "fastreid") -> RankMetrics:
    """Average the scores of queries with a valid match; log the number of others.

    Raises:
        ValueError: no query has a valid match, or the rule is unknown.
    """
    if ap_rule not in AP_RULES:
        raise ValueError(f"unknown ap_rule {ap_rule!r}; known: {', '.join(AP_RULES)}")
    valid = scores.first_match > 0
    if not valid.any():
        raise ValueError(
            "no query identity appears in the gallery under another camera, so nothing can be "
            "ranked; check the identity and camera labels of query and gallery"
        )
    if not valid.all():
        logger.warning(
            "%d of %d queries have no match under another camera in the gallery and do not count",
            (~valid).sum(),
            len(valid),
        )
    precisions = {"fastreid": scores.fastreid_ap, "market": scores.market_ap}
    means = {rule: float(precision[valid].mean()) for rule, precision in precisions.items()}
    return RankMetrics(
        cmc=scores.cmc(valid),
        mAP=means[ap_rule],
        mINP=float(scores.inverse_penalty[valid].mean()),
        average_precision=precisions[ap_rule],
        num_valid=int(valid.sum()),
        ap_rule=ap_rule,
        mAP_by_rule=means,
    )
