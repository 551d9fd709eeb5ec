"""BYOL's loss against slow loops, at its ends, by its gradient and in half precision."""

import math

import pytest
import torch

from fastreid_ext.modeling.losses import byol_loss


def rows_of(dtype=torch.float32, seed=2):
    return torch.randn(8, 16, generator=torch.Generator().manual_seed(seed)).to(dtype)


def test_byol_equals_squared_distances_by_loops():
    predicted = rows_of()
    target = rows_of(seed=3)
    total = 0.0
    for p, z in zip(predicted.tolist(), target.tolist(), strict=True):
        of_p = math.sqrt(sum(value * value for value in p))
        of_z = math.sqrt(sum(value * value for value in z))
        total += sum((a / of_p - b / of_z) ** 2 for a, b in zip(p, z, strict=True))
    assert float(byol_loss(predicted, target)) == pytest.approx(total / 8, rel=1e-5)


def test_byol_of_equal_opposite_and_orthogonal_rows():
    rows = rows_of()
    assert float(byol_loss(3 * rows, rows)) == pytest.approx(0, abs=1e-6)
    assert float(byol_loss(-rows, rows)) == pytest.approx(4)
    assert float(byol_loss(torch.eye(4), torch.eye(4).roll(1, 0))) == pytest.approx(2)


def test_byol_gradcheck_and_no_gradient_of_the_target():
    predicted = rows_of(torch.float64).requires_grad_()
    target = rows_of(torch.float64, seed=3).requires_grad_()
    torch.autograd.gradcheck(lambda predicted: byol_loss(predicted, target), predicted)
    byol_loss(predicted, target).backward()
    assert target.grad is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_byol_in_half_precision_is_near_float64(dtype):
    predicted = 300 * rows_of(dtype)
    target = rows_of(dtype, seed=3)
    loss = byol_loss(predicted, target)
    assert loss.dtype == torch.float32
    expected = float(byol_loss(predicted.double(), target.double()))
    assert float(loss) == pytest.approx(expected, rel=0.01)
