"""Scores of each query: AP by two rules, INP and the rank of the first match.

Letters: Q queries, G gallery images, R rows (queries) of one chunk.
"""

import dataclasses
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastreid_ext.evaluation.distances import Products
from fastreid_ext.evaluation.rank_labels import RankLabels, SamePerson
from fastreid_ext.evaluation.ranking_numba import score_rows
from fastreid_ext.evaluation.ranking_torch import score_tensors
from fastreid_ext.evaluation.row_threads import RowThreads

MAX_RANK = 50


@dataclasses.dataclass(frozen=True)
class QueryScores:
    """Scores of Q queries, all in [0, 1] and NaN where the gallery has no valid match.

    Attributes:
        fastreid_ap: (Q,) mean of the precision at each match.
        market_ap: (Q,) area of the trapezoids under precision and recall.
        inverse_penalty: (Q,) INP, number of matches / rank of the last.
        first_match: (Q,) rank of the first match from 1; 0 where there is none.
    """

    fastreid_ap: NDArray[np.float64]
    market_ap: NDArray[np.float64]
    inverse_penalty: NDArray[np.float64]
    first_match: NDArray[np.int64]

    def cmc(self, chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return the share (50,) of the chosen (Q,) queries with a match at rank 1..k."""
        return (self.first_match[chosen][:, None] <= np.arange(1, MAX_RANK + 1)).mean(axis=0)


def score_chunks(chunks: Iterable[Products | Tensor], labels: RankLabels) -> QueryScores:
    """Score every query from chunks of its distances.

    On the CPU the rows are shared among torch's threads; each row is scored by itself, so their
    number changes nothing.

    Args:
        chunks: the distances of successive queries, as products or as a tensor (R, G), float32 or
            (on the CPU) float64. Products are overwritten.
        labels: of all queries and the gallery.

    Raises:
        ValueError: the chunks do not have one row for each query.
    """
    same = SamePerson.of(labels)
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
                _on_the_cpu(threads, chunk, labels, same, rows, scores, first_match)
            else:
                distances = chunk.as_distances() if isinstance(chunk, Products) else chunk
                found = score_where_they_are(distances, labels, same, rows)
                scores[rows], first_match[rows] = found
    if start != len(scores):
        raise ValueError(f"expected {len(scores)} rows of distances, got {start} or more")
    return QueryScores(*scores.T, first_match)


def _on_the_cpu(
    threads: RowThreads,
    chunk: Products | Tensor,
    labels: RankLabels,
    same: SamePerson,
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
    """Return values and their offsets and scale; those are empty for distances."""
    if isinstance(chunk, Products):
        parts = (chunk.values, chunk.row_offset, chunk.column_offset, chunk.column_scale)
        return tuple(part.numpy() for part in parts)
    distances = chunk.numpy()
    nothing = np.zeros(0, distances.dtype)
    return distances, nothing, nothing, nothing


def score_where_they_are(
    distances: Tensor, labels: RankLabels, same: SamePerson, rows: slice
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Score a chunk with tensor operations on its own device; the distances stay there.

    Args:
        distances: (R, G) float32 of the queries ``rows``.
        labels: of all queries and the gallery.
        same: where each query's person is.
        rows: which queries these are.

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
