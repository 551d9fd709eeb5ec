"""Reliability of clusters: by hand, by loops over sets of images, and what it must keep."""

import numpy as np
import pytest

from fastreid_ext.neighbours import (
    disagreement,
    independence_limit,
    noise_apart,
    reliable_labels,
)


def sets_of(labels):
    """List the set of images that share the cluster of each image, noise apart."""
    return [
        {j for j, other in enumerate(labels) if j == i or (label >= 0 and other == label)}
        for i, label in enumerate(labels)
    ]


def random_clusters(seed, images=60, clusters=9):
    """Number random clusters from 0 without gaps, with some noise."""
    labels = np.random.default_rng(seed).integers(-1, clusters, images)
    return np.unique(labels, return_inverse=True)[1] - int((labels < 0).any())


def test_disagreement_and_reliability_by_hand():
    """A = {0, 1, 2}, {3}; tight {0, 1}, {2}, {3}; loose all four."""
    labels = np.array([0, 0, 0, -1])
    tight = disagreement(labels, np.array([0, 0, -1, -1]))
    loose = disagreement(labels, np.zeros(4, int))
    np.testing.assert_allclose(tight, [1 / 3, 1 / 3, 2 / 3, 0])
    np.testing.assert_allclose(loose, [1 / 4, 1 / 4, 1 / 4, 3 / 4])
    assert reliable_labels(labels, tight, loose, limit=0.25).tolist() == [0, 0, -1, -1]
    assert reliable_labels(labels, tight, loose, limit=0.2).tolist() == [-1, -1, -1, -1]


@pytest.mark.parametrize("seed", range(3))
def test_disagreement_equals_loops_over_sets(seed):
    labels = random_clusters(seed)
    others = random_clusters(seed + 10)
    pairs = zip(sets_of(labels), sets_of(others), strict=True)
    expected = [1 - len(own & other) / len(own | other) for own, other in pairs]
    np.testing.assert_allclose(disagreement(labels, others), expected)


@pytest.mark.parametrize(
    ("clusters", "place"),
    [(1, 0), (2, 1), (5, 4), (10, 9), (15, 14), (500, 450), (600, 540)],
)
def test_limit_is_that_of_the_cluster_at_nine_tenths(clusters, place):
    """Of two images each, the second with the smaller value; a lone image is not counted."""
    rng = np.random.default_rng(0)
    values = rng.permutation(clusters) / clusters
    labels = np.append(np.repeat(np.arange(clusters), 2), [clusters, -1])
    to_loose = np.append(np.repeat(values, 2), [0.0, 0.0])
    to_loose[0 : 2 * clusters : 2] += 0.5
    assert independence_limit(labels, to_loose) == np.sort(values)[place]


def test_limit_without_clusters_is_0():
    assert independence_limit(np.full(4, -1), np.zeros(4)) == 0


@pytest.mark.parametrize("seed", range(3))
def test_reliable_images_are_those_of_the_rule_written_as_loops(seed):
    labels = random_clusters(seed)
    rng = np.random.default_rng(seed)
    tight = rng.integers(0, 3, len(labels)) / 4
    loose = rng.integers(1, 4, len(labels)) / 4
    kept = {}
    for cluster in range(labels.max() + 1):
        members = np.flatnonzero(labels == cluster)
        if loose[members].min() <= 0.25:
            kept[cluster] = [i for i in members if tight[i] <= tight[members].min()]
    groups = [images for _, images in sorted(kept.items()) if len(images) > 1]
    expected = np.full(len(labels), -1)
    for number, images in enumerate(groups):
        expected[images] = number
    assert 0 < len(groups) < labels.max() + 1
    assert reliable_labels(labels, tight, loose, limit=0.25).tolist() == expected.tolist()


def test_equal_clusters_at_every_eps_are_kept():
    labels = random_clusters(4)
    same = disagreement(labels, labels)
    assert not same.any()
    assert reliable_labels(labels, same, same, limit=0.0).tolist() == labels.tolist()


def test_noise_images_become_clusters_of_their_own():
    assert noise_apart(np.array([-1, 1, 0, -1, 1])).tolist() == [2, 1, 0, 3, 1]
    assert noise_apart(np.full(3, -1)).tolist() == [0, 1, 2]
