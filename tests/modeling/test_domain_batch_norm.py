"""Each domain of a batch has statistics and parameters of its own."""

import pytest
import torch
from fastreid.layers import get_norm
from torch import nn

from fastreid_ext.modeling.domain_batch_norm import (
    DomainBatchNorm,
    separate_domains,
    train_biases,
    with_copies,
)
from fastreid_ext.modeling.grouped_batch_norm import GroupedBatchNorm, group_batch_norms


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        get_norm("BN", 4, bias_freeze=True),
    ).double()


def images(count=12, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, 8, 6, generator=generator, dtype=torch.float64)


def separated(model, group=0, **options):
    separate_domains(model, group=group, **options)
    return model


def test_statistics_of_a_domain_move_in_its_own_copy_alone():
    norm = DomainBatchNorm.separated(nn.BatchNorm1d(2), domains=2, group=0)
    norm(torch.cat([torch.zeros(3, 2), torch.full((3, 2), 5.0)]))
    torch.testing.assert_close(norm.source.running_mean, torch.zeros(2))
    torch.testing.assert_close(norm.running_mean, torch.full((2,), 0.5))
    inputs = torch.tensor([[1.0, 2.0], [3.0, -1.0]])
    plain = nn.BatchNorm1d(2)
    plain.running_mean.fill_(0.5)
    plain.running_var.mul_(0.9)
    torch.testing.assert_close(norm.eval()(inputs), plain.eval()(inputs))


@pytest.mark.parametrize("domains", [2, 3])
def test_equal_copies_normalise_each_part_as_a_batch_of_its_own(domains):
    model = separated(network(), domains_of=lambda name: domains)
    parts = images().chunk(domains)
    expected = torch.cat([network()(part) for part in parts])
    torch.testing.assert_close(model(images()), expected)


def test_groups_are_within_a_domain():
    model = separated(network(), group=3)
    grouped = network()
    group_batch_norms(grouped, 3)
    expected = torch.cat([grouped(part) for part in images().chunk(2)])
    torch.testing.assert_close(model(images()), expected)


def test_layers_may_see_two_or_three_domains():
    model = separated(network(), domains_of=lambda name: 3 if name == "4" else 2)
    assert hasattr(model[4], "mixed")
    assert not hasattr(model[1], "mixed")
    assert type(model[4].mixed) is GroupedBatchNorm


def test_evaluation_is_that_of_the_target_and_its_names_are_the_plain_ones():
    model = separated(network())
    for _ in range(3):
        model(torch.cat([images(6), 4 + images(6, seed=2)]))
    plain = network()
    missing = plain.load_state_dict(model.state_dict(), strict=False)
    assert missing.missing_keys == []
    assert all(".source." in name for name in missing.unexpected_keys)
    assert torch.equal(model.eval()(images()), plain.eval()(images()))


def test_parameters_of_a_domain_get_the_gradient_of_its_images():
    model = separated(network())
    model(images())[6:].square().sum().backward()
    assert model[1].weight.grad.any()
    assert not model[1].source.weight.grad.any()


def test_frozen_bias_of_the_neck_stays_frozen_in_all_copies_unless_it_is_asked_for():
    model = separated(network(), domains_of=lambda name: 3)
    neck = model[4]
    biases = [neck.bias, neck.source.bias, neck.mixed.bias]
    assert [bias.requires_grad for bias in biases] == [False] * 3
    assert neck.source.weight.requires_grad
    train_biases(neck)
    assert [bias.requires_grad for bias in biases] == [True] * 3


def test_copies_share_no_tensor():
    model = separated(network())
    with torch.no_grad():
        model[1].weight.fill_(7.0)
    assert (model[1].source.weight == 1).all()


def test_weights_of_a_plain_model_begin_all_domains():
    trained = network(seed=5)
    with torch.no_grad():
        trained[1].weight.uniform_()
        trained(images())
    model = separated(network(), domains_of=lambda name: 3)
    completed = with_copies(model, trained.state_dict())
    assert completed.keys() == model.state_dict().keys()
    model.load_state_dict(completed)
    for name in ("weight", "running_mean", "running_var"):
        for copy in (model[1].source, model[1].mixed):
            assert torch.equal(getattr(copy, name), getattr(trained[1], name))
    # Where the file has the copies, they are taken as they are.
    changed = {**completed, "1.source.weight": torch.zeros(4, dtype=torch.float64)}
    assert not with_copies(model, changed)["1.source.weight"].any()


def test_batch_that_is_not_of_equal_parts_is_refused():
    with pytest.raises(ValueError, match="batch of 3 equal parts, one for each domain, got 7 imag"):
        separated(network(), domains_of=lambda name: 3)(images(7))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Linear(2, 2), "batch normalisation for MODEL.DOMAIN_BN.ENABLED, got one without"),
        (nn.Sequential(nn.SyncBatchNorm(3)), "got SyncBatchNorm; set MODEL.BACKBONE.NORM"),
        (nn.Sequential(get_norm("GhostBN", 4)), "got GhostBatchNorm; set MODEL.BACKBONE.NORM"),
    ],
)
def test_other_normalisation_is_refused(model, message):
    with pytest.raises(ValueError, match=message):
        separate_domains(model, group=4)
