"""Groups of images have batch statistics of their own, as on several GPUs."""

import pytest
import torch
from fastreid.layers import get_norm
from torch import nn

from fastreid_ext.modeling.grouped_batch_norm import GroupedBatchNorm, group_batch_norms


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        get_norm("BN", 4, bias_freeze=True),
        nn.Flatten(),
        nn.Linear(4, 5),
        nn.BatchNorm1d(5),
    ).double()


def images(count=12, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, 8, 6, generator=generator, dtype=torch.float64)


def gradients(model, parts):
    """Run the parts one after another and sum their losses, as processes with shared gradients."""
    outputs = torch.cat([model(part) for part in parts])
    outputs.square().mul(torch.arange(1.0, 61).reshape(12, 5)).mean().backward()
    return outputs, [p.grad for p in model.parameters()]


def test_groups_equal_separate_forward_passes():
    expected, wanted = gradients(network(), images().split(4))
    grouped = network()
    group_batch_norms(grouped, 4)
    outputs, found = gradients(grouped, [images()])
    torch.testing.assert_close(outputs, expected)
    for own, other in zip(found, wanted, strict=True):
        if own is None:
            assert other is None  # the frozen bias of fastreid's neck
        else:
            torch.testing.assert_close(own, other)


def test_running_statistics_are_those_of_the_first_group():
    alone = network()
    alone(images()[:4])
    grouped = network()
    group_batch_norms(grouped, 4)
    grouped(images())
    for name, buffer in alone.named_buffers():
        assert torch.equal(grouped.get_buffer(name), buffer), name


def test_a_batch_of_one_group_is_plain():
    grouped = network()
    group_batch_norms(grouped, 12)
    assert torch.equal(grouped(images()), network()(images()))


def test_evaluation_is_plain():
    grouped = network().eval()
    group_batch_norms(grouped, 4)
    assert not grouped[1].training
    assert torch.equal(grouped(images()), network().eval()(images()))


def test_names_and_frozen_parameters_stay():
    plain = network()
    grouped = network()
    group_batch_norms(grouped, 4)
    assert list(grouped.state_dict()) == list(plain.state_dict())
    assert [p.requires_grad for p in grouped.parameters()] == [
        p.requires_grad for p in plain.parameters()
    ]
    assert isinstance(grouped[4], GroupedBatchNorm)


def test_a_part_of_a_group_is_refused():
    grouped = network()
    group_batch_norms(grouped, 5)
    with pytest.raises(ValueError, match=r"multiple of MODEL.BN_GROUP 5 images, got 12"):
        grouped(images())


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Linear(2, 2), "with batch normalisation for MODEL.BN_GROUP 4, got one without"),
        (nn.Sequential(nn.SyncBatchNorm(3)), "got SyncBatchNorm; set MODEL.BACKBONE.NORM"),
        (nn.Sequential(get_norm("GhostBN", 4)), "got GhostBatchNorm; set MODEL.BACKBONE.NORM"),
    ],
)
def test_other_normalisation_is_refused(model, message):
    with pytest.raises(ValueError, match=message):
        group_batch_norms(model, 4)
