"""Every key of MODEL.BACKBONE reaches the backbone that reads it, all set to other values."""

from types import SimpleNamespace
from typing import Any

import pytest
from fastreid.modeling.backbones.resnet import Bottleneck
from fastreid.modeling.heads.embedding_head import EmbeddingHead

from fastreid_ext.modeling.backbones import swin, vit
from fastreid_ext.modeling.build import build_backbone
from fastreid_ext.modeling.heads.bdb_head import BDBHead
from fastreid_ext.modeling.heads.projection_head import ProjectionHead

from .configured import configured, keys_of

HOST = "fastreid.modeling.backbones"
OURS = "fastreid_ext.modeling.backbones"
DROPS = {"DROP_PATH_RATIO": 0.25, "DROP_RATIO": 0.125, "ATT_DROP_RATE": 0.375}
RESNET = {
    **{"DEPTH": "101x", "NORM": "GN", "LAST_STRIDE": 2},
    **{"WITH_IBN": True, "WITH_SE": True, "WITH_NL": True},
}
HOST_VIT = DROPS | {"DEPTH": "small", "SIE_COE": 2.5, "STRIDE_SIZE": (12, 8)}
SWIN = DROPS | {"DEPTH": "small", "SEMANTIC_WEIGHT": 0.75}
PLAIN_VIT = DROPS | {"DEPTH": "tiny", "TOKENS": "patch", "FREEZE_PATCH_EMBED": True}
CLIP_VIT = PLAIN_VIT | {"DEPTH": "base", "QUICK_GELU": False}
TIMM = {"TIMM_NAME": "convnext_tiny"}
PRETRAINED = {
    "PRETRAIN": True,
    "PRETRAIN_PATH": "weights.pth",
    "PRETRAIN_FAMILY": "clip",
    "MIN_PRETRAIN_MATCHED": 0.25,
}


class Recorder:
    """Stands for a class or function: keeps the arguments it is called with."""

    def __init__(self) -> None:
        self.args: tuple[Any, ...] = ()
        self.kwargs: dict[str, Any] = {}
        self.trains: list[bool] = []
        self.patch_embed = SimpleNamespace(proj=SimpleNamespace(requires_grad_=self.trains.append))

    def __call__(self, *args: Any, **kwargs: Any) -> "Recorder":
        self.args = args
        self.kwargs = kwargs
        return self


def build_recorded(
    monkeypatch: pytest.MonkeyPatch, place: str, name: str, changes: dict[str, Any]
) -> Recorder:
    """Build a backbone whose class or function, at ``place``, only keeps its arguments."""
    recorder = Recorder()
    monkeypatch.setattr(place, recorder)
    named = {"MODEL.BACKBONE.NAME": name, "INPUT.SIZE_TRAIN": [96, 48]}
    build_backbone(configured("MODEL.BACKBONE", changes, **named))
    return recorder


DROPPED = {"drop_path_rate": 0.25, "attn_drop_rate": 0.375}
VIT_SIZED = DROPPED | {"image_size": (96, 48), "pos_drop_rate": 0.125, "proj_drop_rate": 0.125}


@pytest.mark.parametrize(
    ("name", "place", "changes", "args", "kwargs"),
    [
        (
            "build_resnet_backbone",
            f"{HOST}.resnet.ResNet",
            RESNET,
            (2, "GN", True, True, True, Bottleneck, [3, 4, 23, 3], [0, 2, 9, 0]),
            {},
        ),
        (
            "build_vit_backbone",
            f"{HOST}.vision_transformer.VisionTransformer",
            HOST_VIT,
            (),
            DROPPED
            | {"img_size": [96, 48], "sie_xishu": 2.5, "stride_size": (12, 8), "drop_rate": 0.125}
            | {"depth": 8, "num_heads": 8, "mlp_ratio": 3.0, "qkv_bias": False}
            | {"qk_scale": 768**-0.5},
        ),
        (
            "build_swin_backbone",
            f"{OURS}.swin.SwinBackbone",
            SWIN,
            (swin.SIZES["small"],),
            {"drop_path": 0.25, "dropout": 0.125, "attention_dropout": 0.375}
            | {"semantic_weight": 0.75},
        ),
        (
            "build_plain_vit_backbone",
            f"{OURS}.vit.ViTBackbone",
            PLAIN_VIT,
            (vit.SIZES["tiny"],),
            VIT_SIZED | {"tokens": "patch"},
        ),
        (
            "build_clip_vit_backbone",
            f"{OURS}.vit.ClipViTBackbone",
            CLIP_VIT,
            (vit.SIZES["base"],),
            VIT_SIZED | {"projection": 512, "tokens": "patch", "quick_gelu": False},
        ),
        (
            "build_timm_backbone",
            f"{OURS}.timm_features.timm_backbone",
            TIMM,
            ("convnext_tiny", (96, 48)),
            {},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and value.startswith("build") else "",
)
def test_every_key_of_a_backbone_arrives(monkeypatch, name, place, changes, args, kwargs):
    made = build_recorded(monkeypatch, place, name, changes)
    assert (made.args, made.kwargs) == (args, kwargs)
    is_frozen = changes.get("FREEZE_PATCH_EMBED", False)
    assert made.trains == ([False] if is_frozen else [])


def test_every_key_of_pretrained_weights_arrives(monkeypatch):
    monkeypatch.setattr(f"{HOST}.resnet.ResNet", Recorder())
    given = Recorder()
    monkeypatch.setattr("fastreid_ext.modeling.pretrained.load_pretrained", given)
    colours = {"MODEL.PIXEL_MEAN": [1.0, 2.0, 3.0], "MODEL.PIXEL_STD": [4.0, 5.0, 6.0]}
    backbone = build_backbone(configured("MODEL.BACKBONE", PRETRAINED, **colours))
    assert given.args == (backbone, "weights.pth")
    assert given.kwargs == {
        "family": "clip",
        "min_matched": 0.25,
        "pixel_mean": [1.0, 2.0, 3.0],
        "pixel_std": [4.0, 5.0, 6.0],
    }


def test_the_width_arrives_at_the_heads():
    cfg = configured("MODEL.BACKBONE", {"FEAT_DIM": 96}, **{"MODEL.HEADS.EMBEDDING_DIM": 8})
    assert EmbeddingHead.from_config(cfg)["feat_dim"] == 96
    assert BDBHead.from_config(cfg)["feat_dim"] == 96
    assert ProjectionHead.from_config(cfg)["feat_dim"] == 96


def test_no_key_of_backbones_is_missing_here():
    cases = (RESNET, HOST_VIT, SWIN, PLAIN_VIT, CLIP_VIT, TIMM, PRETRAINED)
    assert {"NAME", "FEAT_DIM"}.union(*cases) == keys_of("MODEL.BACKBONE")
