"""Build registered models and backbones, and load pre-trained weights with our loader."""

from fastreid.config import CfgNode
from fastreid.modeling import meta_arch as host
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from torch import nn

from fastreid_ext.modeling.batch_instance_norm import mix_norms, norms_of


def build_backbone(cfg: CfgNode) -> nn.Module:
    """Build ``MODEL.BACKBONE.NAME`` (fastreid's, ours or the user's), and load its weights.

    The registered function sees ``PRETRAIN`` False, so that none of fastreid's loaders runs, which
    download weights or skip tensors that do not fit. A configuration without our keys, as a script
    of fastreid's has it, gets their defaults.

    Example::

        weights = ["MODEL.BACKBONE.PRETRAIN_PATH", "swin_tiny_patch4_window7_224.pth"]
        cfg = load_config("configs/Market1501/AGW_swin-T.yml", weights)
        backbone = build_backbone(cfg)  # images (B, 3, 256, 128) to a map (B, 768, 8, 4)

    Raises:
        ValueError: ``PRETRAIN`` is True without a ``PRETRAIN_PATH``, or the weights do not fit.
        FileNotFoundError: there are no weights at ``PRETRAIN_PATH``.
    """
    keys = cfg.MODEL.BACKBONE
    if keys.PRETRAIN and not keys.PRETRAIN_PATH:
        raise ValueError(
            "MODEL.BACKBONE.PRETRAIN is True but MODEL.BACKBONE.PRETRAIN_PATH is empty "
            "(fastreid would download weights here); give a local file in "
            "MODEL.BACKBONE.PRETRAIN_PATH or set MODEL.BACKBONE.PRETRAIN False"
        )
    untrained = cfg.clone()
    untrained.defrost()
    untrained.MODEL.BACKBONE.PRETRAIN = False
    untrained.freeze()
    backbone = BACKBONE_REGISTRY.get(keys.NAME)(untrained)
    if keys.PRETRAIN:
        from fastreid_ext.modeling.pretrained import load_pretrained

        load_pretrained(
            backbone,
            keys.PRETRAIN_PATH,
            family=keys.get("PRETRAIN_FAMILY", ""),
            min_matched=keys.get("MIN_PRETRAIN_MATCHED", 0.9),
            pixel_mean=cfg.MODEL.PIXEL_MEAN,
            pixel_std=cfg.MODEL.PIXEL_STD,
        )
    return backbone


def build_model(cfg: CfgNode) -> nn.Module:
    """Build ``MODEL.META_ARCHITECTURE``.

    A two-stream backbone follows the batch's modalities; ``MODEL.BIN`` replaces the backbone's
    batch normalisation, whose weights are loaded by then.
    """
    from fastreid_ext.modeling.backbones.two_stream import follow_modalities

    model = host.build_model(cfg)
    follow_modalities(model)
    if cfg.MODEL.BIN.ENABLED:
        mix_norms(model.backbone, cfg.MODEL.BIN.GATE)
        for norm in norms_of(model).values():
            norm.gate.requires_grad_(cfg.MODEL.BIN.TRAINED_BY != "nothing")
    return model
