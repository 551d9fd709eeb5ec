"""fastreid's losses after our repairs: equal to its own in float32, sound in half precision."""

import functools
import inspect

import pytest
import torch
from fastreid.layers import any_softmax
from fastreid.modeling import losses as host
from fastreid.modeling.losses import circle_loss
from fastreid.modeling.meta_arch import distiller, moco
from torch import nn
from torch.nn import functional as F

import fastreid_ext  # noqa: F401

HALF = [torch.float16, torch.bfloat16]
LABELS = {
    "four identities": [0, 0, 1, 1, 2, 2, 3, 3],
    "unequal": [0, 0, 0, 0, 0, 1, 2, 2],
    "no positives": [0, 1, 2, 3, 4, 5, 6, 7],
    "no negatives": [3] * 8,
}
TRIPLETS = [
    {"margin": margin, "norm_feat": norm_feat, "hard_mining": hard_mining}
    for margin in (0.3, 0.0)
    for norm_feat in (False, True)
    for hard_mining in (False, True)
]


def features(norm=10.0, seed=0, rows=8):
    """Rows around one direction, as the features of real networks are."""
    generator = torch.Generator().manual_seed(seed)
    rows = 1 + 0.1 * torch.randn(rows, 64, generator=generator)
    return norm * F.normalize(rows, dim=1)


def value_and_gradient(loss, rows, *args, autocast=None, **kwargs):
    rows = rows.detach().clone().requires_grad_()
    with torch.autocast("cpu", dtype=autocast, enabled=autocast is not None):
        value = loss(rows, *args, **kwargs)
    value.backward()
    return value.detach(), rows.grad


def assert_equals_host(repaired, rows, *args, **kwargs):
    """Compare with the function as fastreid has it, to the last bit."""
    ours = value_and_gradient(repaired, rows, *args, **kwargs)
    theirs = value_and_gradient(inspect.unwrap(repaired), rows, *args, **kwargs)
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our, their, rtol=0, atol=0, equal_nan=True)


# --- half precision


@pytest.mark.parametrize("is_autocast", [False, True])
def test_triplet_at_norm_260_in_float16_is_nan_only_in_fastreid(is_autocast):
    labels = torch.tensor(LABELS["four identities"])
    loss = functools.partial(
        host.triplet_loss, targets=labels, margin=0.3, norm_feat=False, hard_mining=True
    )
    rows = features(norm=260).half()
    dtype = torch.float16 if is_autocast else None
    theirs, _ = value_and_gradient(
        inspect.unwrap(host.triplet_loss), rows, labels, 0.3, False, True, autocast=dtype
    )
    ours, gradient = value_and_gradient(loss, rows, autocast=dtype)
    assert torch.isnan(theirs)
    assert ours.dtype == torch.float32
    assert float(ours) == pytest.approx(float(loss(rows.double())), rel=1e-4)
    assert gradient.isfinite().all()
    assert gradient.any()


def test_triplet_at_norm_80_in_bfloat16_is_wrong_only_in_fastreid():
    labels = torch.tensor(LABELS["four identities"])
    rows = features(norm=80).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        theirs = inspect.unwrap(host.triplet_loss)(rows, labels, 0.3, False, True)
        ours = host.triplet_loss(rows, labels, 0.3, False, True)
    truth = float(host.triplet_loss(rows.double(), labels, 0.3, False, True))
    assert abs(float(theirs) - truth) > 0.3  # more than the margin
    assert float(ours) == pytest.approx(truth, rel=1e-4)


@pytest.mark.parametrize("dtype", HALF)
def test_triplet_of_equal_features_has_finite_gradients(dtype):
    """1e-12, which keeps the root differentiable at distance 0, is 0 in float16."""
    rows = torch.ones(8, 4, dtype=dtype)
    labels = torch.tensor(LABELS["four identities"])
    _, gradient = value_and_gradient(host.triplet_loss, rows, labels, 0.3, False, True)
    assert gradient.isfinite().all()


PAIRS = [
    (host.triplet_loss, {"margin": 0.3, "norm_feat": False, "hard_mining": False}),
    (host.triplet_loss, {"margin": 0.0, "norm_feat": True, "hard_mining": True}),
    (host.pairwise_circleloss, {"margin": 0.25, "gamma": 128}),
    (host.pairwise_cosface, {"margin": 0.25, "gamma": 128}),
    (host.cross_entropy_loss, {"eps": 0.1}),
    (host.cross_entropy_loss, {"eps": -1, "alpha": 0.2}),
]


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize(("loss", "keys"), PAIRS)
def test_losses_of_half_precision_inputs_equal_float64(loss, keys, dtype):
    labels = torch.tensor(LABELS["four identities"])
    rows = features(norm=200).to(dtype)
    value, gradient = value_and_gradient(loss, rows, labels, autocast=dtype, **keys)
    truth, slope = value_and_gradient(loss, rows.double(), labels, **keys)
    assert value.dtype == torch.float32
    assert float(value) == pytest.approx(float(truth), rel=1e-4)
    scale = float(slope.abs().max())
    # The gradient itself is rounded to half precision.
    torch.testing.assert_close(gradient.double(), slope, rtol=0.02, atol=1e-3 * scale)


@pytest.mark.parametrize("dtype", HALF)
def test_focal_queue_and_distillation_losses_are_in_float32(dtype):
    labels = torch.tensor(LABELS["four identities"])
    rows = features(norm=100).to(dtype)
    memory = moco.Memory(dim=64, K=16)
    with torch.autocast("cpu", dtype=dtype):
        assert host.focal_loss(rows, labels, alpha=0.5).dtype == torch.float32
        assert memory(rows, labels).dtype == torch.float32
        divergence = distiller.Distiller.jsdiv_loss(distiller.Distiller, rows, rows + 1)
        assert divergence.dtype == torch.float32


# --- equal to fastreid's


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("keys", TRIPLETS)
def test_triplet_equals_fastreid_bit_by_bit(labels, keys):
    for seed in range(4):
        rows = features(seed=seed) + seed * torch.randn(8, 64)
        assert_equals_host(host.triplet_loss, rows, torch.tensor(LABELS[labels]), **keys)


def test_triplet_that_overflows_the_soft_margin_equals_fastreid():
    """exp(89) is infinite in float32, so fastreid takes a ranking loss there."""
    rows = torch.tensor([[0.0], [200.0], [0.5], [201.0]])
    labels = torch.tensor([0, 0, 1, 1])
    keys = {"margin": 0.0, "norm_feat": False, "hard_mining": True}
    assert_equals_host(host.triplet_loss, rows, labels, **keys)
    value, gradient = value_and_gradient(host.triplet_loss, rows, labels, **keys)
    # Hardest positive 200 or 200.5, hardest negative 0.5 or 1, margin 0.3.
    assert float(value) == pytest.approx((199.8 + 199.3 + 200.3 + 199.8) / 4, abs=1)
    assert gradient.isfinite().all()


@pytest.mark.parametrize(("eps", "alpha"), [(0.0, 0.2), (0.1, 0.2), (-1, 0.2), (-1, 0.9)])
def test_cross_entropy_equals_fastreid_bit_by_bit(eps, alpha):
    for seed in range(4):
        labels = torch.tensor(LABELS["unequal"])
        assert_equals_host(host.cross_entropy_loss, features(seed=seed), labels, eps, alpha)


@pytest.mark.parametrize("certain", [3, 8])
def test_cross_entropy_divides_by_the_images_whose_loss_is_not_zero(certain):
    labels = torch.arange(8)
    rows = torch.randn(8, 8)
    rows[:certain] = 1000 * torch.eye(8)[:certain]  # a loss of exactly 0
    assert_equals_host(host.cross_entropy_loss, rows, labels, 0.0)


@pytest.mark.parametrize("loss", [circle_loss.pairwise_circleloss, circle_loss.pairwise_cosface])
@pytest.mark.parametrize("labels", LABELS)
def test_pair_losses_equal_fastreid(loss, labels):
    assert_equals_host(loss, features(), torch.tensor(LABELS[labels]), margin=0.25, gamma=64)


@pytest.mark.parametrize("labels", [[0, 1, 4, 3], [0, -1, -1, 2], [-1] * 4])
@pytest.mark.parametrize("name", ["CosSoftmax", "ArcSoftmax", "CircleSoftmax"])
def test_margin_layers_equal_fastreid(name, labels):
    """Label -1 is a row whose class is on another process (model parallel)."""
    layer = getattr(any_softmax, name)(5, 64, 0.35)
    cosines = torch.rand(4, 5, dtype=torch.float64) * 1.8 - 0.9
    labels = torch.tensor(labels)
    results = []
    for forward in (layer.forward, functools.partial(inspect.unwrap(type(layer).forward), layer)):
        given = cosines.clone().requires_grad_()
        logits = forward(given.clone(), labels)
        logits.square().sum().backward()
        results.append((logits.detach(), given.grad))
    (ours, slope), (theirs, host_slope) = results
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(slope, host_slope, rtol=1e-12, atol=1e-12)


def test_arc_margin_of_nearly_parallel_features_has_finite_gradients():
    """A cosine of 0.9999 is 1 in float16 only after fastreid's own rounding."""
    layer = any_softmax.ArcSoftmax(2, 64, 0.5)
    cosines = torch.tensor([[0.999, 0.1]], dtype=torch.float16, requires_grad=True)
    logits = layer(cosines.clone(), torch.tensor([0]))
    logits.sum().backward()
    assert logits.dtype == torch.float32
    assert cosines.grad.isfinite().all()


# --- the queue of MoCo


def test_moco_queue_equals_fastreid():
    torch.manual_seed(0)
    ours = moco.Memory(dim=4, K=12)
    theirs = moco.Memory(dim=4, K=12)
    theirs.load_state_dict(ours.state_dict())
    push = inspect.unwrap(moco.Memory.__dict__["_dequeue_and_enqueue"])
    assert isinstance(ours, nn.Module)
    for step in range(5):  # more than a round
        keys = torch.randn(4, 4)
        labels = torch.arange(4) + step
        ours._dequeue_and_enqueue(keys, labels)
        push(theirs, keys, labels)
        for name, value in theirs.state_dict().items():
            assert torch.equal(ours.state_dict()[name], value), name
