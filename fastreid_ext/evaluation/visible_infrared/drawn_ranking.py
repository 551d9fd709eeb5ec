"""Ranking of several galleries that are drawn from one set of images, in bounded memory.

Similarities to all drawn images are computed once, some queries at a time; each draw then ranks its
own columns by :mod:`fastreid_ext.evaluation.query_scores`. AP and INP are per image, CMC per
identity (:mod:`.identity_ranks`).

Letters: Q queries, G gallery images, T draws, D feature dimension, R rows of one chunk.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from fastreid_ext.evaluation.distances import DistanceChunks
from fastreid_ext.evaluation.query_scores import MAX_RANK, score_chunks
from fastreid_ext.evaluation.rank_labels import RankLabels
from fastreid_ext.evaluation.visible_infrared.identity_ranks import identity_ranks

Rows = NDArray[np.int64]
# Distances held at a time: 32 MiB, since each draw copies its columns of them.
_CHUNK_VALUES = 2**23


@dataclasses.dataclass(frozen=True)
class DrawMetrics:
    """Metrics of T gallery draws and their means, all in [0, 1].

    Attributes:
        cmc: (50,) mean share of queries whose identity is among the first k.
        mAP: mean of ``mAP_per_draw``; precision at each matching image, no trapezoid.
        mINP: mean of ``mINP_per_draw``; matching images / rank of the last one.
        cmc_per_draw: (T, 50) CMC of each draw.
        mAP_per_draw: (T,) mean AP over the queries of each draw.
        mINP_per_draw: (T,) mean INP of each draw.
        num_valid: (T,) queries with a match in the draw; others do not count.
    """

    cmc: NDArray[np.float64]
    mAP: float
    mINP: float
    cmc_per_draw: NDArray[np.float64]
    mAP_per_draw: NDArray[np.float64]
    mINP_per_draw: NDArray[np.float64]
    num_valid: NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Draw:
    """One trial.

    Attributes:
        gallery: gallery positions of the trial, in the order that decides ties.
        queries: positions of the queries that rank them.
    """

    gallery: Rows
    queries: Rows


def ranked_draws(
    query_features: Tensor | ArrayLike,
    gallery_features: Tensor | ArrayLike,
    labels: RankLabels,
    trials: Sequence[Sequence[Draw]],
    *,
    collapse: bool = True,
) -> DrawMetrics:
    """Rank the galleries of T trials by cosine similarity.

    Args:
        query_features: (Q, D) finite features of any float type.
        gallery_features: (G, D) finite features.
        labels: identities and cameras of queries and gallery; gallery images of a query's identity
            and camera are ignored.
        trials: parts of each trial: a query is ranked in one part, and where queries see different
            galleries the parts differ.
        collapse: whether CMC counts identities; False counts images, as AP does.

    Raises:
        ValueError: shapes or labels do not agree, features are not finite, a draw names images that
            do not exist, or no query of a trial has a match.
    """
    used = _used([part for parts in trials for part in parts], labels)
    gallery = torch.as_tensor(gallery_features)
    labels.expect(len(torch.as_tensor(query_features)), len(gallery))
    place_of = np.full(len(gallery), -1, np.int64)
    place_of[used] = np.arange(len(used))
    chunks = DistanceChunks(
        query_features,
        gallery[torch.from_numpy(used).to(gallery.device)],
        "cosine",
        chunk_values=_CHUNK_VALUES,
    )
    sums = [_Sums() for _ in trials]
    start = 0
    for products in chunks:
        # On the CPU: kernels there count ranks, and rows are few.
        distances = products.as_distances().cpu()
        rows = range(start, start + len(distances))
        start = rows.stop
        for own, parts in zip(sums, trials, strict=True):
            for part in parts:
                _add_part(own, distances, rows, part, place_of, labels, collapse)
    return _metrics(sums)


def _used(parts: Sequence[Draw], labels: RankLabels) -> Rows:
    """List the gallery positions that some draw has, ascending; refuse impossible ones."""
    count = len(labels.gallery_pids)
    for part in parts:
        if not len(part.gallery):
            raise ValueError("expected images in each gallery draw, got none in one of them")
        if part.gallery.min() < 0 or part.gallery.max() >= count:
            raise ValueError(
                f"expected gallery draws of positions 0 to {count - 1}, got "
                f"{part.gallery.min()} to {part.gallery.max()}; draw from this gallery"
            )
        if len(np.unique(part.gallery)) != len(part.gallery):
            raise ValueError("expected each gallery image once in a draw, got one twice")
    if not parts:
        raise ValueError("expected at least one gallery draw, got none")
    return np.unique(np.concatenate([part.gallery for part in parts]))


class _Sums:
    """Sums over the valid queries of one trial."""

    def __init__(self) -> None:
        self.ap = 0.0
        self.inp = 0.0
        self.ranks: list[Rows] = []


def _add_part(
    sums: _Sums,
    distances: Tensor,
    rows: range,
    part: Draw,
    place_of: Rows,
    labels: RankLabels,
    collapse: bool,
) -> None:
    """Add the scores of the queries ``rows`` that belong to a part."""
    first, last = np.searchsorted(part.queries, [rows.start, rows.stop])
    queries = part.queries[first:last]
    if not len(queries):
        return
    values = distances
    if len(queries) < len(rows):
        values = values[torch.from_numpy(queries - rows.start)]
    values = values[:, torch.from_numpy(place_of[part.gallery])]
    own = RankLabels(
        labels.query_pids[queries],
        labels.gallery_pids[part.gallery],
        labels.query_camids[queries],
        labels.gallery_camids[part.gallery],
    )
    scores = score_chunks([values], own)
    valid = scores.first_match > 0
    sums.ap += float(scores.fastreid_ap[valid].sum())
    sums.inp += float(scores.inverse_penalty[valid].sum())
    ranks = _identity_ranks(values, own) if collapse else scores.first_match
    sums.ranks.append(ranks[valid])


def _identity_ranks(distances: Tensor, labels: RankLabels) -> Rows:
    by_pid = np.argsort(labels.gallery_pids, kind="stable")
    pids, first = np.unique(labels.gallery_pids[by_pid], return_index=True)
    place = np.searchsorted(pids, labels.query_pids).clip(max=len(pids) - 1)
    own = np.where(pids[place] == labels.query_pids, place, -1)
    return identity_ranks(
        distances.numpy(),
        by_pid,
        np.append(first, len(by_pid)),
        own,
        labels.query_camids,
        labels.gallery_camids,
    )


def _metrics(sums: Sequence[_Sums]) -> DrawMetrics:
    ranks = [np.concatenate([*trial.ranks, np.zeros(0, np.int64)]) for trial in sums]
    counts = np.array([len(of_trial) for of_trial in ranks])
    if not counts.all():
        raise ValueError(
            "no query identity appears in a drawn gallery, so nothing can be ranked; check the "
            "identity and camera labels of query and gallery"
        )
    cmc = np.stack(
        [(of_trial[:, None] <= np.arange(1, MAX_RANK + 1)).mean(axis=0) for of_trial in ranks]
    )
    ap = np.array([trial.ap for trial in sums]) / counts
    inp = np.array([trial.inp for trial in sums]) / counts
    return DrawMetrics(
        cmc=cmc.mean(axis=0),
        mAP=float(ap.mean()),
        mINP=float(inp.mean()),
        cmc_per_draw=cmc,
        mAP_per_draw=ap,
        mINP_per_draw=inp,
        num_valid=counts,
    )
