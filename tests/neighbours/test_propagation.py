"""Propagation of labels: by hand, by repeated passing on, and how groups are split."""

import numpy as np
import pytest

from fastreid_ext.neighbours.propagation import (
    affinities,
    density_peaks,
    farthest_nodes,
    parts_of,
    propagated,
    scores_of_first,
)

COSINES = np.array([[1, 0.9, 0.5], [0.9, 1, 0.5], [0.5, 0.5, 1]])


@pytest.mark.parametrize(
    ("third", "alpha", "expected"),
    [
        (0.5, 0.99, [0, 0.52900, 0.33417]),
        (0.5, 0.5, [0, 0.20781, 0.11877]),
        (0.4, 0.99, [0, 0.55612, 0]),
    ],
)
def test_scores_by_hand(third, alpha, expected):
    """A third node at a similarity of 0.4 is below the floor of 0.45."""
    cosines = np.where(COSINES == 0.5, third, COSINES)
    links = affinities(cosines, nearest=20, floor=0.45)
    np.testing.assert_allclose(scores_of_first(links, alpha), expected, atol=1e-5)


def cosines_of(seed, count, dim=4):
    features = np.random.default_rng(seed).standard_normal((count, dim))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return features, features @ features.T


def test_nodes_are_linked_if_each_is_among_the_nearest_of_the_other():
    _, cosines = cosines_of(0, 9)
    links = affinities(cosines, nearest=3, floor=0.1)
    nearest = [set(np.argsort(-row, kind="stable")[:3].tolist()) for row in cosines]
    weights = np.zeros((9, 9))
    for i in range(9):
        for j in range(9):
            if i == j or (j in nearest[i] and i in nearest[j] and cosines[i, j] > 0.1):
                weights[i, j] = np.exp(-(2 - 2 * cosines[i, j]))
    expected = weights / np.sqrt(np.outer(weights.sum(1), weights.sum(1)))
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(links, expected, atol=1e-12)


def test_propagation_is_the_limit_of_passing_labels_on():
    _, cosines = cosines_of(1, 7)
    links = affinities(cosines, nearest=7)
    labels = np.eye(7)
    for _ in range(300):
        labels = np.eye(7) + 0.9 * links @ labels
    np.testing.assert_allclose(propagated(links, 0.9), labels, rtol=1e-9)


def test_farthest_nodes_by_loops():
    _, cosines = cosines_of(2, 12)
    chosen = farthest_nodes(cosines, 5)
    expected = [0]
    while len(expected) < 5:
        rest = [node for node in range(12) if node not in expected]
        expected.append(min(rest, key=lambda node: max(cosines[node, other] for other in expected)))
    assert chosen == expected
    assert farthest_nodes(cosines, 12) == []


def test_density_peaks_are_the_densest_node_and_those_neither_close_nor_far():
    _, cosines = cosines_of(3, 15, dim=3)
    chosen = density_peaks(cosines, 4)
    density = cosines.sum(axis=1) - 1
    heights = {}
    for node in range(15):
        denser = [cosines[node, other] for other in range(15) if density[other] > density[node]]
        heights[node] = max(denser) if denser else None
    (top,) = [node for node, height in heights.items() if height is None]
    others = [node for node, height in heights.items() if height is not None and 0.4 < height < 0.8]
    expected = [top, *sorted(others, key=lambda node: -heights[node])][:4]
    assert chosen == expected
    assert len(chosen) > 1


@pytest.mark.parametrize("anchors", ["farthest", "density"])
def test_two_heaps_are_two_parts(anchors):
    rng = np.random.default_rng(4)
    centres = np.array([[1.0, 0, 0], [0.6, 0.8, 0]])
    features = np.repeat(centres, 6, axis=0) + 0.05 * rng.standard_normal((12, 3))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    parts = parts_of(features, anchors=anchors, parts=2)
    assert len(set(parts[:6])) == len(set(parts[6:])) == 1
    assert parts[0] != parts[6]


def test_group_without_anchors_is_not_split():
    features, _ = cosines_of(5, 8)
    assert parts_of(features, anchors="farthest", parts=8) is None
