"""Scores of several draws at once, against loops over each draw."""

import numpy as np
import pytest

from fastreid_ext.evaluation.visible_infrared.draw_scores import score_draws

QUERIES = 30
GALLERY = 60
IDENTITIES = 6


def slow(values, drawn, pids, pid, is_junk):
    """AP, INP, rank of the first match, and rank of its identity, of one query in one draw."""
    order = sorted(
        (g for g in np.flatnonzero(drawn) if not is_junk[g]), key=lambda g: (values[g], g)
    )
    found = [pids[g] for g in order]
    ranks = [place for place, other in enumerate(found, start=1) if other == pid]
    if not ranks:
        return [0, 0, 0, 0]
    precisions = [number / place for number, place in enumerate(ranks, start=1)]
    identity = list(dict.fromkeys(found)).index(pid) + 1
    return [np.mean(precisions), len(ranks) / ranks[-1], ranks[0], identity]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("levels", [3, 10_000_000])  # of distances: many equal ones, or none
@pytest.mark.parametrize("draws", [1, 4])
def test_equals_loops(levels, draws, dtype):
    rng = np.random.default_rng(levels + draws)
    distances = rng.integers(0, levels, (QUERIES, GALLERY)).astype(dtype)
    pids = rng.integers(0, IDENTITIES, GALLERY)
    camids = rng.integers(1, 4, GALLERY)
    own = rng.integers(-1, IDENTITIES, QUERIES)  # -1: not in the gallery
    query_camids = rng.integers(1, 4, QUERIES)
    member = (rng.random((GALLERY, draws)) < 0.2).astype(np.uint8)
    by_pid = np.argsort(pids, kind="stable")
    bounds = np.searchsorted(pids[by_pid], np.arange(IDENTITIES + 1))
    scores = np.zeros((QUERIES, draws, 2))
    ranks = np.zeros((QUERIES, draws, 2), np.int64)
    labels = (pids, by_pid, bounds, own, query_camids, camids)
    score_draws(distances, member, *labels, scores, ranks)
    found = np.concatenate([scores, ranks], axis=2)
    for query in range(QUERIES):
        is_junk = (pids == own[query]) & (camids == query_camids[query])
        for draw in range(draws):
            expected = slow(distances[query], member[:, draw], pids, own[query], is_junk)
            assert found[query, draw].tolist() == pytest.approx(expected)
    assert (ranks == 0).any()
    assert (ranks > 1).any()


def test_extreme_distances_keep_their_order():
    """Matches at equal, huge and tiny distances: the intervals between them may be empty."""
    pids = np.array([0, 0, 0, 1])
    labels = (pids, np.arange(4), np.array([0, 3, 4]), np.zeros(3, np.int64))
    cameras = (np.full(3, 6), np.full(4, 1))
    distances = np.array(
        [[0.5, 0.5, 0.5, 0.5], [1e-38, 3e38, 2.0, 1.0], [0.0, 1e-45, 1e-44, 1e-45]], np.float32
    )
    scores = np.zeros((3, 1, 2))
    ranks = np.zeros((3, 1, 2), np.int64)
    score_draws(distances, np.ones((4, 1), np.uint8), *labels, *cameras, scores, ranks)
    assert scores[0, 0].tolist() == [1, 1]
    assert scores[1, 0].tolist() == pytest.approx([(1 + 2 / 3 + 3 / 4) / 3, 3 / 4])
    assert scores[2, 0].tolist() == pytest.approx([(1 + 1 + 3 / 4) / 3, 3 / 4])
