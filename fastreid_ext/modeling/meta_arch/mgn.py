"""MGN on any backbone that can be cut before its last stage; fastreid's needs a ResNet.

fastreid's MGN shares a ResNet up to the first block of layer3 and copies the rest for each of its
three branches. Here the trunk of ``backbone.split_last_stage()`` is shared and the last stage
copied: the last patch merging of a Swin with its two blocks, or the last block of a ViT with the
norm, as TransReID copies it for its local branches [1]. This is our reconstruction; the paper [0]
uses ResNet-50 only. Everything after the branches (stripes, heads, losses) is fastreid's.

[0] Wang et al., "Learning Discriminative Features with Multiple Granularities for Person
    Re-Identification", ACM MM 2018, https://arxiv.org/abs/1804.01438
[1] He et al., "TransReID: Transformer-based Object Re-Identification", ICCV 2021,
    https://arxiv.org/abs/2102.04378
"""

import copy
from collections.abc import Callable
from typing import Any

from fastreid.config import CfgNode
from fastreid.modeling.heads import build_heads
from fastreid.modeling.meta_arch.baseline import Baseline
from fastreid.modeling.meta_arch.mgn import MGN
from torch import nn

HEADS = ("b1", "b2", "b21", "b22", "b3", "b31", "b32", "b33")


def split_for_branches(backbone: nn.Module) -> dict[str, nn.Module]:
    """Cut a backbone into ``backbone`` (the trunk) and ``neck1`` to ``neck3`` (equal last stages).

    Example:
        >>> from fastreid_ext.modeling.backbones.vit import SIZES, ViTBackbone
        >>> backbone = ViTBackbone(SIZES["tiny"], image_size=(32, 16))
        >>> list(split_for_branches(backbone))
        ['backbone', 'neck1', 'neck2', 'neck3']

    Raises:
        ValueError: the backbone has no ``split_last_stage``.
    """
    if not hasattr(backbone, "split_last_stage"):
        raise ValueError(
            "expected a backbone with split_last_stage() under MGN, got "
            f"{type(backbone).__name__}; give it that method, which returns trunk and last stage, "
            "or use build_resnet_backbone, build_swin_backbone, build_plain_vit_backbone or "
            "build_clip_vit_backbone"
        )
    trunk, last_stage = backbone.split_last_stage()
    copies = {f"neck{number}": copy.deepcopy(last_stage) for number in (1, 2, 3)}
    return {"backbone": trunk, **copies}


def extend_host_mgn() -> None:
    """Let fastreid's registered MGN be built on backbones with ``split_last_stage``, once."""
    host = MGN.from_config
    if not hasattr(host, "_fastreid_ext"):
        MGN.from_config = classmethod(_or_split(host))


def _or_split(host: Callable[[CfgNode], dict]) -> Callable[[type, CfgNode], dict[str, Any]]:
    # No functools.wraps: `configurable` reads the signature, which must be ours.
    def from_config(cls: type, cfg: CfgNode) -> dict[str, Any]:
        if cfg.MODEL.BACKBONE.NAME == "build_resnet_backbone":
            return host(cfg)
        arguments = Baseline.from_config(cfg)
        arguments.update(split_for_branches(arguments["backbone"]))
        del arguments["heads"]
        return arguments | {f"{name}_head": build_heads(cfg) for name in HEADS}

    from_config._fastreid_ext = True
    return from_config
