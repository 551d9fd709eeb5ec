"""Losses of PPLR: by hand, by loops, and where they become cross-entropy."""

import pytest
import torch
import torch.nn.functional as F

from fastreid_ext.modeling.losses import agreement_smoothing_loss, part_guided_loss

TARGETS = torch.tensor([0, 3, 1, 3])


@pytest.fixture
def given():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(4, 4, 5, generator=generator)  # the whole image and three parts
    return logits[0], logits[1:], torch.rand(4, 3, generator=generator)


def test_part_guided_by_hand():
    """Weights 0.731059, 0.268941; ensemble (0.692423, 0.307577); label 0, beta 0.5."""
    parts = torch.tensor([[[0.8, 0.2]], [[0.4, 0.6]]]).log()
    whole = torch.tensor([[0.75, 0.25]]).log()
    loss = part_guided_loss(whole, parts, torch.tensor([[1.0, 0.0]]), torch.tensor([0]), 0.5)
    assert loss.item() == pytest.approx(0.456636, abs=1e-6)


def test_part_guided_is_that_of_loops(given):
    whole, parts, agreement = given
    total = 0.0
    for i, target in enumerate(TARGETS):
        weights = torch.softmax(agreement[i], 0)
        ensemble = sum(
            w * torch.softmax(part[i], 0) for w, part in zip(weights, parts, strict=True)
        )
        aim = 0.3 * F.one_hot(target, 5) + 0.7 * ensemble
        assert float(aim.sum()) == pytest.approx(1, abs=1e-6)
        total -= float(aim @ torch.log_softmax(whole[i], 0)) / 4
    loss = part_guided_loss(whole, parts, agreement, TARGETS, 0.3)
    assert loss.item() == pytest.approx(total, rel=1e-5)


def test_part_guided_with_the_label_alone_is_cross_entropy(given):
    loss = part_guided_loss(*given, TARGETS, 1.0)
    torch.testing.assert_close(loss, F.cross_entropy(given[0], TARGETS))


def test_part_guided_sends_no_gradient_to_the_parts(given):
    whole, parts, agreement = given
    whole.requires_grad_()
    parts.requires_grad_()
    part_guided_loss(whole, parts, agreement, TARGETS).backward()
    assert parts.grad is None
    assert whole.grad.any()


@pytest.mark.parametrize(
    ("agreement", "expected"), [(1.0, 0.126928), (0.0, 0.433781), (0.5, 0.280354)]
)
def test_agreement_smoothing_by_hand(agreement, expected):
    loss = agreement_smoothing_loss(
        torch.tensor([[2.0, 0.0]]), torch.tensor([0]), torch.tensor([agreement])
    )
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_agreement_smoothing_is_that_of_loops(given):
    part = given[1][0]
    agreement = given[2][:, 0]
    total = 0.0
    for own, target, logits in zip(agreement, TARGETS, part, strict=True):
        q = torch.softmax(logits, 0)
        divergence = sum(0.2 * torch.log(0.2 / value) for value in q)
        total += float(-own * q[target].log() + (1 - own) * divergence) / 4
    loss = agreement_smoothing_loss(part, TARGETS, agreement)
    assert loss.item() == pytest.approx(total, rel=1e-5)


def test_agreement_smoothing_of_full_agreement_is_cross_entropy(given):
    loss = agreement_smoothing_loss(given[1][0], TARGETS, torch.ones(4))
    torch.testing.assert_close(loss, F.cross_entropy(given[1][0], TARGETS))


def test_agreement_smoothing_of_equal_probabilities_without_agreement_is_zero():
    loss = agreement_smoothing_loss(torch.ones(4, 5), TARGETS, torch.zeros(4))
    assert loss.item() == pytest.approx(0, abs=1e-6)


def test_half_precision_is_computed_in_float32(given):
    half = [value.half() for value in given]
    assert part_guided_loss(*half, TARGETS).dtype == torch.float32
    assert agreement_smoothing_loss(half[0], TARGETS, half[2][:, 0]).dtype == torch.float32


def test_gradients(given):
    whole = given[0].double()
    parts = given[1].double()
    agreement = given[2].double()
    assert torch.autograd.gradcheck(
        lambda logits: part_guided_loss(logits, parts, agreement, TARGETS), whole.requires_grad_()
    )
    assert torch.autograd.gradcheck(
        lambda logits: agreement_smoothing_loss(logits, TARGETS, agreement[:, 0]),
        parts[0].clone().requires_grad_(),
    )
