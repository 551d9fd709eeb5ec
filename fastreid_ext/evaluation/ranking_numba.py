"""Ranks of the positives of a query, counted in compiled code; see :mod:`ranking`.

Letters: R rows (queries) of one chunk, G gallery images, P positives of a query.
"""

# ruff: noqa: ANN001, ANN201, ANN202 (numba types arguments)
import numba
import numpy as np

# Searching for the place of one distance costs about as much as this many vectorised comparisons.
_SEARCH_COST = 800
_BLOCK = 64  # distances that are skipped together if all lie beyond the worst positive


@numba.njit(cache=True, nogil=True)
def _finish(row, row_offset, column_offset, column_scale):
    """Turn products into distances, in place; see ``distances.Products``."""
    for index in range(len(row)):
        row[index] = (row_offset + column_offset[index]) + column_scale[index] * row[index]


@numba.njit(cache=True, nogil=True)
def _count_up_to(values, limit):
    count = 0
    for index in range(len(values)):  # by index: numba vectorises no loop over values
        count += values[index] <= limit
    return count


@numba.njit(cache=True, nogil=True)
def _count_below(values, limit):
    count = 0
    for index in range(len(values)):  # by index: numba vectorises no loop over values
        count += values[index] < limit
    return count


@numba.njit(cache=True, nogil=True)
def _place(distance, index, positive_distances, positives):
    """Position of the first positive that (distance, index) does not come after."""
    low = 0
    high = len(positives)
    while low < high:
        middle = (low + high) // 2
        value = positive_distances[middle]
        if value < distance or (value == distance and positives[middle] < index):
            low = middle + 1
        else:
            high = middle
    return low


@numba.njit(cache=True, nogil=True)
def _ranks_by_search(row, positive_distances, positives):
    """Place each distance up to the worst positive among the positives: for few such distances."""
    worst = positive_distances[-1]
    counts = np.zeros(len(positives) + 1, np.int64)
    for start in range(0, len(row), _BLOCK):
        block = row[start : start + _BLOCK]
        if _count_up_to(block, worst) == 0:
            continue
        for offset in range(len(block)):
            if block[offset] <= worst:
                counts[_place(block[offset], start + offset, positive_distances, positives)] += 1
    return np.cumsum(counts[:-1])


@numba.njit(cache=True, nogil=True)
def _ranks_by_comparison(row, positive_distances, positives):
    """Compare each positive with the whole row: no branches, so for many near distances."""
    ranks = np.empty(len(positives), np.int64)
    for number in range(len(positives)):
        index = positives[number]
        distance = positive_distances[number]
        before = _count_up_to(row[: index + 1], distance)  # itself, and ties that come earlier
        ranks[number] = before + _count_below(row[index + 1 :], distance)
    return ranks


@numba.njit(cache=True, nogil=True)
def _positive_ranks(row, same_pid, is_positive):
    """1-based ranks of the positives in one row of distances, junk removed; ascending."""
    positives = same_pid[is_positive]  # ascending gallery positions
    positives = positives[np.argsort(row[positives], kind="mergesort")]  # stable
    distances = row[positives]
    near = _count_up_to(row, distances[-1])
    if near * _SEARCH_COST < len(positives) * len(row):
        ranks = _ranks_by_search(row, distances, positives)
    else:
        ranks = _ranks_by_comparison(row, distances, positives)
    for index in same_pid[~is_positive]:
        ranks[_place(row[index], index, distances, positives) :] -= 1
    return ranks


@numba.njit(cache=True, nogil=True)
def score_rows(
    distances,
    row_offset,
    column_offset,
    column_scale,
    by_pid,
    first,
    last,
    query_camids,
    gallery_camids,
    scores,
    first_match,
):
    """Fill the scores of each row that has a positive.

    Args:
        distances: (R, G) float; products, overwritten by distances, if ``column_scale`` has values.
        row_offset: (R,); see ``distances.Products``.
        column_offset: (G,).
        column_scale: (G,), or (0,) where ``distances`` are distances.
        by_pid: (G,) gallery positions sorted by person id, ascending within a person.
        first: (R,) where the query's person begins in ``by_pid``.
        last: (R,) where it ends.
        query_camids: (R,).
        gallery_camids: (G,).
        scores: (R, 3) AP by fastreid's rule, AP by Market's rule and INP, written.
        first_match: (R,) rank of the first match, from 1, written.
    """
    for row in range(len(distances)):
        same_pid = by_pid[first[row] : last[row]]
        is_positive = gallery_camids[same_pid] != query_camids[row]
        if not is_positive.any():
            continue
        if len(column_scale):
            _finish(distances[row], row_offset[row], column_offset, column_scale)
        ranks = _positive_ranks(distances[row], same_pid, is_positive)
        mean_precision = 0.0
        trapezoids = 0.0
        for i, rank in enumerate(ranks):
            at_match = (i + 1) / rank
            # The precision just before the match; 1 before the first image.
            before = i / (rank - 1) if rank > 1 else 1.0
            mean_precision += at_match
            trapezoids += (before + at_match) / 2
        scores[row, 0] = mean_precision / len(ranks)
        scores[row, 1] = trapezoids / len(ranks)
        scores[row, 2] = len(ranks) / ranks[-1]
        first_match[row] = ranks[0]
