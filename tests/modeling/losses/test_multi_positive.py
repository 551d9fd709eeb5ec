"""The contrast with several positives: slow truth, known values, gradient, extremes, words."""

import math

import pytest
import torch
from torch.nn import functional as F

from fastreid_ext.modeling.losses import multi_positive_contrastive_loss, multi_positive_log_loss

B = 4
P = 3
N = 7
D = 16


def unit(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return F.normalize(torch.randn(shape, generator=generator, dtype=torch.float64), dim=-1).to(
        dtype
    )


def naive(query, positives, negatives, temperature):
    """The formula, number by number."""
    total = 0.0
    for b in range(len(query)):
        own = negatives if negatives.ndim == 2 else negatives[b]
        near = sum(math.exp(float(query[b] @ k) / temperature) for k in positives[b])
        far = sum(math.exp(float(query[b] @ n) / temperature) for n in own)
        total += -math.log(near / (near + far))
    return total / len(query)


@pytest.mark.parametrize("shape", [(N, D), (B, N, D)])
@pytest.mark.parametrize("temperature", [0.05, 0.7, 3.0])
def test_contrast_equals_the_formula_as_loops(shape, temperature):
    inputs = unit(B, D), unit(B, P, D), unit(*shape)
    loss = multi_positive_contrastive_loss(*inputs, temperature)
    assert float(loss) == pytest.approx(naive(*inputs, temperature), rel=1e-12)


def test_contrast_with_one_positive_is_info_nce():
    query = unit(B, D)
    positive = unit(B, 1, D)
    negatives = unit(N, D)
    logits = torch.cat([(query * positive[:, 0]).sum(1, keepdim=True), query @ negatives.T], 1)
    expected = F.cross_entropy(logits / 0.7, torch.zeros(B, dtype=torch.long))
    loss = multi_positive_contrastive_loss(query, positive, negatives, 0.7)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)


def test_contrast_known_values():
    """Equal similarities: log(1 + N / P). Positives at 1, negatives at -1: by hand."""
    same = unit(1, D).expand(B, D)
    loss = multi_positive_contrastive_loss(
        same, same[:, None].expand(B, P, D), same[:1].expand(N, D), 0.7
    )
    assert float(loss) == pytest.approx(math.log(1 + N / P))
    loss = multi_positive_contrastive_loss(same, same[:, None], -same[:1], 0.5)
    assert float(loss) == pytest.approx(math.log(1 + math.exp(-4)))


def test_contrast_needs_one_near_positive():
    """The sum is inside the logarithm: outside it, a far positive would cost about 2 / tau."""
    query = unit(1, D)
    positives = torch.stack([query, -query], dim=1)
    negatives = F.normalize(unit(N, D) - (unit(N, D) @ query.T) * query, dim=1)  # at 90 degrees
    both = multi_positive_contrastive_loss(query, positives, negatives, 0.1)
    one = multi_positive_contrastive_loss(query, positives[:, :1], negatives, 0.1)
    assert float(both) == pytest.approx(float(one), abs=1e-6)


@pytest.mark.parametrize("shape", [(N, D), (B, N, D)])
def test_contrast_gradcheck(shape):
    def of_directions(query, positives, negatives):
        return multi_positive_contrastive_loss(
            *(F.normalize(rows, dim=-1) for rows in (query, positives, negatives)), 0.7
        )

    inputs = [torch.randn(s, dtype=torch.float64) for s in ((B, D), (B, P, D), shape)]
    assert torch.autograd.gradcheck(of_directions, [rows.requires_grad_() for rows in inputs])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("scale", [1e-3, 1e4])
def test_contrast_in_half_precision_is_near_float64(dtype, scale):
    """Features of norm 1e4 and 1e-3, normalised and rounded to half precision."""
    raw = [unit(B, D) * scale, unit(B, P, D) * scale, unit(N, D) * scale]
    half = [F.normalize(rows.float(), dim=-1).to(dtype).requires_grad_() for rows in raw]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = multi_positive_contrastive_loss(*half, 0.05)
    expected = naive(*(F.normalize(rows, dim=-1) for rows in raw), 0.05)
    assert loss.dtype == torch.float32
    assert float(loss.detach()) == pytest.approx(expected, abs=0.2)
    loss.backward()
    assert all(torch.isfinite(rows.grad).all() for rows in half)


def test_contrast_at_the_smallest_temperature_is_finite():
    query = unit(B, D, dtype=torch.float32).requires_grad_()
    loss = multi_positive_contrastive_loss(query, -query.detach()[:, None], query.detach(), 1e-4)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(2e4, rel=1e-3)
    assert torch.isfinite(query.grad).all()


def test_contrast_does_not_depend_on_order():
    query = unit(B, D)
    positives = unit(B, P, D)
    negatives = unit(B, N, D)
    expected = multi_positive_contrastive_loss(query, positives, negatives, 0.7)
    turned = torch.tensor([2, 0, 3, 1])
    for again in (
        multi_positive_contrastive_loss(query[turned], positives[turned], negatives[turned], 0.7),
        multi_positive_contrastive_loss(query, positives.flip(1), negatives.flip(1), 0.7),
    ):
        torch.testing.assert_close(again, expected, rtol=1e-12, atol=0)


def test_log_loss_skips_negatives_of_minus_infinity():
    positive = torch.rand(2, P)
    negative = torch.rand(2, N).requires_grad_()
    hidden = negative.masked_fill(torch.tensor([[1], [0]]).bool(), -torch.inf)
    loss = multi_positive_log_loss(positive, hidden, 0.7)  # the first has no negative at all
    second = multi_positive_log_loss(positive[1:], negative[1:], 0.7)
    torch.testing.assert_close(loss, second / 2)
    loss.backward()
    assert (negative.grad[0] == 0).all()
    assert torch.isfinite(negative.grad).all()


@pytest.mark.parametrize("place", ["query", "positives", "negatives"])
def test_contrast_refuses_rows_of_another_norm(place):
    inputs = {"query": unit(B, D), "positives": unit(B, P, D), "negatives": unit(N, D)}
    inputs[place] = inputs[place] * 1.05
    with pytest.raises(ValueError, match=rf"expected {place} with rows of norm 1 .* off by 0\.05;"):
        multi_positive_contrastive_loss(**inputs, temperature=0.7)


def test_contrast_refuses_half_precision_rows_of_norm_1e4():
    with pytest.raises(ValueError, match=r"apply torch\.nn\.functional\.normalize"):
        multi_positive_contrastive_loss(
            (unit(B, D) * 1e4).half(), unit(B, P, D).half(), unit(N, D).half(), 0.7
        )


def test_contrast_leaves_nan_to_the_trainer():
    query = unit(B, D)
    query[0, 0] = torch.nan
    assert multi_positive_contrastive_loss(query, unit(B, P, D), unit(N, D), 0.7).isnan()


@pytest.mark.parametrize(
    "shapes",
    [
        ((B, D), (B, D), (N, D)),
        ((B, D), (B + 1, P, D), (N, D)),
        ((B, D), (B, P, D + 1), (N, D)),
        ((B, D), (B, P, D), (N, D + 1)),
        ((B, D), (B, P, D), (B + 1, N, D)),
        ((B, D), (B, P, D), (N,)),
        ((B, D), (B, P, D), (0, D)),
        ((B, D), (B, 0, D), (N, D)),
    ],
)
def test_contrast_refuses_other_shapes(shapes):
    with pytest.raises(ValueError, match=r"expected query \(B, D\), positives \(B, P, D\) and neg"):
        multi_positive_contrastive_loss(*(unit(*shape) for shape in shapes), 0.7)


@pytest.mark.parametrize("temperature", [0, -1.0, math.nan])
def test_contrast_refuses_a_temperature_of_0_or_less(temperature):
    with pytest.raises(ValueError, match="expected a temperature above 0"):
        multi_positive_contrastive_loss(unit(B, D), unit(B, P, D), unit(N, D), temperature)
