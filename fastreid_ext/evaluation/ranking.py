"""Exact Re-ID ranking metrics from features or distances, without sorting the gallery.

CMC, AP and INP need only the ranks of a query's positives. They are counted: each distance of the
row that is not beyond the worst positive is placed among the few sorted positives, and the junk
(same identity, same camera, which the protocol removes) is counted back out. Queries are taken in
chunks, so memory is bounded and no distance matrix is kept.

Letters: Q queries, G gallery images, D feature dimension, P positives of one query.

Equal distances are ranked by gallery position, as a stable sort would.

[0] Zheng et al., "Scalable Person Re-identification: A Benchmark", ICCV 2015 (CMC, AP, junk rule)
[1] Ye et al., "Deep Learning for Person Re-identification: A Survey and Outlook", TPAMI 2021 (INP)
"""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional as F

from fastreid_ext.evaluation.rank_counts import score_rows

MAX_RANK = 50
_CHUNK_VALUES = 2**24  # distances held at a time: 64 MiB of float32

Metric = Literal["cosine", "euclidean"]
APRule = Literal["fastreid", "market"]


@dataclasses.dataclass(frozen=True)
class RankMetrics:
    """Metrics of one ranking, all in [0, 1].

    Attributes:
        cmc: (50,) share of valid queries with a match at rank 1..k.
        mAP: mean of ``average_precision`` over valid queries.
        mINP: mean inverse negative penalty, P / rank of the last positive [1].
        average_precision: (Q,) per query; NaN where the gallery has no valid match.
        num_valid: queries with a match seen by another camera; the others count nowhere.
    """

    cmc: NDArray[np.float64]
    mAP: float
    mINP: float
    average_precision: NDArray[np.float64]
    num_valid: int

    def percentages(self) -> dict[str, float]:
        """Return the columns of a Re-ID table, Rank-1, 5, 10, mAP and mINP, in percent."""
        ranks = {f"Rank-{k}": 100 * float(self.cmc[k - 1]) for k in (1, 5, 10)}
        return {**ranks, "mAP": 100 * self.mAP, "mINP": 100 * self.mINP}


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
) -> RankMetrics:
    """Rank the gallery for every query and return CMC, mAP and mINP.

    Args:
        query_features: (Q, D) finite reals, not necessarily normalised.
        gallery_features: (G, D), moved to the device of the queries.
        query_pids: (Q,) whole numbers, the person ids; any int64, with gaps or not.
        gallery_pids: (G,).
        query_camids: (Q,) camera ids; gallery images of the query's person and camera are ignored.
        gallery_camids: (G,).
        metric: "cosine" (1 - cosine similarity) or "euclidean".
        ap_rule: "fastreid" averages the precision at each positive; "market" is the trapezoid of
            the official Market-1501 evaluation [0].

    Raises:
        ValueError: shapes that do not agree, labels that are no whole numbers, features that are
            not finite or so large that distances are not, an empty gallery, an unknown metric or
            rule, or no query with a valid match.
    """
    query = _features(query_features, "query_features")
    gallery = _features(gallery_features, "gallery_features").to(query.device)
    if query.shape[1] != gallery.shape[1]:
        raise ValueError(
            f"expected query and gallery features of one dimension, got {query.shape[1]} and "
            f"{gallery.shape[1]}; were they extracted by the same model?"
        )
    labels = _Labels.checked(query_pids, gallery_pids, query_camids, gallery_camids)
    labels.expect(len(query), len(gallery))
    return _metrics(_distance_chunks(query, gallery, metric), labels, ap_rule)


def rank_distances(
    distances: NDArray[np.floating],
    query_pids: ArrayLike,
    gallery_pids: ArrayLike,
    query_camids: ArrayLike,
    gallery_camids: ArrayLike,
    *,
    ap_rule: APRule = "fastreid",
) -> RankMetrics:
    """Return the metrics of a given distance matrix (Q, G), for example a re-ranked one.

    Args:
        distances: (Q, G) of any float type, ranked without rounding; may be infinite.
        query_pids: as for :func:`rank_metrics`, likewise the other labels.
        gallery_pids: (G,).
        query_camids: (Q,).
        gallery_camids: (G,).
        ap_rule: as for :func:`rank_metrics`.

    Raises:
        ValueError: as :func:`rank_metrics`, or NaN among the distances.
    """
    distances = np.asarray(distances)
    labels = _Labels.checked(query_pids, gallery_pids, query_camids, gallery_camids)
    if distances.ndim != 2 or np.isnan(distances).any():
        raise ValueError(f"expected distances (Q, G) without NaN, got shape {distances.shape}")
    labels.expect(*distances.shape)
    kind = np.float32 if distances.dtype in (np.float16, np.float32) else np.float64
    return _metrics([np.ascontiguousarray(distances, dtype=kind)], labels, ap_rule)


@dataclasses.dataclass(frozen=True)
class _Labels:
    query_pids: NDArray[np.int64]
    gallery_pids: NDArray[np.int64]
    query_camids: NDArray[np.int64]
    gallery_camids: NDArray[np.int64]

    @classmethod
    def checked(cls, *labels: ArrayLike) -> "_Labels":
        arrays = [np.asarray(v.cpu() if isinstance(v, Tensor) else v) for v in labels]
        if any(values.ndim != 1 for values in arrays):
            raise ValueError(f"expected 1-D labels, got shapes {[v.shape for v in arrays]}")
        whole = [values.astype(np.int64) for values in arrays]
        if not all(map(np.array_equal, whole, arrays)):
            raise ValueError("expected whole numbers as person and camera ids, got fractions")
        return cls(*whole)

    def expect(self, num_query: int, num_gallery: int) -> None:
        got = [len(self.query_pids), len(self.query_camids)]
        got_gallery = [len(self.gallery_pids), len(self.gallery_camids)]
        if got != [num_query] * 2 or got_gallery != [num_gallery] * 2:
            raise ValueError(
                f"expected {num_query} query and {num_gallery} gallery labels, got "
                f"{got} and {got_gallery} (pids, camids)"
            )
        if num_gallery == 0 or num_query == 0:
            raise ValueError(
                f"expected at least one query and one gallery image, got {num_query} and "
                f"{num_gallery}; is the right folder given as the data set?"
            )


def _features(values: Tensor | ArrayLike, name: str) -> Tensor:
    features = torch.as_tensor(values).detach().float()
    if features.ndim != 2:
        raise ValueError(f"expected {name} (N, D), got {tuple(features.shape)}")
    broken = (~torch.isfinite(features)).any(dim=1).nonzero().flatten().tolist()
    if broken:
        raise ValueError(
            f"expected finite {name}, got NaN or infinity in {len(broken)} rows, the first at "
            f"{broken[:5]}; did training diverge?"
        )
    return features


def _distance_chunks(query: Tensor, gallery: Tensor, metric: str) -> Iterator[NDArray[np.float32]]:
    if metric not in ("cosine", "euclidean"):
        raise ValueError(f"unknown metric {metric!r}; known: cosine, euclidean")
    if metric == "cosine":
        query, gallery = F.normalize(query, dim=1), F.normalize(gallery, dim=1)
    for chunk in query.split(max(1, _CHUNK_VALUES // len(gallery))):
        if metric == "cosine":
            distances = 1 - chunk @ gallery.T
        else:
            distances = torch.cdist(chunk, gallery)
        if not distances.max().isfinite():  # NaN is the largest
            raise ValueError(
                f"expected features with finite {metric} distances, got squares beyond float32; "
                "did training diverge?"
            )
        yield distances.cpu().numpy()


def _metrics(chunks: Iterable[NDArray[np.float32]], labels: _Labels, ap_rule: str) -> RankMetrics:
    if ap_rule not in ("fastreid", "market"):
        raise ValueError(f"unknown ap_rule {ap_rule!r}; known: fastreid, market")
    by_pid = np.argsort(labels.gallery_pids, kind="stable")
    sorted_pids = labels.gallery_pids[by_pid]
    first = np.searchsorted(sorted_pids, labels.query_pids, side="left")
    last = np.searchsorted(sorted_pids, labels.query_pids, side="right")
    num_query = len(labels.query_pids)
    precision, inverse_penalty = np.full(num_query, np.nan), np.full(num_query, np.nan)
    first_match = np.zeros(num_query, np.int64)
    start = 0
    for distances in chunks:
        rows = slice(start, start + len(distances))
        start = rows.stop
        score_rows(
            distances,
            by_pid,
            first[rows],
            last[rows],
            labels.query_camids[rows],
            labels.gallery_camids,
            ap_rule == "market",
            precision[rows],
            inverse_penalty[rows],
            first_match[rows],
        )
    return _summary(precision, inverse_penalty, first_match)


def _summary(
    precision: NDArray[np.float64],
    inverse_penalty: NDArray[np.float64],
    first_match: NDArray[np.int64],
) -> RankMetrics:
    valid = first_match > 0
    if not valid.any():
        raise ValueError(
            "no query identity appears in the gallery under another camera, so nothing can be "
            "ranked; check the person and camera ids of query and gallery"
        )
    found_at = np.bincount(first_match[valid].clip(max=MAX_RANK + 1), minlength=MAX_RANK + 2)
    return RankMetrics(
        cmc=found_at[1 : MAX_RANK + 1].cumsum() / valid.sum(),
        mAP=float(precision[valid].mean()),
        mINP=float(inverse_penalty[valid].mean()),
        average_precision=precision,
        num_valid=int(valid.sum()),
    )
