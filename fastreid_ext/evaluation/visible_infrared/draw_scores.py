"""Scores of queries in several gallery draws at once, counted in compiled code.

The rank of a match in a draw is the number of drawn images that are not behind it. So each image is
placed once among the query's matches of all draws, and counted there in each draw that has it; no
draw is ranked by itself, and nothing but the matches is sorted.

Visible-infrared CMC counts identities: an identity of the gallery stands where its nearest image
stands, and its further images do not count. Its rank needs the identities that have an image before
the nearest match.

Letters: R rows (queries) of one chunk, G gallery images, T draws, K identities of the gallery, P
matches of a query in any draw.
"""

# ruff: noqa: ANN001, ANN201, ANN202 (numba types arguments)
import numba
import numpy as np

# Equal intervals between the nearest and the farthest match, to find places without a search.
_BUCKETS = 256


@numba.njit(cache=True, nogil=True)
def _nearest_matches(matches, member):
    """Find for each draw the place of its nearest match; -1 for a draw without one."""
    nearest = np.full(member.shape[1], -1)
    for place in range(len(matches) - 1, -1, -1):
        for draw in range(len(nearest)):
            if member[matches[place], draw]:
                nearest[draw] = place
    return nearest


@numba.njit(cache=True, nogil=True)
def _bucket(distance, least, scale):
    """Number the interval of a distance; farther ones have no smaller number."""
    return int(min(max((distance - least) * scale, 0), _BUCKETS - 1))


@numba.njit(cache=True, nogil=True)
def _bucket_starts(match_distances, least, scale):
    """Find for each interval the first match that is not in an earlier one."""
    starts = np.empty(_BUCKETS, np.int64)
    place = 0
    for bucket in range(_BUCKETS):
        while (
            place < len(match_distances) - 1
            and _bucket(match_distances[place], least, scale) < bucket
        ):
            place += 1
        starts[bucket] = place
    return starts


@numba.njit(cache=True, nogil=True)
def _place_from(place, distance, index, match_distances, matches):
    """Find the first match from ``place`` on that is not before (distance, index)."""
    while place < len(matches) and (
        match_distances[place] < distance
        or (match_distances[place] == distance and matches[place] < index)
    ):
        place += 1
    return place


@numba.njit(cache=True, nogil=True)
def _count(values, matches, is_junk, member, identity, nearest, counts, seen):
    """Count each image at its place among the matches, and note identities before the nearest.

    Args:
        values: (G,) distances of one query.
        matches: (P,) gallery positions of its matches, the nearest first.
        is_junk: (G,) images that do not count, or (0,) for none.
        member: (G, T) 1 for an image of a draw.
        identity: (G,) identity of each image among the K.
        nearest: (T,) places of the nearest matches; -1 for none.
        counts: (P + 1, T) output, zeros before: images of a draw at each place.
        seen: (K, T) output, zeros before: 1 for an identity before the draw's nearest match.
    """
    match_distances = values[matches]
    least = match_distances[0]
    worst = match_distances[-1]
    scale = (_BUCKETS - 1) / max(worst - least, np.float32(1e-30))
    starts = _bucket_starts(match_distances, least, scale)
    farthest = nearest.max()
    for index in range(len(values)):
        distance = values[index]
        if distance > worst or (len(is_junk) and is_junk[index]):
            continue
        place = starts[_bucket(distance, least, scale)]
        place = _place_from(place, distance, index, match_distances, matches)
        for draw in range(len(nearest)):
            counts[place, draw] += member[index, draw]
        if place <= farthest:
            own = identity[index]
            for draw in range(len(nearest)):
                seen[own, draw] |= member[index, draw] & np.uint8(place <= nearest[draw])


@numba.njit(cache=True, nogil=True)
def _scores_of_draw(matches, member, counts, draw):
    """Compute AP, INP and the rank of the first match of one draw."""
    rank = 0
    found = 0
    precisions = 0.0
    first = 0
    for place in range(len(matches)):
        rank += counts[place, draw]
        if member[matches[place], draw]:
            found += 1
            precisions += found / rank
            last = rank
            if found == 1:
                first = rank
    return precisions / found, found / last, first


@numba.njit(cache=True, nogil=True)
def score_draws(
    distances, member, identity, by_pid, bounds, own, query_camids, gallery_camids, scores, ranks
):
    """Compute the scores of each row in each draw, in place; rows without a match stay.

    Images of a query's identity and camera do not count. Equal distances are ranked by gallery
    position.

    Args:
        distances: (R, G) float distances.
        member: (G, T) uint8, 1 for an image of a draw.
        identity: (G,) identity of each image among the K.
        by_pid: (G,) gallery positions sorted by identity, ascending within one.
        bounds: (K + 1,) identity k has the positions ``by_pid[bounds[k] : bounds[k + 1]]``.
        own: (R,) identity of each query among the K; -1 for one that the gallery lacks.
        query_camids: (R,) cameras of the queries.
        gallery_camids: (G,) cameras of the gallery images.
        scores: (R, T, 2) output: AP, the mean precision at each match, and INP.
        ranks: (R, T, 2) output, from 1: rank of the first match among the images, and rank of its
            identity among the identities.
    """
    draws = member.shape[1]
    identities = len(bounds) - 1
    for row in range(len(distances)):
        if own[row] < 0:
            continue
        values = distances[row]
        same_pid = by_pid[bounds[own[row]] : bounds[own[row] + 1]]
        is_match = gallery_camids[same_pid] != query_camids[row]
        matches = same_pid[is_match]
        if len(matches) == 0:
            continue
        matches = matches[np.argsort(values[matches], kind="mergesort")]  # stable
        is_junk = np.zeros(0, np.bool_)
        if len(matches) < len(same_pid):
            is_junk = np.zeros(len(values), np.bool_)
            is_junk[same_pid[~is_match]] = True
        nearest = _nearest_matches(matches, member)
        counts = np.zeros((len(matches) + 1, draws), np.int32)
        seen = np.zeros((identities, draws), np.uint8)
        _count(values, matches, is_junk, member, identity, nearest, counts, seen)
        seen[own[row]] = 0
        for draw in range(draws):
            if nearest[draw] < 0:
                continue
            ap, inp, first = _scores_of_draw(matches, member, counts, draw)
            scores[row, draw, 0] = ap
            scores[row, draw, 1] = inp
            ranks[row, draw, 0] = first
            ranks[row, draw, 1] = 1 + seen[:, draw].astype(np.int64).sum()
