"""A checkpoint of contrastive pre-training starts every baseline: the query encoder, all of it."""

import pytest
import torch
from fastreid.modeling import build_model

from fastreid_ext.config import load_config
from fastreid_ext.modeling.build import build_backbone

from ..recipes import base_recipe
from .of_checkpoint import expect_backbone_of

CPU = ["MODEL.DEVICE", "cpu", "MODEL.HEADS.NUM_CLASSES", "4"]


@pytest.fixture(scope="module", params=["DAPG-stage1", "SimCLR", "BYOL"])
def pretrained(request, tmp_path_factory):
    """Return a checkpoint file, with query and key encoder apart, and its tensors."""
    keys = ["MODEL.HEADS.PROJECTION.HIDDEN_DIM", "8"]
    keys += ["MODEL.MOCO.QUEUE", "200"] if request.param == "DAPG-stage1" else []
    cfg = load_config(base_recipe(request.param), [*CPU, *keys])
    torch.manual_seed(1)
    model = build_model(cfg)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if not name.startswith(("key_", "target_")):
                value.add_(0.01)
    path = tmp_path_factory.mktemp("pretrained") / "model_final.pth"
    torch.save({"model": model.state_dict(), "epoch": 3}, path)
    return path, model.state_dict()


@pytest.mark.parametrize("baseline", ["bagtricks", "AGW", "SBS", "BDB", "MGN"])
def test_contrastive_checkpoint_gives_the_query_encoder(pretrained, load, baseline):
    path, weights = pretrained
    cfg = load_config(base_recipe(baseline), [*CPU, "MODEL.BACKBONE.PRETRAIN", "False"])
    backbone = build_backbone(cfg)
    report = load(backbone, path)
    expect_backbone_of(report, backbone, weights)
    assert {name.split(".")[0] for name in report.dropped} == {
        name.split(".")[0] for name in weights
    } - {"backbone"}


def test_contrastive_checkpoint_loads_into_mgn(pretrained):
    path, weights = pretrained
    keys = ["MODEL.BACKBONE.PRETRAIN_PATH", str(path)]
    model = build_model(load_config(base_recipe("MGN"), [*CPU, *keys]))
    last = "layer4.2.conv3.weight"
    for branch in (model.b1, model.b2, model.b3):
        assert torch.equal(branch[1][2].conv3.weight, weights[f"backbone.{last}"])
