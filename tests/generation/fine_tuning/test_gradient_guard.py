"""Per-identity gradient guard against torch's clipping."""

import pytest
import torch
from torch import nn

from fastreid_ext.generation.fine_tuning.gradient_guard import GradientGuard


def parameter(gradient):
    made = nn.Parameter(torch.zeros(gradient.shape))
    made.grad = gradient.clone()
    return made


@pytest.mark.parametrize("max_norm", [0.0, 1.0, 100.0])
def test_guard_clips_each_identity_as_torch_does_alone(max_norm):
    weights = torch.randn(3, 4) * 5
    vectors = torch.randn(3, 2, 2)
    together = [parameter(weights), parameter(vectors)]
    GradientGuard(3, max_norm, torch.device("cpu")).check(1, torch.ones(3), together)
    for k in range(3):
        alone = [parameter(weights[k]), parameter(vectors[k])]
        if max_norm:
            nn.utils.clip_grad_norm_(alone, max_norm)
        for mine, its in zip(together, alone, strict=True):
            torch.testing.assert_close(mine.grad[k], its.grad)


def test_guard_records_the_first_step_that_is_not_finite():
    guard = GradientGuard(3, 1.0, torch.device("cpu"))
    nan = float("nan")
    inf = float("inf")
    guard.check(1, torch.ones(3), [parameter(torch.ones(3, 2))])
    assert guard.failures() == {}
    bad = parameter(torch.tensor([[1.0, 1.0], [nan, 1.0], [inf, 1.0]]))
    guard.check(2, torch.tensor([1.0, inf, 1.0]), [bad])
    assert guard.failures() == {1: (2, "loss"), 2: (2, "gradient")}
    assert bad.grad[0].any()
    assert not bad.grad[1:].any()
    later = parameter(torch.ones(3, 2))
    guard.check(3, torch.tensor([nan, 1.0, 1.0]), [later])
    assert guard.failures() == {0: (3, "loss"), 1: (2, "loss"), 2: (2, "gradient")}
    assert not later.grad.any()
