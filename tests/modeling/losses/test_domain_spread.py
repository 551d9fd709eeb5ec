"""Scatter and shuffle losses against METHODS' hand cases and slow loops."""

import math

import pytest
import torch

from fastreid_ext.modeling.losses.domain_spread import scatter_loss, shuffle_loss


def test_scatter_by_hand_and_unchanged_by_the_length_of_a_feature():
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    domains = torch.tensor([0, 0, 1, 1])
    assert scatter_loss(features, domains).item() == pytest.approx((0.7071 + 1) / 2, abs=1e-4)
    longer = features * torch.tensor([[3.0], [1.0], [0.5], [9.0]])
    assert scatter_loss(longer, domains).item() == pytest.approx(0.8536, abs=1e-4)


def test_shuffle_by_hand():
    features = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    loss = shuffle_loss(features, torch.tensor([0, 1, 2, 3]), torch.tensor([0, 0, 1, 1]))
    wanted = (6.0025 + 5.0067 + 0.3133 + 3.0486) / 4
    assert loss.item() == pytest.approx(wanted, abs=1e-4)


def test_shuffle_equals_slow_loops():
    generator = torch.Generator().manual_seed(0)
    features = torch.rand(24, 5, generator=generator, dtype=torch.float64)
    targets = torch.arange(24) // 2
    domains = targets % 3
    total = 0.0
    for anchor in range(24):
        others = [
            math.dist(features[anchor], features[j])
            for j in range(24)
            if domains[j] != domains[anchor]
        ]
        own = [
            math.dist(features[anchor], features[j])
            for j in range(24)
            if domains[j] == domains[anchor] and targets[j] != targets[anchor]
        ]
        total += math.log1p(math.exp(max(others) - min(own)))
    found = shuffle_loss(features, targets, domains).item()
    assert found == pytest.approx(total / 24, rel=1e-5)


def test_both_have_finite_gradients_for_equal_features():
    features = torch.ones(8, 3, requires_grad=True)
    domains = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    loss = scatter_loss(features, domains) + shuffle_loss(features, torch.arange(8) // 2, domains)
    loss.backward()
    assert torch.isfinite(features.grad).all()
