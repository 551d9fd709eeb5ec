"""Ranking of several galleries that are drawn from one set of images, in bounded memory.

Similarities to all drawn images are computed once, some queries at a time, and all draws are scored
from them together (:mod:`.draw_scores`). AP and INP are per image, CMC per identity. Equal
distances are ranked by gallery position.

Letters: Q queries, G gallery images, T draws, D feature dimension.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from fastreid_ext.evaluation.distances import DistanceChunks
from fastreid_ext.evaluation.query_scores import MAX_RANK
from fastreid_ext.evaluation.rank_labels import RankLabels
from fastreid_ext.evaluation.visible_infrared.draw_scores import score_draws
from fastreid_ext.neighbours.row_threads import RowThreads

Rows = NDArray[np.int64]
# Distances held at a time: 32 MiB, which stay near the processor.
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
        gallery: gallery positions of the trial, in any order.
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
    _expect_draws([part for parts in trials for part in parts], labels)
    query = torch.as_tensor(query_features)
    gallery = torch.as_tensor(gallery_features)
    labels.expect(len(query), len(gallery))
    scores = np.zeros((len(query), len(trials), 2))
    ranks = np.zeros((len(query), len(trials), 2), np.int64)
    for own in _groups(trials, len(query)):
        used = np.unique(np.concatenate([part.gallery for part in own.parts]))
        chunks = DistanceChunks(
            _rows(query, own.queries), _rows(gallery, used), "cosine", chunk_values=_CHUNK_VALUES
        )
        _score(chunks, own, used, labels, scores, ranks)
        ranks[own.queries] *= own.takes_part[:, :, None]
    return _metrics(scores, ranks[:, :, int(collapse)])


@dataclasses.dataclass(frozen=True)
class _Group:
    """Queries that see the same gallery in each trial.

    Attributes:
        queries: positions of the queries, ascending.
        parts: part of each of the T trials whose gallery they see.
        takes_part: (queries, T) bool, False for a trial that does not rank the query.
    """

    queries: Rows
    parts: Sequence[Draw]
    takes_part: NDArray[np.bool_]


def _groups(trials: Sequence[Sequence[Draw]], count: int) -> list[_Group]:
    """Group the queries by the parts of the trials that they are in.

    A trial that does not rank a query may have any gallery for it.
    """
    part_of = np.full((count, len(trials)), -1)
    for trial, parts in enumerate(trials):
        for number, part in enumerate(parts):
            part_of[part.queries, trial] = number
    seen, group = np.unique(part_of.clip(min=0), axis=0, return_inverse=True)
    groups = []
    for number, parts in enumerate(seen.tolist()):
        is_own = (group.ravel() == number) & (part_of >= 0).any(axis=1)
        if is_own.any():
            chosen = [trials[trial][part] for trial, part in enumerate(parts)]
            groups.append(_Group(np.flatnonzero(is_own), chosen, part_of[is_own] >= 0))
    return groups


def _rows(features: Tensor, rows: Rows) -> Tensor:
    """Select rows of features, without a copy if these are all."""
    if len(rows) == len(features):
        return features
    return features[torch.from_numpy(rows).to(features.device)]


def _score(
    chunks: DistanceChunks,
    own: _Group,
    used: Rows,
    labels: RankLabels,
    scores: NDArray[np.float64],
    ranks: Rows,
) -> None:
    """Score the queries of a group in all trials, in place."""
    member = np.stack([np.isin(used, part.gallery) for part in own.parts], axis=1)
    pids, identity = np.unique(labels.gallery_pids[used], return_inverse=True)
    by_pid = np.argsort(identity, kind="stable")
    bounds = np.searchsorted(identity[by_pid], np.arange(len(pids) + 1))
    query_pids = labels.query_pids[own.queries]
    place = np.searchsorted(pids, query_pids).clip(max=len(pids) - 1)
    identity_of_query = np.where(pids[place] == query_pids, place, -1)
    found_scores = np.zeros((len(own.queries), *scores.shape[1:]))
    found_ranks = np.zeros((len(own.queries), *ranks.shape[1:]), np.int64)
    gallery_camids = labels.gallery_camids[used]
    query_camids = labels.query_camids[own.queries]
    start = 0
    with RowThreads() as threads:
        for products in chunks:
            # On the CPU: kernels there count ranks, and rows are few.
            distances = products.as_distances().cpu().numpy()
            first = start
            start += len(distances)

            def score(rows: slice, distances: NDArray = distances, first: int = first) -> None:
                score_draws(
                    distances[rows.start - first : rows.stop - first],
                    member.view(np.uint8),
                    identity,
                    by_pid,
                    bounds,
                    identity_of_query[rows],
                    query_camids[rows],
                    gallery_camids,
                    found_scores[rows],
                    found_ranks[rows],
                )

            threads.over(slice(first, start), score)
    scores[own.queries] = found_scores
    ranks[own.queries] = found_ranks


def _expect_draws(parts: Sequence[Draw], labels: RankLabels) -> None:
    """Refuse impossible draws."""
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


def _metrics(scores: NDArray[np.float64], ranks: Rows) -> DrawMetrics:
    """Average scores (Q, T, 2) and ranks (Q, T), 0 without a match, over the valid queries."""
    is_valid = ranks > 0
    counts = is_valid.sum(axis=0)
    if not counts.all():
        raise ValueError(
            "no query identity appears in a drawn gallery, so nothing can be ranked; check the "
            "identity and camera labels of query and gallery"
        )
    within = ranks[:, :, None] <= np.arange(1, MAX_RANK + 1)
    cmc = (within & is_valid[:, :, None]).sum(axis=0) / counts[:, None]
    ap, inp = np.where(is_valid[:, :, None], scores, 0).sum(axis=0).T / counts
    return DrawMetrics(
        cmc=cmc.mean(axis=0),
        mAP=float(ap.mean()),
        mINP=float(inp.mean()),
        cmc_per_draw=cmc,
        mAP_per_draw=ap,
        mINP_per_draw=inp,
        num_valid=counts,
    )
