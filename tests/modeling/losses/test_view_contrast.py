"""Contrast between views and identities, against loops."""

import math

import pytest
import torch
from torch.nn import functional as F

from fastreid_ext.modeling.losses import view_contrast_loss

B = 4


def features_of(dtype=torch.float64):
    generator = torch.Generator().manual_seed(3)
    return torch.randn(2 * B, 6, dtype=torch.float64, generator=generator).to(dtype)


def targets_of():
    """Three images of one identity and one of another, in two views."""
    return torch.tensor([7, 7, 7, 2] * 2)


def test_view_contrast_equals_loops_with_unequal_identities():
    rows = features_of()
    targets = targets_of()
    unit = F.normalize(rows, dim=1)
    total = 0.0
    for b in range(B):
        near = math.exp(float(unit[b] @ unit[B + b]) / 0.5)
        far = sum(
            math.exp(float(unit[b] @ unit[j]) / 0.5)
            for j in range(2 * B)
            if targets[j] != targets[b]
        )
        total -= math.log(near / (near + far)) / B
    assert float(view_contrast_loss(rows, targets, 2, 0.5)) == pytest.approx(total)


def test_view_contrast_of_one_identity_is_zero():
    assert float(view_contrast_loss(features_of(), torch.zeros(2 * B), 2, 0.5)) == 0


def test_view_contrast_gradcheck():
    rows = features_of().requires_grad_()
    torch.autograd.gradcheck(lambda rows: view_contrast_loss(rows, targets_of(), 2, 0.5), rows)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_view_contrast_in_half_precision_is_near_float64(dtype):
    rows = features_of(dtype)
    loss = view_contrast_loss(100 * rows, targets_of(), 2, 0.5)
    assert loss.dtype == torch.float32
    expected = view_contrast_loss(rows.double(), targets_of(), 2, 0.5)
    assert float(loss) == pytest.approx(float(expected), rel=0.01)
