"""Our backbones in fastreid's registry.

Their modules are imported when a backbone is built, because timm, which they need, takes a second
to import.
"""

from fastreid.config import CfgNode
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from torch import nn


@BACKBONE_REGISTRY.register()
def build_swin_backbone(cfg: CfgNode) -> nn.Module:
    """Build the Swin of ``MODEL.BACKBONE.DEPTH`` (tiny, small, base) with random weights."""
    from fastreid_ext.modeling.backbones.swin import swin_backbone

    return swin_backbone(cfg)


@BACKBONE_REGISTRY.register()
def build_plain_vit_backbone(cfg: CfgNode) -> nn.Module:
    """Build the ViT of ``MODEL.BACKBONE.DEPTH`` (tiny, small, base) with random weights."""
    from fastreid_ext.modeling.backbones.vit import plain_vit_backbone

    return plain_vit_backbone(cfg)


@BACKBONE_REGISTRY.register()
def build_clip_vit_backbone(cfg: CfgNode) -> nn.Module:
    """Build CLIP's ViT-B/16 image tower with random weights."""
    from fastreid_ext.modeling.backbones.vit import clip_vit_backbone

    return clip_vit_backbone(cfg)


@BACKBONE_REGISTRY.register()
def build_timm_backbone(cfg: CfgNode) -> nn.Module:
    """Build the model of ``MODEL.BACKBONE.TIMM_NAME`` with random weights."""
    from fastreid_ext.modeling.backbones.timm_features import timm_backbone

    return timm_backbone(cfg.MODEL.BACKBONE.TIMM_NAME, tuple(cfg.INPUT.SIZE_TRAIN))


@BACKBONE_REGISTRY.register()
def build_two_stream_resnet_backbone(cfg: CfgNode) -> nn.Module:
    """Build the ResNet of ``MODEL.BACKBONE.DEPTH`` with a stem for each modality."""
    from fastreid_ext.modeling.backbones.two_stream import two_stream_resnet

    return two_stream_resnet(cfg)
