"""Contradictions of the methods that learn from clusters, each with its remedy."""

from fastreid.config import CfgNode

from fastreid_ext.checks.backbone import map_rows
from fastreid_ext.modeling.backbones.facts import FACTS
from fastreid_ext.modeling.meta_arch.ice import ICE_LOSS
from fastreid_ext.modeling.meta_arch.pplr import PPLR_LOSS


def method_problems(cfg: CfgNode) -> list[str]:
    """List keys that contradict the method of ``MODEL.META_ARCHITECTURE``."""
    methods = {"ICE": _ice, "PPLR": _pplr}
    problems_of = methods.get(cfg.MODEL.META_ARCHITECTURE)
    return [] if problems_of is None else problems_of(cfg)


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


def _pplr(cfg: CfgNode) -> list[str]:
    heads = cfg.MODEL.HEADS
    start = "start from projects/Unsupervised/configs/Base-PPLR.yml"
    rules = (
        (
            PPLR_LOSS in cfg.MODEL.LOSSES.NAME,
            f"expected {PPLR_LOSS} in MODEL.LOSSES.NAME under PPLR, got "
            f"{', '.join(cfg.MODEL.LOSSES.NAME)}; add it, the camera term comes on top",
        ),
        (
            heads.NAME == "StripeHead",
            f"expected MODEL.HEADS.NAME StripeHead under PPLR, got {heads.NAME}; {start}",
        ),
    )
    return [*[message for holds, message in rules if not holds], *_stripes(cfg)]


def _stripes(cfg: CfgNode) -> list[str]:
    """Refuse more stripes than the map has rows, where the map of the backbone is known."""
    if cfg.MODEL.BACKBONE.NAME not in FACTS:
        return []
    stripes = cfg.MODEL.HEADS.STRIPES
    sizes = {"SIZE_TRAIN": cfg.INPUT.SIZE_TRAIN, "SIZE_TEST": cfg.INPUT.SIZE_TEST}
    rows = {key: map_rows(cfg, list(size)) for key, size in sizes.items()}
    return [
        f"MODEL.HEADS.STRIPES {stripes} is more than the {count} rows of the map that INPUT.{key} "
        f"{list(sizes[key])} gives; lower it, or take higher images"
        for key, count in rows.items()
        if count < stripes
    ]
