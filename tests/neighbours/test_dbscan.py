"""DBSCAN on sparse distances: rules of scikit-learn, equal labels to the dense way, bad input."""

import numpy as np
import pytest
import scipy.sparse
from sklearn.cluster import DBSCAN

from fastreid_ext.neighbours import dbscan_labels, jaccard_distances

from .dense_jaccard import dense_jaccard
from .test_jaccard import clusters


def test_points_at_exactly_eps_are_neighbours():
    assert dbscan_labels(scipy.sparse.csr_array(np.full((4, 4), 0.3)), eps=0.3).tolist() == [0] * 4
    # Rounded up by a little, as sums of weights are.
    distances = scipy.sparse.csr_array(np.full((4, 4), 0.5 + 1e-6))
    assert dbscan_labels(distances, eps=0.5).tolist() == [0] * 4
    distances = scipy.sparse.csr_array(np.full((4, 4), 0.5001))
    assert dbscan_labels(distances, eps=0.5).tolist() == [-1] * 4


def test_stored_zeros_are_neighbours_and_missing_entries_are_not():
    rows, columns = np.indices((4, 4)).reshape(2, -1)
    stored = scipy.sparse.csr_array((np.zeros(16), (rows, columns)), shape=(4, 4))
    assert stored.nnz == 16
    assert dbscan_labels(stored, eps=0.5).tolist() == [0] * 4
    stored.eliminate_zeros()
    assert dbscan_labels(stored, eps=0.5).tolist() == [-1] * 4


def test_fewer_than_min_samples_are_noise():
    distances = scipy.sparse.block_diag([np.full((3, 3), 0.1), np.full((5, 5), 0.1)], format="csr")
    assert dbscan_labels(distances, eps=0.2).tolist() == [-1] * 3 + [0] * 5
    assert dbscan_labels(distances, eps=0.2, min_samples=3).tolist() == [0] * 3 + [1] * 5


@pytest.mark.parametrize("eps", [0.4, 0.5, 0.6, 0.62, 0.7])
def test_labels_equal_those_of_dense_distances(eps):
    found = {}
    for seed in range(3):
        features = clusters(seed, identities=20, spread=0.3 + 0.2 * seed)
        sparse = jaccard_distances(features, max_distance=0.7)
        labels = dbscan_labels(sparse, eps=eps)
        dense, _ = dense_jaccard(features)
        expected = DBSCAN(eps=eps + 1e-5, min_samples=4, metric="precomputed").fit(dense).labels_
        np.testing.assert_array_equal(labels, expected)
        found[seed] = len(set(labels.tolist()))
    assert max(found.values()) > 2  # there is something to compare


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (lambda d: d.toarray(), {"eps": 0.5}, "expected square sparse distances, got ndarray"),
        (lambda d: d[:3], {"eps": 0.5}, r"expected square sparse distances.*\(3, 4\)"),
        (lambda d: d, {"eps": 1.0}, "eps between 0 and 1, got 1.0; pairs without an entry"),
        (lambda d: d, {"eps": 0.5, "min_samples": 0}, "min_samples of at least 1, got 0"),
        (lambda d: -d, {"eps": 0.5}, "at least 0, got a negative one or NaN"),
        (lambda d: d * np.nan, {"eps": 0.5}, "at least 0, got a negative one or NaN"),
        (scipy.sparse.triu, {"eps": 0.5}, "expected symmetric distances"),
    ],
)
def test_wrong_distances_are_refused(change, arguments, message):
    distances = scipy.sparse.csr_array(np.full((4, 4), 0.3))
    with pytest.raises(ValueError, match=message):
        dbscan_labels(change(distances), **arguments)
