"""Width and stride of the feature map of every registered backbone, and the keys it reads.

The numbers are measured in ``tests/checks/test_backbone.py``.
"""

import dataclasses
from collections.abc import Mapping

from fastreid_ext.modeling.backbones.matrix import (
    CLIP_VIT,
    HOST_CNN,
    HOST_VIT,
    PLAIN_VIT,
    RESNET_50,
    SWIN,
    TIMM,
    TWO_STREAM,
)

VIT_PATCH = 16
RESNET_KEYS = ("NORM", "LAST_STRIDE", "WITH_IBN", "WITH_SE", "WITH_NL")


@dataclasses.dataclass(frozen=True)
class BackboneFacts:
    """Properties of the feature map of one registered builder.

    Attributes:
        group: row of the table in ``matrix``.
        widths: channels of the map for every MODEL.BACKBONE.DEPTH; empty for models of timm.
        stride: rows of the image per row of the map (with LAST_STRIDE 1 where that is read); 0 =
            no map.
        reads: keys of ResNets that the builder reads.
        other_strides: stride of those depths whose stride differs.
    """

    group: str
    widths: Mapping[str, int]
    stride: int
    reads: tuple[str, ...] = ()
    other_strides: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def stride_of(self, depth: str) -> int:
        """Return rows of the image per row of the map for a MODEL.BACKBONE.DEPTH."""
        return self.other_strides.get(depth, self.stride)


def _same(width: int, *depths: str) -> dict[str, int]:
    return dict.fromkeys(depths, width)


_REGNET = {
    **{"200x": 368, "200y": 368, "400x": 384, "400y": 440, "800x": 672, "800y": 768},
    **{"1600x": 912, "1600y": 888, "3200x": 1008, "3200y": 1512, "4000x": 1360, "4000y": 1088},
    **{"6400x": 1624, "6400y": 1296},
}
_REPVGG = {
    **_same(1280, "A0", "A1", "B0"),
    **_same(1408, "A2"),
    **_same(2048, "B1", "B1g2", "B1g4"),
    **_same(2560, "B2", "B2g2", "B2g4", "B3", "B3g2", "B3g4"),
}
_EFFNET = {"b0": 1280, "b1": 1280, "b2": 1408, "b3": 1536, "b4": 1792, "b5": 2048}
_STRIDED = ("NORM", "LAST_STRIDE")
_MOBILE = _same(1280, "1.0x", "0.75x", "0.5x", "0.35x", "0.25x", "0.1x")
_SHUFFLE = {**_same(1024, "0.5x", "1.0x", "1.5x"), "2.0x": 2048}
_RESNET = {**_same(512, "18x", "34x"), **_same(2048, "50x", "101x")}
_RESNEST = _same(2048, "50x", "101x", "200x", "269x")
_OSNET = {"x1_0": 512, "x0_75": 384, "x0_5": 256, "x0_25": 128}

FACTS: dict[str, BackboneFacts] = {
    "build_resnet_backbone": BackboneFacts(RESNET_50, _RESNET, 16, RESNET_KEYS),
    "build_two_stream_resnet_backbone": BackboneFacts(TWO_STREAM, _RESNET, 16, RESNET_KEYS),
    "build_resnext_backbone": BackboneFacts(
        HOST_CNN, _same(2048, "50x", "101x"), 16, (*_STRIDED, "WITH_IBN", "WITH_NL")
    ),
    "build_resnest_backbone": BackboneFacts(HOST_CNN, _RESNEST, 16, _STRIDED),
    "build_regnet_backbone": BackboneFacts(HOST_CNN, _REGNET, 16, _STRIDED),
    "build_effnet_backbone": BackboneFacts(HOST_CNN, _EFFNET, 16, _STRIDED),
    "build_repvgg_backbone": BackboneFacts(HOST_CNN, _REPVGG, 16, _STRIDED),
    "build_osnet_backbone": BackboneFacts(HOST_CNN, _OSNET, 16, ("NORM", "WITH_IBN")),
    "build_shufflenetv2_backbone": BackboneFacts(HOST_CNN, _SHUFFLE, 32, ("NORM",)),
    "build_mobilenetv2_backbone": BackboneFacts(HOST_CNN, _MOBILE, 32, ("NORM",)),
    "build_mobilenetv3_backbone": BackboneFacts(
        HOST_CNN, {"Large": 1280, "Small": 1024}, 32, ("NORM",)
    ),
    "build_vit_backbone": BackboneFacts(HOST_VIT, _same(768, "small", "base"), 0),
    "build_swin_backbone": BackboneFacts(SWIN, {"tiny": 768, "small": 768, "base": 1024}, 32),
    "build_plain_vit_backbone": BackboneFacts(
        PLAIN_VIT, {"tiny": 192, "small": 384, "base": 768}, VIT_PATCH
    ),
    "build_clip_vit_backbone": BackboneFacts(
        CLIP_VIT, {"base": 512, "miniature": 64}, VIT_PATCH, other_strides={"miniature": 8}
    ),
    "build_timm_backbone": BackboneFacts(TIMM, {}, 0),
}
VITS = ("build_plain_vit_backbone", "build_clip_vit_backbone")
