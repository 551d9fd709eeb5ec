"""Soft triplets of the hardest pairs: by hand, by loops, against fastreid's."""

import math

import pytest
import torch
from fastreid.modeling.losses import triplet_loss

from fastreid_ext.modeling.losses import soft_triplet_loss

TARGETS = torch.tensor([0, 0, 1, 1, 1, 4])


def features_of(seed=0):
    return 5 * torch.randn(6, 3, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("far", "expected"), [(2.0, 1.313262), (1.0, math.log(2))])
def test_by_hand(far, expected):
    """One anchor's positive at a distance of 2 (or 1), and its negative at 1."""
    features = torch.tensor([[0.0, 0.0], [far, 0.0], [0.0, 1.0]])
    targets = torch.tensor([0, 0, 1])
    anchors = []
    for anchor, (positive, negative) in enumerate([(far, 1.0), (far, math.hypot(far, 1.0))]):
        anchors.append(math.log1p(math.exp(positive - negative)))
        assert anchor or anchors[0] == pytest.approx(expected, abs=1e-6)
    anchors.append(math.log1p(math.exp(-1.0)))  # alone in its cluster
    loss = soft_triplet_loss(features, targets)
    assert loss.item() == pytest.approx(sum(anchors) / 3, abs=1e-5)


def test_is_that_of_loops_and_of_fastreid():
    features = features_of()
    total = 0.0
    for i in range(6):
        distances = (features - features[i]).norm(dim=1)
        gap = distances[TARGETS == TARGETS[i]].max() - distances[TARGETS != TARGETS[i]].min()
        total += math.log1p(math.exp(float(gap))) / 6
    loss = soft_triplet_loss(features, TARGETS)
    assert loss.item() == pytest.approx(total, rel=1e-4)
    torch.testing.assert_close(
        loss, triplet_loss(features, TARGETS, 0.0, norm_feat=False, hard_mining=True)
    )


def test_one_cluster_has_no_loss_and_a_zero_gradient():
    features = features_of().requires_grad_()
    loss = soft_triplet_loss(features, torch.zeros(6))
    loss.backward()
    assert loss.item() == 0
    assert not features.grad.any()


def test_equal_features_have_a_finite_gradient():
    features = torch.ones(4, 3, requires_grad=True)
    loss = soft_triplet_loss(features, torch.tensor([0, 0, 1, 1]))
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2), abs=1e-5)
    assert features.grad.isfinite().all()


def test_gradient():
    features = features_of(3).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda rows: soft_triplet_loss(rows, TARGETS), features)


def test_half_precision_is_computed_in_float32():
    loss = soft_triplet_loss(100 * features_of().half(), TARGETS)
    assert loss.dtype == torch.float32
    assert loss.isfinite()
