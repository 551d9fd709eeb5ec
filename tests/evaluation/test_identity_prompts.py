"""Similarities of prompts and looks: Mantel's test against scipy, order, groups and picture."""

import cv2
import numpy as np
import pytest
from scipy.stats import spearmanr

from fastreid_ext.evaluation import identity_prompts
from fastreid_ext.evaluation.identity_prompts import prompt_similarity, similarity_order
from fastreid_ext.evaluation.matrix_correlation import mantel_test
from fastreid_ext.evaluation.pictures.prompts import grouped_pairs, plot_prompts


def cosines(rows):
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit @ unit.T


def pairs_of(matrix):
    return [matrix[i, j] for i in range(len(matrix)) for j in range(i)]


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.mark.parametrize("seed", range(3))
def test_mantel_test_equals_scipy_and_a_loop_over_permutations(rng, seed):
    one = cosines(rng.normal(size=(7, 4))).round(1)  # with ties
    other = cosines(rng.normal(size=(7, 4))).round(1)
    found = mantel_test(one, other, permutations=150, seed=seed)
    expected = spearmanr(pairs_of(one), pairs_of(other)).statistic
    assert found.correlation == pytest.approx(expected)
    seeded = np.random.default_rng(seed)
    larger = 1
    for _ in range(150):
        order = seeded.permutation(7)
        renamed = other[np.ix_(order, order)]
        larger += spearmanr(pairs_of(one), pairs_of(renamed)).statistic >= expected - 1e-9
    assert found.p_value == pytest.approx(larger / 151)
    assert 1 < larger < 151


def test_known_correlations(rng):
    one = cosines(rng.normal(size=(12, 3)))
    assert mantel_test(one, one, permutations=99).correlation == 1
    assert mantel_test(one, np.exp(one), permutations=99).p_value == 0.01
    assert mantel_test(one, -one, permutations=99).correlation == -1
    assert mantel_test(one, -one, permutations=99).p_value == 1


def test_p_values_of_unrelated_matrices_are_uniform(rng):
    values = [
        mantel_test(
            cosines(rng.normal(size=(8, 5))), cosines(rng.normal(size=(8, 5))), permutations=19
        ).p_value
        for _ in range(200)
    ]
    assert np.mean(np.array(values) <= 0.1) == pytest.approx(0.1, abs=0.06)
    assert np.mean(values) == pytest.approx(0.525, abs=0.06)


@pytest.mark.parametrize("shapes", [((3, 3), (3, 3)), ((5, 5), (6, 6)), ((5, 4), (5, 4))])
def test_mantel_test_refuses_other_shapes(shapes):
    with pytest.raises(ValueError, match=r"expected two matrices \(N, N\) of at least 4 things"):
        mantel_test(*map(np.ones, shapes))


def test_mantel_test_refuses_matrices_without_differences(rng):
    with pytest.raises(ValueError, match="expected similarities that differ"):
        mantel_test(cosines(rng.normal(size=(5, 3))), np.ones((5, 5)))


@pytest.mark.parametrize("optimal_up_to", [0, 1500])
def test_order_puts_groups_side_by_side(rng, monkeypatch, optimal_up_to):
    monkeypatch.setattr(identity_prompts, "_OPTIMAL_UP_TO", optimal_up_to)
    group = rng.permutation(np.repeat(np.arange(4), 5))
    rows = 4 * np.eye(4)[group] + 0.3 * rng.normal(size=(20, 4))
    order = similarity_order(cosines(rows))
    assert sorted(order) == list(range(20))
    assert np.count_nonzero(np.diff(group[order])) == 3


def test_prompts_that_follow_looks(rng):
    prototypes = rng.normal(size=(15, 6))
    prompts = np.hstack([prototypes, 0.5 * rng.normal(size=(15, 6))])
    similarity = prompt_similarity(prompts, prototypes, permutations=99)
    assert similarity.test.correlation > 0.6
    assert similarity.test.p_value == 0.01
    ordered = prompts[similarity.order]
    np.testing.assert_allclose(similarity.prompts, cosines(ordered))
    means = grouped_pairs(similarity)
    looks = np.array(pairs_of(similarity.looks))
    learned = np.array(pairs_of(similarity.prompts))
    top = np.argsort(looks)[-10:]  # the last of ten groups of 105 pairs
    np.testing.assert_allclose(means[-1], [looks[top].mean(), learned[top].mean()])
    assert means[-1, 1] > means[0, 1] + 0.5


def test_what_cannot_be_compared_is_refused(rng):
    rows = rng.normal(size=(6, 4))
    with pytest.raises(ValueError, match="each of the 6 identities with a prototype, got 5"):
        prompt_similarity(rows[:5], rows)
    with pytest.raises(ValueError, match=r"expected a prototype with a direction .* identity 2"):
        prompt_similarity(rows, np.where(np.arange(6)[:, None] == 2, 0, rows))


def test_plot_has_a_row_of_panels_for_each_run(rng, tmp_path):
    rows = rng.normal(size=(12, 5))
    similarity = prompt_similarity(rows + 1, rows, permutations=9)
    one = cv2.imread(str(plot_prompts({"run": similarity}, tmp_path / "one.png")))
    runs = {"one": similarity, "other": similarity}
    two = cv2.imread(str(plot_prompts(runs, tmp_path / "two.png")))
    assert one.shape[1] == two.shape[1]
    assert two.shape[0] > 1.7 * one.shape[0]
    half = two[: two.shape[0] // 2]
    assert half.std() > 10
