"""Scores of single queries: AP by two rules, INP and the rank of the first match.

Letters: Q queries, G gallery images, R rows (queries) of one chunk.
"""

import dataclasses
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastreid_ext.evaluation.distances import Products
from fastreid_ext.evaluation.rank_labels import RankLabels, SameIdentity
from fastreid_ext.evaluation.ranking_numba import score_rows
from fastreid_ext.evaluation.ranking_torch import score_tensors
from fastreid_ext.neighbours.row_threads import RowThreads

MAX_RANK = 50


@dataclasses.dataclass(frozen=True)
class QueryScores:
    """Scores of Q queries in [0, 1]; NaN for queries without a valid match in the gallery.

    Attributes:
        fastreid_ap: (Q,) mean of the precision at each match.
        market_ap: (Q,) area of the trapezoids under precision and recall.
        inverse_penalty: (Q,) INP, number of matches / rank of the last match.
        first_match: (Q,) rank of the first match, from 1; 0 without one.
    """

    fastreid_ap: NDArray[np.float64]
    market_ap: NDArray[np.float64]
    inverse_penalty: NDArray[np.float64]
    first_match: NDArray[np.int64]

    def cmc(self, chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Compute the share (50,) of the chosen (Q,) queries with a match at rank 1..k."""
        return (self.first_match[chosen][:, None] <= np.arange(1, MAX_RANK + 1)).mean(axis=0)


def score_chunks(chunks: Iterable[Products | Tensor], labels: RankLabels) -> QueryScores:
    """Score every query from chunks of its distances.

    On the CPU the rows are shared among torch's threads; each row is scored by itself, so the
    number of threads does not change scores.

    Args:
        chunks: distances of successive queries, as products or as a tensor (R, G), float32 or (on
            the CPU) float64. Products are overwritten.
        labels: labels of all queries and the gallery.

    Raises:
        ValueError: the chunks have more or fewer rows than there are queries.
    """
    same = SameIdentity.of(labels)
    scores = np.full((len(labels.query_pids), 3), np.nan)
    first_match = np.zeros(len(labels.query_pids), np.int64)
    start = 0
    with RowThreads() as threads:
        for chunk in chunks:
            values = chunk.values if isinstance(chunk, Products) else chunk
            rows = slice(start, start + len(values))
            start = rows.stop
            if start > len(scores):
                break
            if values.device.type == "cpu":
                _score_on_cpu(threads, chunk, labels, same, rows, scores, first_match)
            else:
                distances = chunk.as_distances() if isinstance(chunk, Products) else chunk
                found = score_on_device(distances, labels, same, rows)
                scores[rows], first_match[rows] = found
    if start != len(scores):
        raise ValueError(f"expected {len(scores)} rows of distances, got {start} or more")
    return QueryScores(*scores.T, first_match)


def _score_on_cpu(
    threads: RowThreads,
    chunk: Products | Tensor,
    labels: RankLabels,
    same: SameIdentity,
    rows: slice,
    scores: NDArray[np.float64],
    first_match: NDArray[np.int64],
) -> None:
    arrays = _arrays(chunk)

    def score(part: slice) -> None:
        within = slice(part.start - rows.start, part.stop - rows.start)
        values, row_offset, column_offset, column_scale = arrays
        score_rows(
            values[within],
            row_offset[within],
            column_offset,
            column_scale,
            same.by_pid,
            same.first[part],
            same.last[part],
            labels.query_camids[part],
            labels.gallery_camids,
            scores[part],
            first_match[part],
        )

    threads.over(rows, score)


def _arrays(chunk: Products | Tensor) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """Convert a chunk to arrays: values, offsets and scale; of distances the latter are empty."""
    if isinstance(chunk, Products):
        parts = (chunk.values, chunk.row_offset, chunk.column_offset, chunk.column_scale)
        return tuple(part.numpy() for part in parts)
    distances = chunk.numpy()
    nothing = np.zeros(0, distances.dtype)
    return distances, nothing, nothing, nothing


def score_on_device(
    distances: Tensor, labels: RankLabels, same: SameIdentity, rows: slice
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Score a chunk with tensor operations on the device of its distances.

    Args:
        distances: (R, G) float32 distances of the queries ``rows``.
        labels: labels of all queries and the gallery.
        same: positions of each query's identity in the gallery.
        rows: positions of the queries of this chunk.

    Returns:
        (R, 3) AP by fastreid's rule, AP by Market's rule, INP, and (R,) ranks of the first matches.
    """
    first = same.first[rows]
    last = same.last[rows]
    offsets = first[:, None] + np.arange(max(1, (last - first).max()))
    exists = offsets < last[:, None]
    same_pid = same.by_pid[offsets.clip(max=len(same.by_pid) - 1)]
    is_match = labels.gallery_camids[same_pid] != labels.query_camids[rows][:, None]
    on_device = (torch.from_numpy(a).to(distances.device) for a in (same_pid, exists, is_match))
    scores, first_match = score_tensors(distances, *on_device)
    return scores.cpu().numpy(), first_match.cpu().numpy()
