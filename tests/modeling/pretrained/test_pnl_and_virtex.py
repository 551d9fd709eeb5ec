"""Checkpoints of PNL (LUPerson-NL) and of VirTex-like captioning (VTBR) start a ResNet.

The names are those of github.com/DengpanFu/LUPerson-NL, PNL/libs/{encoder,pnl_builder}.py, and of
github.com/kdexd/virtex, virtex/modules/visual_backbones.py; VTBR is built on the latter.
"""

import pytest
import torch
import torchvision
from torch import nn

DEPTH = "18x"


class PnlEncoder(nn.Module):
    """ResNet layers beside a classifier and a projection of two layers."""

    def __init__(self):
        super().__init__()
        base = torchvision.models.resnet18()
        for name, layer in list(base.named_children())[:-1]:
            setattr(self, name, layer)
        self.embed_fc = nn.Linear(512, 4)
        self.classifier = nn.Linear(4, 7)
        self.fc1 = nn.Linear(512, 16)
        self.fc2 = nn.Linear(16, 8)


class Pnl(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder_q = PnlEncoder()
        self.encoder_k = PnlEncoder()
        self.register_buffer("queue", torch.randn(8, 20))
        self.register_buffer("queue_id", -torch.ones((20, 1), dtype=torch.long))
        self.register_buffer("queue_ptr", torch.zeros(1, dtype=torch.long))
        self.register_buffer("prototypes", torch.zeros(7, 8))


class VirTex(nn.Module):
    def __init__(self):
        super().__init__()
        self.visual = nn.Module()
        self.visual.cnn = torchvision.models.resnet18()
        self.visual.cnn.fc = nn.Identity()
        self.textual = nn.Linear(512, 8)
        self.backward_textual = nn.Linear(512, 8)


@pytest.mark.parametrize(
    ("network", "prefix", "wrapper", "family"),
    [
        (Pnl, "encoder_q.", "state_dict", "moco"),
        (VirTex, "visual.cnn.", "model", "resnet"),
    ],
    ids=["PNL", "VTBR"],
)
@pytest.mark.parametrize("module", ["", "module."])
def test_checkpoint_gives_the_whole_visual_network(
    network, prefix, wrapper, family, module, tmp_path, randomised, load, backbone_of
):
    weights = randomised(network()).state_dict()
    file = tmp_path / "checkpoint.pth"
    torch.save({wrapper: {f"{module}{key}": value for key, value in weights.items()}}, file)
    backbone = backbone_of("build_resnet_backbone", DEPTH)
    report = load(backbone, file)
    assert (report.family, report.matching.share) == (family, 1.0)
    assert [*report.missing, *report.unexpected, *report.reshaped] == []
    ours = backbone.state_dict()
    assert all(torch.equal(ours[name], weights[prefix + name]) for name in report.matched)
    assert len(report.matched) > 100
