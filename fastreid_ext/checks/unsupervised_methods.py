"""Contradictions of the methods that learn from clusters, each with its remedy."""

from fastreid.config import CfgNode

from fastreid_ext.modeling.meta_arch.ice import ICE_LOSS


def method_problems(cfg: CfgNode) -> list[str]:
    """List keys that contradict the method of ``MODEL.META_ARCHITECTURE``."""
    return _ice(cfg) if cfg.MODEL.META_ARCHITECTURE == "ICE" else []


def _ice(cfg: CfgNode) -> list[str]:
    rules = (
        (
            ICE_LOSS in cfg.MODEL.LOSSES.NAME,
            f"expected {ICE_LOSS} in MODEL.LOSSES.NAME under ICE, got "
            f"{', '.join(cfg.MODEL.LOSSES.NAME)}; add it, the camera term comes on top",
        ),
        (
            cfg.INPUT.VIEWS.RECIPE == "strong_weak",
            "expected INPUT.VIEWS.RECIPE strong_weak under ICE, which compares two augmented views "
            f"and a plain one, got '{cfg.INPUT.VIEWS.RECIPE}'; start from "
            "projects/Unsupervised/configs/Base-ICE.yml",
        ),
    )
    return [message for holds, message in rules if not holds]
