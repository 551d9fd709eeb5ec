"""Equation 1 of Diffusion-ReID: as loops, per identity, and at its edges."""

import pytest
import torch

from fastreid_ext.generation.fine_tuning.prior_preservation import prior_preservation_loss


def looped(row_losses, identity_index, is_prior, prior_weight, count):
    losses = []
    for k in range(count):
        own = [
            row_losses[i]
            for i in range(len(row_losses))
            if identity_index[i] == k and not is_prior[i]
        ]
        prior = [
            row_losses[i] for i in range(len(row_losses)) if identity_index[i] == k and is_prior[i]
        ]
        own_mean = sum(own) / len(own) if own else 0.0
        losses.append(own_mean + prior_weight * (sum(prior) / len(prior) if prior else 0.0))
    return torch.tensor(losses)


IDENTITY_INDEX = torch.tensor([0, 0, 1, 0, 1, 3])
IS_PRIOR = torch.tensor([False, True, False, False, True, False])


def test_loss_of_each_identity_equals_loops():
    row_losses = torch.rand(6, generator=torch.Generator().manual_seed(0))
    got = prior_preservation_loss(row_losses, IDENTITY_INDEX, IS_PRIOR, prior_weight=0.3, count=4)
    torch.testing.assert_close(got, looped(row_losses, IDENTITY_INDEX, IS_PRIOR, 0.3, 4))
    assert got[2] == 0


def test_an_identitys_gradient_does_not_depend_on_the_others():
    row_losses = torch.rand(6, requires_grad=True)
    total = prior_preservation_loss(
        row_losses, IDENTITY_INDEX, IS_PRIOR, prior_weight=0.3, count=4
    ).sum()
    (together,) = torch.autograd.grad(total, row_losses)
    is_first = IDENTITY_INDEX == 0
    alone = row_losses[is_first].detach().requires_grad_()
    identity_index = torch.zeros(3, dtype=torch.long)
    prior_preservation_loss(
        alone, identity_index, IS_PRIOR[is_first], prior_weight=0.3, count=1
    ).sum().backward()
    torch.testing.assert_close(together[is_first], alone.grad)


def test_nan_stays_with_its_identity():
    row_losses = torch.ones(6)
    row_losses[4] = float("nan")
    row_losses.requires_grad_()
    losses = prior_preservation_loss(
        row_losses, IDENTITY_INDEX, IS_PRIOR, prior_weight=1.0, count=4
    )
    assert losses.isnan().tolist() == [False, True, False, False]
    losses.sum().backward()
    assert row_losses.grad.isfinite().all()


def test_loss_refuses_mismatched_rows():
    with pytest.raises(
        ValueError, match=r"expected row_losses, identity_index and is_prior \(B,\), got"
    ):
        prior_preservation_loss(
            torch.ones(6), IDENTITY_INDEX[:1], IS_PRIOR, prior_weight=1.0, count=4
        )


def test_gradcheck():
    row_losses = torch.rand(3, dtype=torch.float64, requires_grad=True)
    identity_index = torch.tensor([0, 1, 1])
    is_prior = torch.tensor([False, False, True])

    def loss(row_losses):
        return prior_preservation_loss(
            row_losses, identity_index, is_prior, prior_weight=0.7, count=2
        )

    assert torch.autograd.gradcheck(loss, (row_losses,))
