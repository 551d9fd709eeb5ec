"""Exact Re-ID ranking metrics from features or distances, without sorting the gallery.

CMC, AP and INP need only the ranks of a query's positives. They are counted: each distance of the
row that is not beyond the worst positive is placed among the few sorted positives (or, where many
are nearer, each positive is compared with the row), and the junk (same identity, same camera, which
the protocol removes) is counted back out. Queries are taken in chunks, so memory is bounded and no
distance matrix is kept. Features on a GPU are ranked there.

Letters: Q queries, G gallery images, D feature dimension.

Equal distances are ranked by gallery position, as a stable sort would.

The official Market-1501 evaluation has two kinds of gallery images that are nobody's: distractors
(id 0), which are ranked, and junk (id -1), which is removed before ranking. Here every id is ranked
unless ``junk_pid`` names it; a gallery with images of person -1 and no ``junk_pid`` is warned of.

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
_OFFICIAL_JUNK = -1  # person id of junk images in Market-1501's files


@dataclasses.dataclass(frozen=True)
class RankMetrics:
    """Metrics of one ranking, all in [0, 1].

    Attributes:
        cmc: (50,) share of valid queries with a match at rank 1..k.
        mAP: mean of ``average_precision`` over valid queries.
        mINP: mean inverse negative penalty, matches / rank of the last match [1].
        average_precision: (Q,) per query; NaN where the gallery has no valid match.
        num_valid: queries with a match seen by another camera; the others count nowhere.
        ap_rule: of ``mAP`` and ``average_precision``.
        mAP_by_rule: the mean by both rules.
    """

    cmc: NDArray[np.float64]
    mAP: float
    mINP: float
    average_precision: NDArray[np.float64]
    num_valid: int
    ap_rule: APRule
    mAP_by_rule: dict[APRule, float]

    def percentages(self) -> dict[str, float]:
        """Return the columns of a Re-ID table in percent.

        Rank-1, 5, 10, mAP (by fastreid's rule, whatever ``ap_rule``), mINP and "mAP (market)".
        :func:`column_title` names the rule of the former in tables and plots.
        """
        ranks = {f"Rank-{k}": 100 * float(self.cmc[k - 1]) for k in (1, 5, 10)}
        return {
            **ranks,
            "mAP": 100 * self.mAP_by_rule["fastreid"],
            "mINP": 100 * self.mINP,
            "mAP (market)": 100 * self.mAP_by_rule["market"],
        }


def column_title(key: str) -> str:
    """Name a metric in a table or plot: "mAP", fastreid's key, does not say by which rule."""
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
    """Rank the gallery for every query and return CMC, mAP and mINP.

    Args:
        query_features: (Q, D) finite reals of any float type, not necessarily normalised.
        gallery_features: (G, D), moved to the device of the queries, where the work is done.
        query_pids: (Q,) whole numbers, the person ids; any int64, with gaps or not.
        gallery_pids: (G,).
        query_camids: (Q,) camera ids; gallery images of the query's person and camera are ignored.
        gallery_camids: (G,).
        metric: "cosine" (1 - cosine similarity) or "euclidean".
        ap_rule: "fastreid" averages the precision at each positive; "market" is the trapezoid of
            the official Market-1501 evaluation [0].
        junk_pid: person id of gallery images that are removed before ranking, -1 for Market-1501's
            files; None = every gallery image is ranked, those of no query's person as distractors.

    Raises:
        ValueError: shapes that do not agree, labels that are no whole numbers, features that are
            not finite or so large that distances are not, an empty gallery, an unknown metric or
            rule, a query of person ``junk_pid``, or no query with a valid match.

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
    """Return the metrics of given distances, for example re-ranked ones.

    Args:
        distances: (Q, G) of any float type, ranked without rounding; may be infinite. Or an
            iterator over its chunks of rows, tensors of float32 without NaN on any one device.
        query_pids: as for :func:`rank_metrics`, likewise the other labels.
        gallery_pids: (G,).
        query_camids: (Q,).
        gallery_camids: (G,).
        ap_rule: as for :func:`rank_metrics`.
        junk_pid: as for :func:`rank_metrics`.

    Raises:
        ValueError: as :func:`rank_metrics`, or NaN among the distances.
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
    """Return the mask (G,) of the images to rank, None for all; warn of what looks like junk."""
    distractors = int((labels.gallery_pids == _OFFICIAL_JUNK).sum())
    if junk_pid is None and distractors and _OFFICIAL_JUNK not in labels.query_pids:
        logger.warning(
            "%d gallery images of person -1 are ranked as distractors; if they are junk, as in "
            "Market-1501's files, junk_pid=-1 leaves them out",
            distractors,
        )
    return labels.is_ranked(junk_pid)


def summary(scores: QueryScores, ap_rule: APRule = "fastreid") -> RankMetrics:
    """Average the scores of the queries that have a valid match; the others are logged.

    Raises:
        ValueError: no query has one, or an unknown rule.
    """
    if ap_rule not in AP_RULES:
        raise ValueError(f"unknown ap_rule {ap_rule!r}; known: {', '.join(AP_RULES)}")
    valid = scores.first_match > 0
    if not valid.any():
        raise ValueError(
            "no query identity appears in the gallery under another camera, so nothing can be "
            "ranked; check the person and camera ids of query and gallery"
        )
    if not valid.all():
        logger.warning(
            "%d of %d queries have no match under another camera in the gallery and count nowhere",
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
