"""Losses of images that have weights: cases computed by hand, loops, gradients, both forms."""

import math

import pytest
import torch
import torch.nn.functional as F

from fastreid_ext.modeling.losses import (
    soft_triplet_loss,
    teacher_disagreement,
    triplet_terms,
    uncertain_cross_entropy,
    uncertain_triplet_loss,
)

TARGETS = torch.tensor([0, 0, 1, 1, 1, 4])
WEIGHTS = torch.tensor([1.0, 0.2, 0.6, 0.9, 0.1, 0.5])


def features_of(seed=0):
    return 5 * torch.randn(6, 3, generator=torch.Generator().manual_seed(seed))


def test_disagreement_by_hand():
    """KL(teacher || student), not the other way round, which would be 0.14384."""
    student = torch.zeros(1, 2)
    teacher = torch.tensor([[math.log(3), 0.0]])
    uncertainty = teacher_disagreement(student, teacher)
    assert uncertainty.item() == pytest.approx(0.13081, abs=5e-6)
    assert torch.exp(-uncertainty).item() == pytest.approx(0.87738, abs=5e-6)
    assert teacher_disagreement(teacher, student).item() == pytest.approx(0.14384, abs=5e-6)


def test_disagreement_is_zero_for_equal_logits_and_for_none():
    logits = features_of()
    assert not teacher_disagreement(logits, logits + 3).abs().gt(1e-6).any()
    assert teacher_disagreement(torch.zeros(2, 0), torch.zeros(2, 0)).tolist() == [0, 0]


def test_disagreement_has_a_gradient_for_the_student_alone():
    student = features_of(1).double().requires_grad_()
    teacher = features_of(2).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda rows: teacher_disagreement(rows, teacher), student)
    teacher_disagreement(student, teacher).sum().backward()
    assert teacher.grad is None


# Cross-entropies of 0.2 and 2.0.
LOGITS = torch.tensor([[-0.2, math.log1p(-math.exp(-0.2))], [-2.0, math.log1p(-math.exp(-2.0))]])


@pytest.mark.parametrize(("form", "expected"), [("paper", 0.20), ("code", 0.605)])
def test_cross_entropy_by_hand(form, expected):
    weights = torch.tensor([1.0, 0.1])
    loss = uncertain_cross_entropy(LOGITS, torch.zeros(2, dtype=torch.long), weights, 0.0, form)
    assert loss.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("form", ["paper", "code"])
def test_weights_of_one_give_the_usual_cross_entropy_and_have_a_gradient(form):
    weights = torch.ones(6, requires_grad=True)
    loss = uncertain_cross_entropy(features_of(), TARGETS % 3, weights, 0.1, form)
    expected = F.cross_entropy(features_of(), TARGETS % 3, label_smoothing=0.1)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert (weights.grad > 0).all()


def terms(positive, negative, weights, form):
    return triplet_terms(
        torch.tensor([float(positive)]), torch.tensor([float(negative)]), weights, form
    ).item()


@pytest.mark.parametrize(
    ("distances", "paper", "code"),
    [((1, 1), 0.69315, 1.38629), ((1, 3), 0.12693, 2.25386), ((3, 1), 2.12693, 2.25386)],
)
def test_triplets_by_hand(distances, paper, code):
    """The form of the code is symmetric in both distances."""
    ones = torch.ones(1, 3)
    assert terms(*distances, ones, "paper") == pytest.approx(paper, abs=1e-5)
    assert terms(*distances, ones, "code") == pytest.approx(code, abs=1e-5)


def test_code_pulls_triplets_to_a_gap_that_the_weights_decide():
    """Weights 0.8 and 0.4 of the pairs: the optimum is where negative - positive is -log 2."""
    weights = torch.tensor([[0.6, 1.0, 0.2]])
    gaps = torch.linspace(-2, 2, 4001)
    losses = triplet_terms(torch.zeros(4001), gaps, weights.expand(4001, 3), "code")
    assert gaps[losses.argmin()].item() == pytest.approx(-0.693, abs=2e-3)


@pytest.mark.parametrize("form", ["paper", "code"])
def test_triplet_loss_is_that_of_loops(form):
    features = features_of()
    total = 0.0
    for i in range(6):
        distances = (features - features[i]).norm(dim=1)
        same = TARGETS == TARGETS[i]
        positive = distances.masked_fill(~same, -1).argmax()
        negative = distances.masked_fill(same, torch.inf).argmin()
        gap = float(distances[positive] - distances[negative])
        omega = [float(WEIGHTS[k]) for k in (i, positive, negative)]
        if form == "paper":
            total += sum(omega) / 3 * math.log1p(math.exp(gap))
        else:
            of_positive = (omega[0] + omega[1]) / 2
            of_negative = (omega[0] + omega[2]) / 2
            total -= of_positive * math.log(1 / (1 + math.exp(-gap)))
            total -= of_negative * math.log(1 / (1 + math.exp(gap)))
    loss = uncertain_triplet_loss(features, TARGETS, WEIGHTS, form)
    assert loss.item() == pytest.approx(total / 6, rel=1e-4)


def test_triplet_loss_of_weights_of_one_is_the_soft_triplet_loss():
    loss = uncertain_triplet_loss(features_of(), TARGETS, torch.ones(6))
    torch.testing.assert_close(loss, soft_triplet_loss(features_of(), TARGETS))


@pytest.mark.parametrize("form", ["paper", "code"])
def test_triplet_loss_has_a_gradient_for_features_alone(form):
    features = features_of(3).double().requires_grad_()
    weights = WEIGHTS.double().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda rows: uncertain_triplet_loss(rows, TARGETS, weights, form), features
    )
    uncertain_triplet_loss(features, TARGETS, weights, form).backward()
    assert weights.grad is None


@pytest.mark.parametrize("form", ["paper", "code"])
def test_triplet_loss_of_one_cluster_is_zero_with_a_zero_gradient(form):
    features = features_of().requires_grad_()
    loss = uncertain_triplet_loss(features, torch.zeros(6), WEIGHTS, form)
    loss.backward()
    assert loss.item() == 0
    assert not features.grad.any()


def test_half_precision_is_computed_in_float32():
    loss = uncertain_triplet_loss(100 * features_of().half(), TARGETS, WEIGHTS)
    assert loss.dtype == torch.float32
    assert loss.isfinite()
