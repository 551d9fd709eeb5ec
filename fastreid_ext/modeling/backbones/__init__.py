"""Backbones, registered in fastreid's registry: they turn images into a feature map."""

from fastreid_ext.modeling.backbones.registered import (
    build_clip_vit_backbone,
    build_plain_vit_backbone,
    build_swin_backbone,
    build_timm_backbone,
    build_two_stream_resnet_backbone,
)

__all__ = [
    "build_clip_vit_backbone",
    "build_plain_vit_backbone",
    "build_swin_backbone",
    "build_timm_backbone",
    "build_two_stream_resnet_backbone",
]
