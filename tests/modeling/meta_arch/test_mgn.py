from pathlib import Path

import pytest
import torch
from fastreid.modeling import build_model
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from fastreid.modeling.meta_arch.mgn import MGN
from fastreid.solver import build_optimizer
from fastreid.utils.events import EventStorage

from fastreid_ext.config import load_config
from fastreid_ext.modeling.backbones import swin
from fastreid_ext.modeling.backbones.swin import SwinLastStage, SwinTrunk
from fastreid_ext.modeling.backbones.vit import ViTLastStage, ViTTrunk
from fastreid_ext.modeling.meta_arch import extend_host_mgn
from fastreid_ext.modeling.meta_arch.mgn import HEADS, split_for_branches

SWIN = ["MODEL.BACKBONE.NAME", "build_swin_backbone", "MODEL.BACKBONE.DEPTH", "tiny"]
VIT = ["MODEL.BACKBONE.NAME", "build_plain_vit_backbone", "MODEL.BACKBONE.DEPTH", "tiny"]
BASE = Path(__file__).resolve().parents[3] / "configs" / "Base-MGN.yml"
BATCH = {
    "images": torch.arange(4 * 3 * 96 * 48).reshape(4, 3, 96, 48) % 251 / 1.0,
    "targets": torch.tensor([0, 0, 1, 1]),
    "camids": torch.zeros(4, dtype=torch.long),
}


@pytest.fixture(autouse=True)
def _smaller(monkeypatch):
    monkeypatch.setitem(swin.SIZES, "tiny", swin.SwinSize(96, (1, 1, 1, 2), (3, 6, 12, 24)))
    torch.manual_seed(0)


def configured(*keys):
    size = ["INPUT.SIZE_TRAIN", [96, 48], "INPUT.SIZE_TEST", [96, 48]]
    test = ["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.PRETRAIN", False, "MODEL.HEADS.NUM_CLASSES", 4]
    return load_config(BASE, [*test, *size, *keys]).clone()


@pytest.mark.parametrize(
    ("line", "trunk", "last_stage"),
    [(SWIN, SwinTrunk, SwinLastStage), (VIT, ViTTrunk, ViTLastStage)],
)
def test_mgn_shares_the_trunk_and_copies_the_last_stage(line, trunk, last_stage):
    model = build_model(configured(*line))
    assert type(model) is MGN
    assert isinstance(model.backbone, trunk)
    branches = [model.b1, model.b2, model.b3]
    assert all(isinstance(branch, last_stage) for branch in branches)
    states = [branch.state_dict() for branch in branches]
    for key, value in states[0].items():
        assert torch.equal(value, states[1][key])
        assert torch.equal(value, states[2][key])
    parameters = [id(p) for module in (model.backbone, *branches) for p in module.parameters()]
    assert len(parameters) == len(set(parameters)), "a parameter is shared between branches"
    assert {name for name, _ in model.named_children()} == {
        "backbone",
        "b1",
        "b2",
        "b3",
        *(f"{head}_head" for head in HEADS),
    }


def test_mgn_branches_compute_the_whole_backbone():
    model = build_model(configured(*SWIN)).eval()
    whole = swin.SwinBackbone(swin.SIZES["tiny"]).eval()
    state = model.backbone.state_dict()
    for key, value in model.b1.state_dict().items():
        state[key.replace("stage.", "layers.3.")] = value
    whole.load_state_dict(state)
    images = torch.randn(2, 3, 96, 48)
    with torch.no_grad():
        expected = whole(images)
        tokens = model.backbone(images)
        for branch in (model.b1, model.b2, model.b3):
            torch.testing.assert_close(branch(tokens), expected)


def test_mgn_heads_have_the_width_of_the_backbone():
    model = build_model(configured(*SWIN, "MODEL.HEADS.EMBEDDING_DIM", 16)).eval()
    assert model.b31_head.bottleneck[0].in_channels == 768
    with torch.no_grad():
        assert model(BATCH).shape == (4, 8 * 16)


def test_mgn_on_a_resnet_is_fastreids():
    with torch.device("meta"):
        model = MGN(configured("MODEL.DEVICE", "cpu"))
    assert isinstance(model.backbone, torch.nn.Sequential)
    assert len(model.b1[0]) == 5  # the rest of layer3


def test_mgn_frozen_layers_stay_and_heads_learn():
    """Base-MGN freezes backbone, b1, b2 and b3 by name for FREEZE_ITERS."""
    cfg = configured(*VIT, "SOLVER.FREEZE_ITERS", 1, "SOLVER.BASE_LR", 0.01)
    model = build_model(cfg).train()
    optimizer, _ = build_optimizer(cfg, model)
    before = {name: value.clone() for name, value in model.named_parameters()}

    def step():
        with EventStorage():
            sum(model(BATCH).values()).backward()
        optimizer.step()
        optimizer.zero_grad()
        names = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
        return {name.split(".")[0] for name in names}

    assert step() == {f"{head}_head" for head in HEADS}
    assert step() == {"backbone", "b1", "b2", "b3", *(f"{head}_head" for head in HEADS)}


def test_mgn_leaves_the_batch_unchanged():
    """A second pass on a batch must not normalise twice; compat repairs this for MGN."""
    model = build_model(configured(*VIT)).eval()
    images = BATCH["images"].clone()
    with torch.no_grad():
        first = model(BATCH)
        second = model(BATCH)
    assert torch.equal(first, second)
    assert torch.equal(BATCH["images"], images)


def test_extend_host_mgn_twice_changes_nothing():
    extended = MGN.__dict__["from_config"]
    extend_host_mgn()
    assert MGN.__dict__["from_config"] is extended


def test_mgn_splits_or_refuses_a_users_backbone():
    class Splittable(torch.nn.Module):
        def split_last_stage(self):
            return torch.nn.Conv2d(3, 8, 16, 16), torch.nn.Conv2d(8, 8, 1)

    made = [Splittable(), torch.nn.Conv2d(3, 8, 16, 16)]

    @BACKBONE_REGISTRY.register()
    def build_split_of_a_user_backbone(cfg):
        return made.pop(0)

    name = "build_split_of_a_user_backbone"
    try:
        cfg = configured("MODEL.BACKBONE.NAME", name, "MODEL.BACKBONE.FEAT_DIM", 8)
        assert build_model(cfg).eval()(BATCH).shape == (4, 8 * 256)
        with pytest.raises(ValueError, match=r"with split_last_stage\(\) under MGN, got Conv2d; g"):
            build_model(cfg)
    finally:
        del BACKBONE_REGISTRY._obj_map[name]


def test_mgn_necks_are_copies():
    model = swin.SwinBackbone(swin.SIZES["tiny"])
    parts = split_for_branches(model)
    with torch.no_grad():
        parts["neck1"].norm.weight.add_(1)
    assert not torch.equal(parts["neck1"].norm.weight, parts["neck2"].norm.weight)
    assert torch.equal(model.norm.weight, parts["neck2"].norm.weight)
