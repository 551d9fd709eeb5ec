"""Every pair of the matrix: trained for a step and evaluated, or refused with its reason.

The column of ResNet 50x is in tests/test_configs.py, as it is what the recipes have.
"""

import re

import pytest
import torch
from fastreid.utils.events import EventStorage

from fastreid_ext.checks.table import unread_keys
from fastreid_ext.config import load_config
from fastreid_ext.modeling.backbones import swin, vit
from fastreid_ext.modeling.backbones.facts import FACTS
from fastreid_ext.modeling.backbones.matrix import BASELINES, MATRIX, NOTES, RESNET_50, matrix_table
from fastreid_ext.modeling.build import build_model

from ..recipes import base_recipe

FILES = {name: base_recipe("bagtricks" if name == "BoT" else name) for name in BASELINES}
# The command line of one member of each group: name and DEPTH, nothing else.
LINES = {
    "ResNet 18x, 34x": ("build_resnet_backbone", "18x"),
    "two-stream ResNet": ("build_two_stream_resnet_backbone", "18x"),
    "other CNNs of fastreid": ("build_osnet_backbone", "x1_0"),
    "fastreid's ViT": ("build_vit_backbone", "small"),
    "Swin tiny, small, base": ("build_swin_backbone", "tiny"),
    "plain ViT tiny, small, base": ("build_plain_vit_backbone", "tiny"),
    "CLIP ViT-B/16": ("build_clip_vit_backbone", "base"),
    "any map of timm": ("build_timm_backbone", "18x"),
}
PAIRS = [(group, baseline) for group in LINES for baseline in BASELINES]
OTHER_CNNS = {  # DEPTH and class
    "build_resnext_backbone": ("50x", "ResNeXt"),
    "build_resnest_backbone": ("50x", "ResNeSt"),
    "build_regnet_backbone": ("200x", "RegNet"),
    "build_effnet_backbone": ("b0", "EffNet"),
    "build_repvgg_backbone": ("A0", "RepVGG"),
    "build_shufflenetv2_backbone": ("0.5x", "ShuffleNetV2"),
    "build_mobilenetv2_backbone": ("0.1x", "MobileNetV2"),
    "build_mobilenetv3_backbone": ("Small", "MobileNetV3"),
}


@pytest.fixture(autouse=True)
def _smaller(monkeypatch):
    """Fewer blocks of the real widths, so that a step takes a second."""
    monkeypatch.setitem(swin.SIZES, "tiny", swin.SwinSize(96, (2, 1, 1, 2), (3, 6, 12, 24)))
    monkeypatch.setitem(vit.SIZES, "tiny", vit.ViTSize(192, 3, 3))
    monkeypatch.setitem(vit.SIZES, "base", vit.ViTSize(64, 2, 2))


def configured(baseline, name, depth, *more):
    keys = ["MODEL.BACKBONE.NAME", name]
    is_timm = name == "build_timm_backbone"
    keys += ["MODEL.BACKBONE.TIMM_NAME", "convnext_atto"] if is_timm else []
    keys += [] if is_timm else ["MODEL.BACKBONE.DEPTH", depth]
    test = ["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.PRETRAIN", False, "MODEL.HEADS.NUM_CLASSES", 4]
    size = ["INPUT.SIZE_TRAIN", [96, 48], "INPUT.SIZE_TEST", [96, 48]]
    return load_config(FILES[baseline], [*test, *size, *keys, *more]).clone()


def trained_for_a_step(cfg):
    torch.manual_seed(0)
    model = build_model(cfg).train()
    batch = {
        "images": torch.rand(4, 3, *cfg.INPUT.SIZE_TRAIN) * 255,
        "targets": torch.tensor([0, 0, 1, 1]),
        "camids": torch.zeros(4, dtype=torch.long),
        "modalities": torch.tensor([0, 1, 0, 1]),
    }
    with EventStorage():
        losses = model(batch)
    sum(losses.values()).backward()
    with torch.no_grad():
        features = model.eval()(batch)
    assert features.shape[0] == 4
    assert torch.isfinite(features).all()
    assert (features.std(dim=0) > 0).any(), "four images, one feature"
    return model


def parameters_without_gradient(model):
    return [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
        and (parameter.grad is None or not 0 < parameter.grad.abs().sum() < float("inf"))
    ]


@pytest.mark.parametrize(("group", "baseline"), PAIRS)
def test_matrix_pair(group, baseline):
    pair = MATRIX[group][baseline]
    line = LINES[group]
    if pair.refused:
        with pytest.raises(ValueError, match=re.escape(pair.refused)):
            configured(baseline, *line)
        return
    model = trained_for_a_step(configured(baseline, *line))
    assert parameters_without_gradient(model) == []


@pytest.mark.parametrize("name", OTHER_CNNS)
def test_matrix_other_cnns_of_fastreid(name):
    depth, kind = OTHER_CNNS[name]
    model = trained_for_a_step(configured("BoT", name, depth))
    assert type(model.backbone).__name__ == kind
    assert parameters_without_gradient(model) == []


def test_matrix_names_every_backbone():
    assert set(LINES) | {RESNET_50} == set(MATRIX)
    assert {facts.group for facts in FACTS.values()} <= set(MATRIX)
    assert all(tuple(row) == BASELINES for row in MATRIX.values())
    used = {note for row in MATRIX.values() for pair in row.values() for note in pair.notes}
    assert used == set(NOTES)


def test_matrix_table_has_a_row_per_group_and_every_footnote():
    lines = matrix_table().splitlines()
    assert lines[0] == "| backbone | BoT | AGW | SBS | MGN | BDB |"
    assert lines[2].startswith("| ResNet 18x, 34x | yes | yes a | yes a | no (1) | yes |")
    assert "| ResNet 50x, 101x | yes | yes | yes | yes | yes |" in lines
    assert sum(line.startswith("| ") for line in lines) == 1 + len(MATRIX)
    assert sum(line.startswith("- ") for line in lines) == len(NOTES) + 3


@pytest.mark.parametrize("name", ["build_plain_vit_backbone", "build_clip_vit_backbone"])
@pytest.mark.parametrize("baseline", ["AGW", "SBS", "MGN", "BDB"])
def test_class_token_needs_another_baseline(name, baseline):
    with pytest.raises(ValueError, match=r"needs a larger one; set MODEL\.BACKBONE\.TOKENS patch"):
        configured(baseline, name, "base", "MODEL.BACKBONE.TOKENS", "class")


def test_patch_tokens_under_bot():
    cfg = configured("BoT", "build_plain_vit_backbone", "tiny", "MODEL.BACKBONE.TOKENS", "patch")
    assert trained_for_a_step(cfg).backbone.as_map.tokens == "patch"


def test_unread_keys_are_known():
    key = "MODEL.BACKBONE.WITH_NL"
    assert key in unread_keys(configured("AGW", "build_swin_backbone", "tiny"))
    assert key not in unread_keys(configured("AGW", "build_resnet_backbone", "50x"))
