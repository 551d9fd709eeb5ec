"""Losses of IDM's mixed images: cases computed by hand, slow loops, gradients."""

import math

import pytest
import torch

from fastreid_ext.modeling.losses import (
    bridge_feature_loss,
    bridge_prediction_loss,
    mixing_diversity_loss,
    smoothed_cross_entropy,
)

THREE_TO_ONE = torch.tensor([[math.log(3), 0.0]], dtype=torch.float64)
ZERO = torch.tensor([0])
ONE = torch.tensor([1])


def share(value):
    return torch.tensor([value], dtype=torch.float64)


def test_smoothed_cross_entropy_spreads_epsilon_over_all_classes():
    loss = smoothed_cross_entropy(THREE_TO_ONE, ZERO, 0.1)
    assert loss.item() == pytest.approx(0.34261, abs=5e-6)
    weights = torch.tensor([2.0, 0.5], dtype=torch.float64)
    logits = torch.randn(2, 5, dtype=torch.float64)
    targets = torch.tensor([4, 1])
    single = [smoothed_cross_entropy(logits[i : i + 1], targets[i : i + 1], 0.1) for i in (0, 1)]
    expected = (2 * single[0] + 0.5 * single[1]) / 2
    torch.testing.assert_close(smoothed_cross_entropy(logits, targets, 0.1, weights), expected)


def test_prediction_loss_by_hand():
    loss = bridge_prediction_loss(THREE_TO_ONE, ZERO, ONE, share(0.25), 0.1)
    assert loss.item() == pytest.approx(1.08418, abs=5e-6)
    of_source = bridge_prediction_loss(THREE_TO_ONE, ZERO, ONE, share(1.0), 0.1)
    torch.testing.assert_close(of_source, smoothed_cross_entropy(THREE_TO_ONE, ZERO, 0.1))
    flat = bridge_prediction_loss(torch.zeros(1, 7), ZERO, ONE, torch.tensor([0.3]), 0.1)
    assert flat.item() == pytest.approx(math.log(7), abs=1e-6)


def test_prediction_loss_equals_the_label_written_as_loops():
    torch.manual_seed(0)
    logits = torch.randn(4, 6, dtype=torch.float64)
    sources = torch.tensor([0, 1, 2, 0])
    targets = torch.tensor([3, 4, 5, 5])
    shares = torch.rand(4, dtype=torch.float64)
    total = 0.0
    for i in range(4):
        for k in range(6):
            label = 0.9 * (shares[i] * (sources[i] == k) + (1 - shares[i]) * (targets[i] == k))
            label = label + 0.1 / 6
            total = total - label * logits[i].log_softmax(dim=0)[k]
    loss = bridge_prediction_loss(logits, sources, targets, shares, 0.1)
    torch.testing.assert_close(loss, total / 4)


def test_shares_in_the_label_get_no_gradient():
    shares = share(0.25).requires_grad_()
    logits = THREE_TO_ONE.clone().requires_grad_()
    bridge_prediction_loss(logits, ZERO, ONE, shares, 0.1).backward()
    assert shares.grad is None
    assert logits.grad.any()


@pytest.mark.parametrize(
    ("mixed", "source_share", "expected"),
    [
        ([1.5, 2.0], 0.1, 2.5),
        ([1.5, 2.0], 0.9, 2.5),
        ([0.75, 1.0], 0.75, 1.875),
        ([0.0, 0.0], 0.75, 1.25),
    ],
)
def test_feature_loss_by_hand(mixed, source_share, expected):
    sources = torch.zeros(1, 2)
    targets = torch.tensor([[3.0, 4.0]])
    shares = torch.tensor([[source_share, 1 - source_share]])
    loss = bridge_feature_loss(torch.tensor([mixed]), sources, targets, shares)
    assert loss.item() == pytest.approx(expected, abs=2e-6)


def test_feature_loss_gives_a_gradient_to_all_and_none_that_is_not_finite():
    torch.manual_seed(0)
    values = [torch.randn(3, 4, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    shares = torch.rand(3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(bridge_feature_loss, (*values, shares))
    equal = torch.ones(2, 3, requires_grad=True)
    bridge_feature_loss(equal, equal, equal, torch.full((2, 2), 0.5)).backward()
    assert equal.grad.isfinite().all()


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ([[1.0, 0.0], [0.0, 1.0]], -1.0),
        ([[0.6, 0.4], [0.2, 0.8]], -0.4),
        ([[0.5, 0.5], [0.5, 0.5]], -2e-6),
    ],
)
def test_diversity_by_hand(shares, expected):
    shares = torch.tensor(shares, dtype=torch.float64)
    assert mixing_diversity_loss(shares).item() == pytest.approx(expected, rel=1e-6)


def test_diversity_has_a_finite_gradient_where_all_shares_are_equal():
    shares = torch.full((4, 2), 0.5, requires_grad=True)
    mixing_diversity_loss(shares).backward()
    assert shares.grad.isfinite().all()
