"""Batch-instance normalisation: METHODS' hand case, its two ends, conversion and weights."""

import pytest
import torch
from torch import nn

from fastreid_ext.modeling.batch_instance_norm import (
    BatchInstanceNorm,
    mix_norms,
    norms_of,
    with_instance_norms,
)

PIXELS = torch.tensor([[[[1.0, 3.0]]], [[[5.0, 7.0]]]])  # two images of 1x2


def test_a_quarter_of_batch_normalisation_by_hand():
    norm = BatchInstanceNorm(1, gate=0.25, eps=1e-12)
    found = norm(PIXELS)
    wanted = [-1.0854, 0.6382, -0.6382, 1.0854]
    assert found.flatten().tolist() == pytest.approx(wanted, abs=1e-4)
    found[0, 0, 0, 0].backward()
    assert norm.gate.grad.item() == pytest.approx(-0.3416, abs=1e-4)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3))


def mixed(gate):
    plain = network()
    mix_norms(plain, gate)
    return plain


@pytest.mark.parametrize("is_training", [True, False])
def test_gate_one_is_the_plain_network_to_the_last_bit(is_training):
    images = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    plain = network().train(is_training)
    gated = mixed(1.0).train(is_training)
    assert torch.equal(plain(images), gated(images))
    assert torch.equal(plain[1].running_mean, gated[1].running_mean)


def test_gate_zero_makes_an_image_independent_of_its_batch():
    images = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    gated = mixed(0.0)
    assert torch.allclose(gated(images)[:2], gated(images[:2]), atol=1e-6)
    assert not torch.allclose(network()(images)[:2], network()(images[:2]), atol=1e-3)


def test_resnet_50_has_53_norms_and_26560_gates(backbone_of):
    backbone = backbone_of("build_resnet_backbone", "50x")
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    mix_norms(backbone, 1.0)
    gates = [norm.num_features for norm in norms_of(backbone).values()]
    assert (len(gates), sum(gates)) == (53, 26560)
    norms = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 53
    after = backbone.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_the_halves_of_ibn_stay(backbone_of):
    backbone = backbone_of("build_resnet_backbone", "18x", "WITH_IBN", True)
    halves = [module for module in backbone.modules() if type(module).__name__ == "IBN"]
    mix_norms(backbone, 1.0)
    assert halves
    assert not any(isinstance(module.BN, BatchInstanceNorm) for module in halves)


def test_a_backbone_without_batch_normalisation_is_refused():
    with pytest.raises(ValueError, match=r"Sequential without.*build_resnet_backbone"):
        mix_norms(nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4)), 1.0)


def test_weights_of_a_plain_model_are_completed():
    plain = network().state_dict()
    gated = mixed(0.5)
    completed = with_instance_norms(gated, plain)
    assert completed.keys() == gated.state_dict().keys()
    assert completed["1.gate"].tolist() == [0.5] * 4
    trained = dict(completed) | {"1.gate": torch.zeros(4)}
    assert with_instance_norms(gated, trained)["1.gate"].tolist() == [0.0] * 4
    assert list(norms_of(gated)) == ["1"]
