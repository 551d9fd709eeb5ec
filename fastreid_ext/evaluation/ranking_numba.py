"""Ranking of the positives of each query, counted in compiled code; see :mod:`ranking`.

Letters: R rows (queries) of one chunk, G gallery images, P positives of a query.
"""

# ruff: noqa: ANN001, ANN201, ANN202 (numba types arguments)
import numba
import numpy as np

# Searching the place of one distance costs about as much as this many vectorised comparisons.
_SEARCH_COST = 800
_BLOCK = 64  # distances skipped together if all are beyond the farthest positive


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
    """Find the position of the first positive that is not before (distance, index)."""
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
    """Count ranks by placing each distance among the positives; fast if few are near."""
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
    """Count ranks by comparing each positive with the whole row; fast if many are near."""
    ranks = np.empty(len(positives), np.int64)
    for number in range(len(positives)):
        index = positives[number]
        distance = positive_distances[number]
        before = _count_up_to(row[: index + 1], distance)  # itself, and ties that come earlier
        ranks[number] = before + _count_below(row[index + 1 :], distance)
    return ranks


@numba.njit(cache=True, nogil=True)
def _positive_ranks(row, same_pid, is_positive):
    """Count the ascending 1-based ranks of the positives in one row, junk removed."""
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
    """Compute the scores of each row that has a positive, in place.

    Args:
        distances: (R, G) float distances, or products, which distances then overwrite.
        row_offset: (R,) offsets of the rows of products, see ``distances.Products``.
        column_offset: (G,) offsets of the columns of products.
        column_scale: (G,) factors of the columns of products; (0,) for distances.
        by_pid: (G,) gallery positions sorted by identity, ascending within one.
        first: (R,) start of the query's identity in ``by_pid``.
        last: (R,) end of the query's identity in ``by_pid``, exclusive.
        query_camids: (R,) camera ids of the queries.
        gallery_camids: (G,) camera ids of the gallery images.
        scores: (R, 3) output: AP by fastreid's rule, AP by Market's rule and INP.
        first_match: (R,) output: rank of the first match, from 1.
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
