"""IDM's module: shares and mixtures by hand, and where it stands in a backbone."""

import copy
import math

import pytest
import torch
from torch import nn

from fastreid_ext.modeling.domain_mixing import DomainMixing, mix_after


def silent(channels=4):
    mixing = DomainMixing(channels)
    for parameter in mixing.parameters():
        nn.init.zeros_(parameter)
    return mixing


def test_zero_weights_mix_in_equal_shares():
    maps = torch.rand(6, 4, 5, 3)
    mixed = silent()(maps)[6:]
    torch.testing.assert_close(mixed, (maps[:3] + maps[3:]) / 2)


def test_bias_of_the_last_layer_decides_the_shares():
    mixing = silent()
    with torch.no_grad():
        mixing.share.bias.copy_(torch.tensor([math.log(3), 0.0]))
    maps = torch.cat([torch.full((2, 4, 5, 3), 4.0), torch.zeros(2, 4, 5, 3)])
    output = mixing(maps)
    torch.testing.assert_close(output[4:], torch.full((2, 4, 5, 3), 3.0))
    assert torch.equal(output[:4], maps)
    torch.testing.assert_close(mixing.take_shares(), torch.tensor([[0.75, 0.25]] * 2))


def test_shares_equal_the_layers_written_out():
    torch.manual_seed(0)
    mixing = DomainMixing(4)
    source, target = torch.rand(2, 3, 4, 5, 3).unbind()
    for i, row in enumerate(mixing.shares(source, target)):
        sums = 0.0
        for maps in (source[i], target[i]):
            pooled = torch.stack([c.mean() for c in maps] + [c.max() for c in maps])
            sums = sums + mixing.pair.weight @ pooled + mixing.pair.bias
        hidden = mixing.hidden.weight @ sums + mixing.hidden.bias
        logits = mixing.share.weight @ hidden + mixing.share.bias
        torch.testing.assert_close(row, logits.softmax(dim=0))


def test_evaluation_is_the_identity():
    maps = torch.rand(5, 4, 5, 3)
    assert DomainMixing(4).eval()(maps) is maps


def test_maps_get_no_gradient_by_the_shares():
    maps = torch.rand(4, 4, 5, 3, requires_grad=True)
    mixing = DomainMixing(4)
    mixing.shares(*maps.chunk(2))[:, 0].sum().backward()
    assert maps.grad is None
    assert mixing.pair.weight.grad.any()
    mixing(maps)[4:].sum().backward()
    assert maps.grad.any()


def test_shares_are_taken_once():
    mixing = DomainMixing(4)
    mixing(torch.rand(4, 4, 5, 3))
    mixing.take_shares()
    with pytest.raises(RuntimeError, match="expected a forward pass in training before its shar"):
        mixing.take_shares()


class Block(nn.Module):
    def __init__(self, width, out):
        super().__init__()
        self.conv1 = nn.Conv2d(width, out, 1)

    def forward(self, maps):
        return self.conv1(maps)


class FourStages(nn.Module):
    """Backbone whose stages double the channels, from 2 on."""

    def __init__(self):
        super().__init__()
        for number in range(1, 5):
            width = 2**number
            block = nn.Sequential(Block(width, 2 * width))
            self.add_module(f"layer{number}", block)

    def forward(self, maps):
        self.counts = [len(maps)]
        for number in range(1, 5):
            maps = getattr(self, f"layer{number}")[0](maps)
            self.counts.append(len(maps))
        return maps


@pytest.mark.parametrize("stage", range(5))
def test_module_stands_behind_its_stage(stage):
    backbone = FourStages()
    mixing = mix_after(backbone, stage, width=32)
    assert mixing.pair.in_features == 2 * 2 ** (stage + 1)
    output = backbone(torch.rand(4, 2, 3, 3))
    assert len(output) == 6
    assert backbone.counts == [4] + [6 if number > stage else 4 for number in range(1, 5)]
    mixing.eval()
    assert len(backbone(torch.rand(5, 2, 3, 3))) == 5


def test_a_copy_of_the_model_mixes_with_its_own_module():
    model = nn.Module()
    model.backbone = FourStages()
    model.mixing = mix_after(model.backbone, 1, width=32)
    other = copy.deepcopy(model)
    other.backbone(torch.rand(4, 2, 3, 3))
    assert other.mixing.take_shares().shape == (2, 2)
    with pytest.raises(RuntimeError):
        model.mixing.take_shares()


def test_backbone_without_stages_is_refused():
    with pytest.raises(
        ValueError, match="four stages, layer1 to layer4, for IDM's module, got Lin"
    ):
        mix_after(nn.Linear(2, 2), 0, width=2)
