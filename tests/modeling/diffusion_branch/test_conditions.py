"""Conditions: the formulas as loops, half precision, extreme temperatures, gradients."""

import math

import pytest
import torch
from torch import nn
from torch.func import functional_call

from fastreid_ext.modeling.diffusion_branch.conditions import (
    ClassCondition,
    CorrelationCondition,
    InstanceCondition,
)

B = 3
N = 5
D = 4
C = 6
TARGETS = torch.tensor([4, 0, 4])


def conditions(temperature: float = 0.6) -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {
        "correlation": CorrelationCondition(N, C, temperature).double(),
        "class": ClassCondition(N, C).double(),
        "instance": InstanceCondition(D, C).double(),
    }


def outputs_of_a_model(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    logits = 4 * torch.randn(B, N, dtype=torch.float64, generator=generator)
    features = 4 * torch.randn(B, D, dtype=torch.float64, generator=generator)
    return logits.to(dtype), features.to(dtype)


def mixed_by_loops(logits: torch.Tensor, prompts: torch.Tensor, temperature: float) -> torch.Tensor:
    """Mix the prompts as in section 4.3 of the paper, number by number."""
    mixed = torch.zeros(len(logits), prompts.shape[1], dtype=torch.float64)
    for b, row in enumerate(logits.tolist()):
        weights = [math.exp(logit / temperature) for logit in row]
        for n, weight in enumerate(weights):
            for c in range(prompts.shape[1]):
                mixed[b, c] += weight / sum(weights) * float(prompts[n, c])
    return mixed


@pytest.mark.parametrize("temperature", [0.1, 0.6, 1.0])
def test_correlation_condition_equals_loops(temperature):
    condition = conditions(temperature)["correlation"]
    logits, features = outputs_of_a_model()
    expected = mixed_by_loops(logits, condition.prompts.detach(), temperature)
    torch.testing.assert_close(condition(logits, features, TARGETS), expected)


def test_class_condition_is_the_prompt_of_the_label():
    condition = conditions()["class"]
    found = condition(*outputs_of_a_model(), TARGETS)
    for row, target in zip(found, TARGETS.tolist(), strict=True):
        assert torch.equal(row, condition.prompts[target])


def test_instance_condition_is_the_unit_feature_times_the_matrix():
    condition = conditions()["instance"].requires_grad_(False)
    logits, features = outputs_of_a_model()
    found = condition(logits, features, TARGETS)
    for b in range(B):
        length = math.sqrt(sum(float(value) ** 2 for value in features[b]))
        for c in range(C):
            expected = sum(
                float(features[b, d]) / length * float(condition.prompts[d, c]) for d in range(D)
            )
            assert float(found[b, c]) == pytest.approx(expected)


def test_prompts_start_as_normal_numbers_of_variance_1():
    torch.manual_seed(0)
    for condition in (
        CorrelationCondition(751, 768, 1.0),
        ClassCondition(751, 768),
        InstanceCondition(512, 768),
    ):
        prompts = condition.prompts.detach()
        assert abs(float(prompts.mean())) < 0.01
        assert float(prompts.std()) == pytest.approx(1, abs=0.01)


def test_correlation_condition_of_extreme_temperatures_and_logits():
    logits = torch.tensor([[1e4, -1e4, 0.0, 9e3, 1.0]], requires_grad=True)
    sharp = CorrelationCondition(N, C, 1e-6)
    found = sharp(logits, torch.zeros(1, D), TARGETS[:1])
    assert torch.equal(found[0], sharp.prompts[0])
    found.sum().backward()
    assert logits.grad.isfinite().all()
    assert sharp.prompts.grad.isfinite().all()
    flat = CorrelationCondition(N, C, 1e12)
    found = flat(logits, torch.zeros(1, D), TARGETS[:1])
    torch.testing.assert_close(found[0], flat.prompts.mean(dim=0))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["correlation", "class", "instance"])
def test_conditions_of_half_precision_are_computed_in_float32(name, dtype):
    condition = conditions()[name].float()
    logits, features = outputs_of_a_model(dtype)
    expected = condition(logits.float(), features.float(), TARGETS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = condition(logits, features, TARGETS)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


@pytest.mark.parametrize("name", ["correlation", "class", "instance"])
def test_conditions_gradcheck(name):
    condition = conditions()[name]
    logits, features = outputs_of_a_model()

    def compute(prompts, logits, features):
        return functional_call(condition, {"prompts": prompts}, (logits, features, TARGETS))

    inputs = [condition.prompts.detach().clone(), logits, features]
    assert torch.autograd.gradcheck(compute, [value.requires_grad_() for value in inputs])


@pytest.mark.parametrize(
    ("name", "reaches_logits", "reaches_features"),
    [("correlation", True, False), ("class", False, False), ("instance", False, True)],
)
def test_conditions_reach_the_model_by_logits_or_features(name, reaches_logits, reaches_features):
    condition = conditions()[name]
    logits, features = outputs_of_a_model()
    logits.requires_grad_()
    features.requires_grad_()
    condition(logits, features, TARGETS).square().sum().backward()
    assert (logits.grad is not None) == reaches_logits
    assert (features.grad is not None) == reaches_features
    for gradient in (logits.grad, features.grad):
        assert gradient is None or gradient.any()
    assert condition.prompts.grad.any()


def test_class_condition_trains_the_prompts_of_the_batch_alone():
    condition = conditions()["class"]
    condition(*outputs_of_a_model(), TARGETS).sum().backward()
    expected = torch.zeros(N, C, dtype=torch.float64)
    expected[4] = 2  # twice in the batch
    expected[0] = 1
    assert torch.equal(condition.prompts.grad, expected)


@pytest.mark.parametrize("name", ["correlation", "class"])
def test_conditions_refuse_another_number_of_identities(name):
    with pytest.raises(ValueError, match=r"logits of 5 identities, .* got \(3, 4\); set MODEL\.HE"):
        conditions()[name](torch.zeros(B, N - 1), torch.zeros(B, D), TARGETS)


def test_instance_condition_refuses_another_dimension():
    expected = r"features of 4 dimensions .* got \(3, 8\); take MODEL\.DIFFUSION\.CONDITION corr"
    with pytest.raises(ValueError, match=expected):
        conditions()["instance"](torch.zeros(B, N), torch.zeros(B, 2 * D), TARGETS)
