"""AGW's weighted triplets and CAJ's squared variant, against loops and in the extremes."""

import math

import pytest
import torch
from fastreid.config import get_cfg

from fastreid_ext.config import add_fastreid_ext_config
from fastreid_ext.modeling.losses import weighted_triplet_loss
from fastreid_ext.modeling.losses.registered import build_losses

TARGETS = torch.tensor([4, 4, 4, 9, 9, 2])


def features_of(scale=1.0):
    generator = torch.Generator().manual_seed(3)
    return scale * torch.randn(6, 5, dtype=torch.float64, generator=generator)


def slow(features, targets, is_squared, clamp=88.0):
    rows = [row.tolist() for row in features]
    total = 0.0
    for i, anchor in enumerate(rows):
        near = []
        far = []
        for j, other in enumerate(rows):
            distance = max(math.dist(anchor, other), 1e-6)
            (far if targets[i] == targets[j] else near).append(distance)
        least = min(near)
        most = max(far)
        own = [math.exp(d - most) for d in far]
        others = [math.exp(least - d) for d in near]
        p = sum(w * d for w, d in zip(own, far, strict=True)) / sum(own)
        n = sum(w * d for w, d in zip(others, near, strict=True)) / sum(others)
        gap = p - n
        if is_squared:
            gap = min(gap**2, clamp) if p > n else -(gap**2)
        total += max(gap, 0) + math.log1p(math.exp(-abs(gap)))
    return total / len(rows)


@pytest.mark.parametrize("is_squared", [False, True])
@pytest.mark.parametrize("scale", [0.3, 1.0, 30.0])
def test_weighted_triplet_equals_loops(scale, is_squared):
    features = features_of(scale)
    expected = slow(features, TARGETS.tolist(), is_squared)
    loss = weighted_triplet_loss(features, TARGETS, is_squared=is_squared)
    assert float(loss) == pytest.approx(expected, rel=1e-6)


def test_weighted_triplet_by_hand():
    """Anchor 0: positives at 0 and 2, one negative at 1; the others by symmetry of the line."""
    features = torch.tensor([[0.0], [2.0], [1.0]], dtype=torch.float64)
    targets = torch.tensor([0, 0, 1])
    p = 2 * math.exp(2) / (1 + math.exp(2))
    lone = math.log1p(math.exp(0 - 1))  # the negative as an anchor: p = 0, n = 1
    expected = (2 * math.log1p(math.exp(p - 1)) + lone) / 3
    assert float(weighted_triplet_loss(features, targets)) == pytest.approx(expected, rel=1e-5)
    squared = (2 * math.log1p(math.exp((p - 1) ** 2)) + math.log1p(math.exp(-1))) / 3
    loss = weighted_triplet_loss(features, targets, is_squared=True)
    assert float(loss) == pytest.approx(squared, rel=1e-5)


def test_weighted_triplet_equals_fastreid_where_distances_are_small():
    features = features_of(0.3)
    cfg = get_cfg()
    cfg.MODEL.LOSSES.TRI.MARGIN = 0.0
    [theirs] = build_losses(cfg, ["TripletLoss"]).values()
    loss = weighted_triplet_loss(features, TARGETS)
    assert float(theirs({"features": features}, TARGETS)) == pytest.approx(float(loss), rel=1e-4)


def test_fastreid_loses_its_negatives_at_large_distances():
    """Identities 300 apart are no error, but its negatives' weights vanish: log(1 + exp(0 - 0))."""
    features = torch.tensor([[0.0], [0.0], [300.0], [300.0]])
    targets = torch.tensor([0, 0, 1, 1])
    cfg = get_cfg()
    cfg.MODEL.LOSSES.TRI.MARGIN = 0.0
    [theirs] = build_losses(cfg, ["TripletLoss"]).values()
    assert float(theirs({"features": features}, targets)) == pytest.approx(math.log(2), rel=1e-3)
    assert float(weighted_triplet_loss(features, targets)) < 1e-6


@pytest.mark.parametrize("is_squared", [False, True])
def test_weighted_triplet_gradcheck(is_squared):
    features = features_of().requires_grad_()
    torch.autograd.gradcheck(
        lambda rows: weighted_triplet_loss(rows, TARGETS, is_squared=is_squared), features
    )


def test_squared_triplet_at_the_clamp_has_no_gradient():
    """The loss that users of CAJ saw stuck at 88: positives 40 apart, a negative beside them."""
    features = torch.tensor([[0.0], [40.0], [0.1], [40.1]], requires_grad=True)
    targets = torch.tensor([0, 0, 1, 1])
    loss = weighted_triplet_loss(features, targets, is_squared=True)
    assert float(loss) == pytest.approx(88.0)
    loss.backward()
    assert not features.grad.any()
    weighted_triplet_loss(features, targets).backward()
    assert features.grad.any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weighted_triplet_in_half_precision_is_near_float64(dtype):
    rows = features_of(200.0).to(dtype)  # squared norms leave the range of float16
    loss = weighted_triplet_loss(rows, TARGETS)
    assert loss.dtype == torch.float32
    expected = weighted_triplet_loss(rows.double(), TARGETS)
    assert float(loss) == pytest.approx(float(expected), rel=1e-4)


def test_weighted_triplet_under_autocast_computes_in_float32():
    rows = features_of().float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = weighted_triplet_loss(rows, TARGETS)
    assert torch.equal(inside, weighted_triplet_loss(rows, TARGETS))


@pytest.mark.parametrize("is_squared", [False, True])
def test_weighted_triplet_extremes_are_finite(is_squared):
    equal = torch.zeros(4, 3, requires_grad=True)
    loss = weighted_triplet_loss(equal, torch.tensor([0, 0, 1, 1]), is_squared=is_squared)
    loss.backward()
    assert float(loss) == pytest.approx(math.log(2), rel=1e-5)
    assert torch.isfinite(equal.grad).all()
    far = (1e4 * features_of().float()).requires_grad_()
    weighted_triplet_loss(far, TARGETS, is_squared=is_squared).backward()
    assert torch.isfinite(far.grad).all()


def test_weighted_triplet_of_one_identity_is_zero():
    assert float(weighted_triplet_loss(features_of(), torch.zeros(6))) == 0


def test_registered_loss_reads_its_keys():
    cfg = get_cfg()
    add_fastreid_ext_config(cfg)
    keys = cfg.MODEL.LOSSES.WEIGHTED_TRIPLET
    keys.SCALE = 2.0
    keys.SQUARED = True
    keys.CLAMP = 0.5
    built = build_losses(cfg, ["WeightedTripletLoss"])
    features = features_of(30.0)
    expected = weighted_triplet_loss(features, TARGETS, is_squared=True, clamp=0.5)
    loss = built["loss_weighted_triplet"]({"features": features}, TARGETS)
    assert float(loss) == pytest.approx(2 * float(expected))
