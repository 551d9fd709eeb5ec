"""Losses of ICE between images: by hand, by loops, and in degenerate batches."""

import math

import pytest
import torch
import torch.nn.functional as F

from fastreid_ext.modeling.losses import hard_instance_loss, soft_instance_loss

TARGETS = torch.tensor([0, 0, 1, 1, 1, 2])


@pytest.fixture
def similarity():
    generator = torch.Generator().manual_seed(0)
    one, other = F.normalize(torch.randn(2, 6, 4, generator=generator), dim=2)
    return one @ other.T


def test_hard_loss_by_hand():
    """Similarities 0.9 and 0.5 of the own cluster, 0.1 of another; T 0.1: logits 5 and 1."""
    loss = hard_instance_loss(
        torch.tensor([[0.9, 0.5, 0.1]]), torch.tensor([4]), torch.tensor([4, 4, 7]), 0.1
    )
    assert loss.item() == pytest.approx(0.018150, abs=1e-6)


def test_hard_loss_is_that_of_loops(similarity):
    total = 0.0
    for row, target in zip(similarity, TARGETS, strict=True):
        positive = min(row[TARGETS == target]) / 0.1
        others = row[TARGETS != target] / 0.1
        total += math.log(sum(math.exp(float(x - positive)) for x in others) + 1)
    loss = hard_instance_loss(similarity, TARGETS, TARGETS)
    assert loss.item() == pytest.approx(total / 6, rel=1e-5)


def test_hard_loss_of_some_rows_looks_at_all_columns(similarity):
    halves = [
        hard_instance_loss(similarity[rows], TARGETS[rows], TARGETS)
        for rows in (slice(0, 3), slice(3, 6))
    ]
    torch.testing.assert_close(sum(halves) / 2, hard_instance_loss(similarity, TARGETS, TARGETS))


def test_hard_loss_of_one_cluster_is_zero_with_zero_gradient(similarity):
    similarity.requires_grad_()
    loss = hard_instance_loss(similarity, torch.zeros(6), torch.zeros(6))
    loss.backward()
    assert loss.item() == 0
    assert not similarity.grad.any()


def test_soft_loss_by_hand():
    expected = torch.tensor([[1.0, 0.2], [0.2, 1.0]])
    found = torch.tensor([[0.8, 0.1], [0.3, 0.7]])
    assert (10 * soft_instance_loss(found, expected, 0.4)).item() == pytest.approx(
        0.353131, abs=1e-6
    )
    assert soft_instance_loss(expected, expected, 0.4).item() == pytest.approx(0, abs=1e-7)


def test_soft_loss_is_that_of_loops_and_moves_one_side_alone(similarity):
    expected = similarity.T.clone().requires_grad_()
    found = similarity.clone().requires_grad_()
    total = 0.0
    for wanted, row in zip(expected.detach(), similarity, strict=True):
        p = torch.softmax(wanted / 0.4, 0)
        q = torch.softmax(row / 0.4, 0)
        total += sum(float(a * (a / b).log()) for a, b in zip(p, q, strict=True))
    loss = soft_instance_loss(found, expected)
    assert loss.item() == pytest.approx(total / 6, rel=1e-4)
    loss.backward()
    assert expected.grad is None
    assert found.grad.any()


def test_gradients(similarity):
    for loss in (
        lambda values: hard_instance_loss(values, TARGETS, TARGETS),
        lambda values: soft_instance_loss(values, similarity.double().T),
    ):
        assert torch.autograd.gradcheck(loss, similarity.double().requires_grad_())


def test_half_precision_is_computed_in_float32(similarity):
    half = similarity.half()
    assert hard_instance_loss(half, TARGETS, TARGETS).dtype == torch.float32
    assert soft_instance_loss(half, half).dtype == torch.float32
