"""A checkpoint of pre-training by classification starts every baseline, whole."""

import pytest
import torch
from fastreid.modeling import build_model

from fastreid_ext.config import load_config
from fastreid_ext.modeling.build import build_backbone

from ..recipes import base_recipe
from .of_checkpoint import expect_backbone_of

CPU = ["MODEL.DEVICE", "cpu", "MODEL.HEADS.NUM_CLASSES", "4"]
SWIN = ["MODEL.BACKBONE.NAME", "build_swin_backbone", "MODEL.BACKBONE.DEPTH", "tiny"]
BACKBONES = {"resnet50": [], "swin": SWIN}


@pytest.fixture(scope="module", params=BACKBONES)
def pretrained(request, tmp_path_factory):
    """Return the keys of the backbone, a checkpoint file, and its tensors."""
    keys = BACKBONES[request.param]
    torch.manual_seed(1)
    model = build_model(load_config(base_recipe("classification-pretrain"), [*CPU, *keys]))
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.01)
    path = tmp_path_factory.mktemp("pretrained") / "model_final.pth"
    torch.save({"model": model.state_dict(), "epoch": 299}, path)
    return keys, path, model.state_dict()


@pytest.mark.parametrize("baseline", ["bagtricks", "AGW", "SBS", "BDB", "MGN"])
def test_classifier_checkpoint_gives_every_tensor(pretrained, load, baseline):
    keys, path, weights = pretrained
    off = ["MODEL.BACKBONE.PRETRAIN", "False"]
    cfg = load_config(base_recipe(baseline), [*CPU, *keys, *off])
    backbone = build_backbone(cfg)
    report = load(backbone, path)
    expect_backbone_of(report, backbone, weights)
    assert report.dropped == ["heads.weight"]


def test_classifier_checkpoint_loads_into_mgn(pretrained):
    keys, path, weights = pretrained
    given = [*CPU, *keys, "MODEL.BACKBONE.PRETRAIN_PATH", str(path)]
    model = build_model(load_config(base_recipe("MGN"), given))
    name = "layers.3.blocks.1.mlp.fc2.weight" if keys else "layer4.2.conv3.weight"
    last = weights[f"backbone.{name}"]
    for branch in (model.b1, model.b2, model.b3):
        assert any(torch.equal(value, last) for value in branch.parameters())
