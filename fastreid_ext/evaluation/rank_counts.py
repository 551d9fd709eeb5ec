"""Ranks of the positives of a query, counted in compiled code; see :mod:`ranking`.

Letters: R rows (queries) of one chunk, G gallery images.
"""

# ruff: noqa: ANN001, ANN201, ANN202 (numba types arguments)
import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def _place(distance, index, positive_distances, positives):
    """Position of the first positive that (distance, index) does not come after."""
    low, high = 0, len(positives)
    while low < high:
        middle = (low + high) // 2
        value = positive_distances[middle]
        if value < distance or (value == distance and positives[middle] < index):
            low = middle + 1
        else:
            high = middle
    return low


@numba.njit(cache=True, nogil=True)
def _positive_ranks(row, same_pid, is_positive):
    """1-based ranks of the positives in one row of distances, junk removed; ascending."""
    positives = same_pid[is_positive]  # ascending gallery positions
    order = np.argsort(row[positives], kind="mergesort")  # stable
    positives = positives[order]
    positive_distances = row[positives]
    worst = positive_distances[-1]
    counts = np.zeros(len(positives) + 1, np.int64)
    for index in range(len(row)):
        if row[index] <= worst:
            counts[_place(row[index], index, positive_distances, positives)] += 1
    for index in same_pid[~is_positive]:
        if row[index] <= worst:
            counts[_place(row[index], index, positive_distances, positives)] -= 1
    return np.cumsum(counts[:-1])


@numba.njit(cache=True, nogil=True)
def score_rows(
    distances,
    by_pid,
    first,
    last,
    query_camids,
    gallery_camids,
    trapezoid,
    precision,
    inverse_penalty,
    first_match,
):
    """Fill AP, INP and rank of the first match for each row that has a positive.

    Args:
        distances: (R, G) float.
        by_pid: (G,) gallery positions sorted by person id, ascending within a person.
        first: (R,) where the query's person begins in ``by_pid``.
        last: (R,) where it ends.
        query_camids: (R,).
        gallery_camids: (G,).
        trapezoid: whether AP follows the official Market-1501 rule.
        precision: (R,) AP, written.
        inverse_penalty: (R,) INP, written.
        first_match: (R,) rank of the first match, from 1, written.
    """
    for row in range(len(distances)):
        same_pid = by_pid[first[row] : last[row]]
        is_positive = gallery_camids[same_pid] != query_camids[row]
        if not is_positive.any():
            continue
        ranks = _positive_ranks(distances[row], same_pid, is_positive)
        total = 0.0
        for i, rank in enumerate(ranks):
            at_match = (i + 1) / rank
            if trapezoid:  # the precision just before the match, 1 before the first image
                before = i / (rank - 1) if rank > 1 else 1.0
                at_match = (before + at_match) / 2
            total += at_match
        precision[row] = total / len(ranks)
        inverse_penalty[row] = len(ranks) / ranks[-1]
        first_match[row] = ranks[0]
