"""The JS divergence between views: slow truth, known values, gradient, extremes, words."""

import math

import pytest
import torch

from fastreid_ext.modeling.losses import js_consistency_loss

B = 5
C = 7


def views(count: int, scale: float = 2.0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(count)
    return [
        torch.randn(B, C, generator=generator, dtype=torch.float64) * scale for _ in range(count)
    ]


def naive(logits):
    """The formula, number by number, with the mean clamped to [1e-7, 1]."""
    total = 0.0
    for b in range(len(logits[0])):
        rows = [[math.exp(float(x) - float(view[b].max())) for x in view[b]] for view in logits]
        p = [[value / sum(row) for value in row] for row in rows]
        mean = [max(sum(column) / len(p), 1e-7) for column in zip(*p, strict=True)]
        for row in p:
            pairs = zip(row, mean, strict=True)
            total += sum(a * math.log(a / m) for a, m in pairs if a > 0) / len(p)
    return total / len(logits[0])


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("scale", [0.1, 2.0, 30.0])
def test_js_equals_the_formula_as_loops(count, scale):
    logits = views(count, scale)
    loss = js_consistency_loss(logits)
    assert float(loss) == pytest.approx(naive(logits), rel=1e-10, abs=1e-15)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_js_is_zero_for_equal_views(count):
    first = views(1)[0]
    logits = [first.clone().requires_grad_() for _ in range(count)]
    loss = js_consistency_loss(logits)
    assert float(loss.detach()) == pytest.approx(0, abs=1e-15)
    loss.backward()
    assert max(float(view.grad.abs().max()) for view in logits) < 1e-12


@pytest.mark.parametrize("count", [2, 3, 5])
def test_js_is_at_most_the_logarithm_of_the_number_of_views(count):
    """Views that are certain of different classes."""
    certain = [torch.eye(C)[[view] * B] * 1e3 for view in range(count)]
    assert float(js_consistency_loss(certain)) == pytest.approx(math.log(count))
    logits = [torch.randn(50, C) * 40 for _ in range(count)]
    assert 0 < float(js_consistency_loss(logits)) <= math.log(count)


def test_js_does_not_depend_on_a_shift_of_logits():
    shifted = [view + 100 * index for index, view in enumerate(views(3))]
    torch.testing.assert_close(js_consistency_loss(shifted), js_consistency_loss(views(3)))


def test_js_gradcheck():
    logits = [view.requires_grad_() for view in views(3)]
    assert torch.autograd.gradcheck(lambda *given: js_consistency_loss(given), logits)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_js_in_half_precision_with_logits_of_1e4(dtype):
    logits = [(torch.eye(C)[[view] * B] * 1e4).to(dtype).requires_grad_() for view in range(3)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = js_consistency_loss(logits)
    assert loss.dtype == torch.float32
    assert float(loss.detach()) == pytest.approx(math.log(3))
    loss.backward()
    assert all(torch.isfinite(view.grad).all() for view in logits)


def test_js_in_half_precision_is_near_float64():
    half = [view.half() for view in views(3)]
    assert float(js_consistency_loss(half)) == pytest.approx(naive(views(3)), rel=1e-2)


def test_js_of_many_improbable_classes_is_near_zero():
    """The clamp of the mean may take equal views below 0, by less than 4e-8 a class."""
    logits = [torch.cat([torch.full((1, 1), 18.0), torch.zeros(1, 750)], dim=1)] * 3
    assert -4e-8 * 751 < float(js_consistency_loss(logits)) <= 1e-6


def test_js_does_not_depend_on_order():
    logits = views(3)
    expected = js_consistency_loss(logits)
    torch.testing.assert_close(js_consistency_loss(logits[::-1]), expected)
    torch.testing.assert_close(js_consistency_loss([view.flip(0) for view in logits]), expected)
    torch.testing.assert_close(js_consistency_loss([view.flip(1) for view in logits]), expected)


@pytest.mark.parametrize(
    "logits",
    [
        [],
        [torch.zeros(B, C)],
        [torch.zeros(B, C), torch.zeros(B, C + 1)],
        [torch.zeros(C), torch.zeros(C)],
        [torch.zeros(0, C), torch.zeros(0, C)],
    ],
)
def test_js_refuses_other_shapes(logits):
    with pytest.raises(ValueError, match=r"expected logits \(B, C\) of at least two views, all of"):
        js_consistency_loss(logits)
