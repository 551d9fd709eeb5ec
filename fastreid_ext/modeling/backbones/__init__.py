"""Backbones: what turns images into a feature map; registered in fastreid's registry."""

from fastreid_ext.modeling.backbones.swin import SwinBackbone, build_swin_backbone
from fastreid_ext.modeling.backbones.timm_features import build_timm_backbone, timm_backbone
from fastreid_ext.modeling.backbones.vit import (
    ClipViTBackbone,
    ViTBackbone,
    build_clip_vit_backbone,
    build_plain_vit_backbone,
)

__all__ = [
    "ClipViTBackbone",
    "SwinBackbone",
    "ViTBackbone",
    "build_clip_vit_backbone",
    "build_plain_vit_backbone",
    "build_swin_backbone",
    "build_timm_backbone",
    "timm_backbone",
]
