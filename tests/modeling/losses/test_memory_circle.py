"""Circle loss against a memory: by hand, by loops; centres that features move."""

import math

import pytest
import torch
import torch.nn.functional as F

from fastreid_ext.modeling.losses import memory_circle_loss, moved_centres


def circle(positives, negatives):
    similarity = torch.tensor([[*positives, *negatives]])
    is_positive = torch.tensor([[True] * len(positives) + [False] * len(negatives)])
    return memory_circle_loss(similarity, is_positive).item()


@pytest.mark.parametrize(
    ("positives", "negatives", "expected"),
    [
        ([0.75], [0.25], 0.69315),
        ([0.75, 0.75], [0.25], 1.09861),
        ([0.5], [0.5], 48.0),
        ([], [0.9], 0.0),
        ([0.1], [], 0.0),
    ],
)
def test_by_hand(positives, negatives, expected):
    assert circle(positives, negatives) == pytest.approx(expected, abs=1e-5)


def test_perfect_similarities_cost_nearly_nothing():
    assert circle([1.0], [0.0]) == pytest.approx(1.125e-7, rel=1e-3)


def case(seed=0):
    generator = torch.Generator().manual_seed(seed)
    similarity = torch.rand(5, 9, generator=generator, dtype=torch.float64) * 2 - 1
    is_positive = torch.rand(5, 9, generator=generator) < 0.4
    is_positive[3] = False
    return similarity, is_positive, torch.rand(5, 9, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("is_weighted", [False, True])
def test_is_that_of_loops(is_weighted):
    similarity, is_positive, weights = case()
    if not is_weighted:
        weights = torch.ones_like(weights)
    total = 0.0
    for s_row, p_row, w_row in zip(similarity, is_positive, weights, strict=True):
        towards = away = 0.0
        for s, positive, w in zip(s_row.tolist(), p_row.tolist(), w_row.tolist(), strict=True):
            if positive:
                towards += math.exp(-16 * w * max(1.25 - s, 0) * (s - 0.75))
            else:
                away += math.exp(16 * w * max(s + 0.25, 0) * (s - 0.25))
        total += math.log1p(towards * away) if towards and away else 0.0
    loss = memory_circle_loss(
        similarity, is_positive, weights if is_weighted else None, margin=0.25, gamma=16.0
    )
    assert loss.item() == pytest.approx(total / 5, rel=1e-9)


def test_gradient_treats_the_factors_of_the_circle_as_constants():
    similarity, is_positive, weights = case(1)
    similarity = similarity.requires_grad_()
    weights = weights.requires_grad_()
    memory_circle_loss(similarity, is_positive, weights, gamma=4.0).backward()
    assert similarity.grad.isfinite().all()
    assert weights.grad is None
    assert (similarity.grad[is_positive] <= 0).all()
    assert (similarity.grad[~is_positive] >= 0).all()
    assert not similarity.grad[3].any()  # no positive
    constants = [(1.25 - similarity).relu().detach(), (similarity + 0.25).relu().detach()]

    def with_constants(rows):
        logits = torch.where(
            is_positive, -constants[0] * (rows - 0.75), constants[1] * (rows - 0.25)
        )
        logits = 4 * weights.detach() * logits
        kept = [row for row in range(5) if row != 3]
        sums = [
            logits[row][is_positive[row]].logsumexp(0) + logits[row][~is_positive[row]].logsumexp(0)
            for row in kept
        ]
        return F.softplus(torch.stack(sums)).sum() / 5

    (expected,) = torch.autograd.grad(with_constants(similarity), similarity)
    torch.testing.assert_close(similarity.grad, expected)


def test_empty_memory_has_a_loss_of_zero():
    similarity = torch.zeros(4, 0, requires_grad=True)
    loss = memory_circle_loss(similarity, torch.zeros(4, 0, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0


def test_half_precision_is_computed_in_float32():
    similarity, is_positive, _ = case(2)
    loss = memory_circle_loss(similarity.half(), is_positive)
    assert loss.dtype == torch.float32
    assert loss.isfinite()


def test_centre_moves_by_hand():
    moved = moved_centres(
        torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[7.0, 0.0]]), torch.tensor([1])
    )
    expected = torch.tensor([[1.0, 0.0], [0.97014, 0.24254]])
    torch.testing.assert_close(moved, expected, atol=5e-6, rtol=0)


def test_centres_move_by_their_features_one_after_the_other():
    generator = torch.Generator().manual_seed(0)
    centres = F.normalize(torch.randn(4, 3, generator=generator), dim=1)
    features = 3 * torch.randn(5, 3, generator=generator)
    targets = torch.tensor([2, 0, 2, 2, 3])
    expected = centres.clone()
    for feature, target in zip(features, targets.tolist(), strict=True):
        expected[target] = F.normalize(
            0.2 * expected[target] + 0.8 * F.normalize(feature, dim=0), dim=0
        )
    before = centres.clone()
    torch.testing.assert_close(moved_centres(centres, features, targets, 0.2), expected)
    assert torch.equal(centres, before)
