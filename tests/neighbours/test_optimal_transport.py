"""Labels by optimal transport: by hand, sums, invariances, against a general solver."""

import numpy as np
import pytest
from scipy.optimize import minimize

from fastreid_ext.neighbours.optimal_transport import transport_plan, transported_labels

TWO = np.array([[0.9, 0.6], [0.1, 0.4]])


def predictions(seed=0, clusters=5, images=40):
    values = np.random.default_rng(seed).random((clusters, images)) ** 2
    return values / values.sum(axis=0)


@pytest.mark.parametrize(
    ("sharpness", "large", "small"), [(1, 0.35505, 0.14495), (5, 0.49439, 0.00561)]
)
def test_plan_by_hand(sharpness, large, small):
    plan = transport_plan(TWO, sharpness=sharpness, tolerance=1e-12)
    np.testing.assert_allclose(plan, [[large, small], [small, large]], atol=5e-6)


def test_labels_by_hand_are_not_the_largest_predictions():
    assert TWO.argmax(axis=0).tolist() == [0, 0]
    assert transported_labels(TWO, sharpness=5).tolist() == [0, 1]
    row = np.array([0.9, 0.8, 0.7, 0.6])
    assert transported_labels(np.stack([row, 1 - row])).tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("sharpness", [1, 5])
def test_sums_of_rows_and_columns_are_equal(sharpness):
    plan = transport_plan(predictions(), sharpness=sharpness)
    np.testing.assert_allclose(plan.sum(axis=0), 1 / 40, rtol=1e-12)
    np.testing.assert_allclose(plan.sum(axis=1), 1 / 5, rtol=1e-2)
    assert np.bincount(plan.argmax(axis=0), minlength=5).max() <= 12


def test_plan_minimises_cost_and_divergence():
    """Against a general solver over plans of 2 x 3, which has two free numbers."""
    values = predictions(1, 2, 3)
    lam = 3.0

    def plan_of(first):
        top = np.array([first[0], first[1], 0.5 - first[0] - first[1]])
        return np.stack([top, 1 / 3 - top])

    def objective(first):
        plan = plan_of(first)
        if (plan <= 0).any():
            return 1e3
        divergence = (plan * np.log(plan * 6)).sum()  # r c^T = 1/2 * 1/3
        return -(plan * np.log(values)).sum() + divergence / lam

    best = minimize(objective, [0.16, 0.17], method="Nelder-Mead", tol=1e-10)
    plan = transport_plan(values, sharpness=lam, tolerance=1e-12)
    np.testing.assert_allclose(plan, plan_of(best.x), atol=1e-5)


def test_scale_of_a_column_changes_nothing():
    values = predictions(2)
    scaled = values * np.random.default_rng(3).random(40)
    np.testing.assert_allclose(transport_plan(scaled), transport_plan(values), rtol=1e-9)


def test_permuted_clusters_and_images_permute_the_plan():
    values = predictions(4)
    rows, columns = (
        np.random.default_rng(5).permutation(5),
        np.random.default_rng(6).permutation(40),
    )
    plan = transport_plan(values[rows][:, columns])
    np.testing.assert_allclose(plan, transport_plan(values)[rows][:, columns], rtol=1e-9)


def test_extreme_predictions_give_finite_plans(caplog):
    """Plan for a cluster that is far from every image, and for predictions of 0."""
    values = np.full((4, 30), 1e-12)
    values[0] = 1.0
    values[3, :5] = 0.0
    plan = transport_plan(values, most_rounds=20)
    assert np.isfinite(plan).all()
    np.testing.assert_allclose(plan.sum(axis=0), 1 / 30, rtol=1e-9)


def test_rounds_that_do_not_settle_are_named(caplog):
    transport_plan(predictions(), tolerance=0.0, most_rounds=10)
    assert "40 images to 5 clusters did not settle in 10 rounds; lower MODEL.GLT" in caplog.text
