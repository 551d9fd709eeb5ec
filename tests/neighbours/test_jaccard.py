"""Sparse Jaccard distances: hand-computed cases, a dense reference, invariants, bad input."""

import numpy as np
import pytest
import torch

from fastreid_ext.neighbours import jaccard, jaccard_distances
from fastreid_ext.neighbours.jaccard import nearest_by_cosine, set_weights, unit_features

from .dense_jaccard import dense_jaccard

ANGLES = torch.deg2rad(torch.tensor([0.0, 4.0, 9.0, 100.0, 103.0, 200.0]))
CIRCLE = torch.stack([ANGLES.cos(), ANGLES.sin()], dim=1)


def clusters(seed, identities=12, images=10, dim=16, spread=0.7):
    """Features of identities, as spread as a network's."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(identities, dim, generator=generator).repeat_interleave(images, dim=0)
    return centres + spread * torch.randn(centres.shape, generator=generator)


def pairs_of(distances):
    """Map the stored pairs to their distances."""
    coo = distances.tocoo()
    return dict(zip(zip(coo.row.tolist(), coo.col.tolist(), strict=True), coo.data, strict=True))


def test_jaccard_of_six_points_on_a_circle():
    found = pairs_of(jaccard_distances(CIRCLE, k1=3, k2=1, max_distance=0.99))
    expected = {(0, 1): 0.0075, (0, 2): 0.0168, (1, 2): 0.0094, (3, 4): 0.0027}
    for (i, j), distance in expected.items():
        assert found.pop((i, j)) == pytest.approx(distance, abs=6e-5)
        assert found.pop((j, i)) == pytest.approx(distance, abs=6e-5)
    assert found == pytest.approx({(i, i): 0 for i in range(6)}, abs=1e-6)


def test_jaccard_with_expansion_stores_zeros_between_different_images():
    found = pairs_of(jaccard_distances(CIRCLE, k1=3, k2=2, max_distance=0.99))
    expected = {(0, 1): 0, (3, 4): 0, (0, 2): 0.0085, (1, 2): 0.0085, (3, 5): 2 / 3, (4, 5): 2 / 3}
    upper = {pair: value for pair, value in found.items() if pair[0] < pair[1]}
    assert upper == pytest.approx(expected, abs=6e-5)


@pytest.mark.parametrize(("k1", "half"), [(20, 11), (25, 13), (27, 15), (30, 16)])
def test_half_sets_round_to_even(k1, half, monkeypatch):
    """Halves are rounded to even: 12.5 to 12, 13.5 to 14."""
    seen = []

    def recorded(index, distance, number):
        seen.append(number)
        return expanded(index, distance, number)

    expanded = jaccard.expanded_sets
    monkeypatch.setattr(jaccard, "expanded_sets", recorded)
    jaccard_distances(clusters(0), k1=k1)
    assert seen == [half]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("k1", "k2"), [(30, 6), (12, 3), (9, 1), (4, 4)])
def test_jaccard_equals_the_dense_reference(seed, k1, k2):
    features = clusters(seed, spread=0.5 + 0.3 * seed)
    expected, _ = dense_jaccard(features, k1, k2)
    found = jaccard_distances(features, k1=k1, k2=k2, max_distance=0.9)
    pairs = pairs_of(found)
    assert set(pairs) == set(map(tuple, np.argwhere(expected <= 0.9 + jaccard.TOLERANCE).tolist()))
    for (i, j), distance in pairs.items():
        assert distance == pytest.approx(expected[i, j], abs=2e-6)


def test_jaccard_is_symmetric_in_range_and_sorted():
    found = jaccard_distances(clusters(5), k1=15, max_distance=0.8)
    assert abs(found - found.T).nnz == 0
    assert found.diagonal().max() <= 2e-6
    assert found.data.min() >= 0
    assert found.data.max() <= 0.8 + jaccard.TOLERANCE
    assert found.has_sorted_indices


def test_weights_of_a_set_sum_to_one():
    features = unit_features(clusters(2))
    weights = set_weights(features, nearest_by_cosine(features, 20))
    _, expected = dense_jaccard(features, 20, 1)
    dense = np.zeros_like(expected)
    dense[weights.row, weights.column] = weights.value
    np.testing.assert_allclose(dense.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(dense, expected, atol=1e-6)


def test_jaccard_is_unchanged_by_rotation_and_follows_the_order_of_images():
    features = clusters(3).double()
    rotation = torch.linalg.qr(torch.randn(16, 16, generator=torch.manual_seed(0)).double()).Q
    order = torch.randperm(len(features), generator=torch.manual_seed(1))
    plain = jaccard_distances(features, k1=15).toarray()
    np.testing.assert_allclose(
        jaccard_distances(features @ rotation, k1=15).toarray(), plain, atol=1e-6
    )
    moved = jaccard_distances(features[order], k1=15).toarray()
    np.testing.assert_allclose(moved, plain[np.ix_(order, order)], atol=1e-6)


def test_copies_of_an_image_come_after_it():
    features = unit_features(torch.tensor([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0], [2.0, -1.0]]))
    near = nearest_by_cosine(features, 3)
    assert near.index.tolist() == [[0, 1, 2], [1, 0, 2], [2, 0, 1], [3, 0, 1]]
    assert near.distance[:, 0].tolist() == [0, 0, 0, 0]


def test_jaccard_does_not_depend_on_threads():
    features = clusters(4)
    alone = jaccard_distances(features, k1=20)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        together = jaccard_distances(features, k1=20)
    finally:
        torch.set_num_threads(before)
    assert (alone.indices == together.indices).all()
    np.testing.assert_allclose(alone.data, together.data, atol=1e-6)


def test_many_pairs_grow_the_arrays():
    """100 copies of one image are 10,000 pairs, more than is allocated first."""
    found = jaccard_distances(torch.ones(100, 4), k1=100)
    assert found.nnz == 10_000
    assert found.data.max() <= 1e-6


def test_features_that_are_not_finite_are_refused():
    features = clusters(0)
    features[7, 3] = torch.nan
    features[9, 3] = torch.inf
    with pytest.raises(ValueError, match=r"NaN or infinity in 2 of 120 rows \(first row 7\)"):
        jaccard_distances(features)


@pytest.mark.parametrize(
    ("features", "arguments", "message"),
    [
        (torch.rand(20, 4), {}, "k1 from 1 to 20, the number of images, got 30; lower k1"),
        (torch.rand(4), {}, r"expected features \(N, D\) of images, got \(4,\)"),
        (torch.rand(40, 4), {"k2": 31}, "expected k2 from 1 to k1 = 30, got 31"),
        (torch.rand(40, 4), {"max_distance": 1.0}, "max_distance between 0 and 1, got 1.0; pairs"),
    ],
)
def test_wrong_arguments_are_refused(features, arguments, message):
    with pytest.raises(ValueError, match=message):
        jaccard_distances(features, **arguments)
