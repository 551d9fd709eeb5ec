"""Contradictions of the methods that learn from clusters, each with its remedy."""

from fastreid.config import CfgNode

from fastreid_ext.checks.backbone import map_rows
from fastreid_ext.modeling.backbones.facts import FACTS
from fastreid_ext.modeling.meta_arch.ice import ICE_LOSS
from fastreid_ext.modeling.meta_arch.pplr import PPLR_LOSS
from fastreid_ext.modeling.meta_arch.unrn import UNRN_LOSS

# Backbones with stages layer1 to layer4, each a sequence of blocks.
FOUR_STAGES = ("build_resnet_backbone", "build_resnext_backbone", "build_resnest_backbone")


def method_problems(cfg: CfgNode) -> list[str]:
    """List keys that contradict the method of ``MODEL.META_ARCHITECTURE``."""
    methods = {"ICE": _ice, "PPLR": _pplr, "UNRN": _unrn, "GLT": _glt}
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


def _unrn(cfg: CfgNode) -> list[str]:
    heads = cfg.MODEL.HEADS
    keys = cfg.MODEL.UNRN
    start = "start from projects/DomainAdaptation/configs/Base-UNRN.yml"
    backbone = cfg.MODEL.BACKBONE.NAME
    rules = (
        (
            UNRN_LOSS in cfg.MODEL.LOSSES.NAME,
            f"expected {UNRN_LOSS} in MODEL.LOSSES.NAME under UNRN, got "
            f"{', '.join(cfg.MODEL.LOSSES.NAME)}; {start}",
        ),
        (
            heads.NAME == "EmbeddingHead" and not heads.EMBEDDING_DIM,
            "expected MODEL.HEADS.NAME EmbeddingHead without an EMBEDDING_DIM under UNRN, which "
            f"uses features before and behind the neck, got {heads.NAME} and "
            f"{heads.EMBEDDING_DIM}; {start}",
        ),
        (
            not keys.SIDE_HEAD or backbone in FOUR_STAGES or backbone not in FACTS,
            "expected a backbone of four stages for MODEL.UNRN.SIDE_HEAD, which classifies the "
            f"maps of the third ({', '.join(FOUR_STAGES)}), got {backbone}; set it to False, or "
            "take build_resnet_backbone",
        ),
        (
            keys.FORM == "paper"
            or cfg.UNSUPERVISED.PERIOD > 1
            or not cfg.MODEL.LOSSES.UNRN.CONTRAST_SCALE,
            "MODEL.UNRN.FORM code leaves the contrast out of every epoch that begins with a "
            "clustering, which are all with UNSUPERVISED.PERIOD 1; raise it (6 in the code), set "
            "MODEL.LOSSES.UNRN.CONTRAST_SCALE 0, or take the form paper",
        ),
    )
    return [message for holds, message in rules if not holds]


def _glt(cfg: CfgNode) -> list[str]:
    heads = cfg.MODEL.HEADS
    keys = cfg.MODEL.GLT
    fewest = cfg.SOLVER.IMS_PER_BATCH // 2 // cfg.DATALOADER.NUM_INSTANCE
    chosen = dict(enumerate(keys.CLUSTERS)).get(keys.CHOSEN)
    rules = (
        (
            "CrossEntropyLoss" in cfg.MODEL.LOSSES.NAME,
            "expected CrossEntropyLoss in MODEL.LOSSES.NAME under GLT, which has one of each "
            f"group, got {', '.join(cfg.MODEL.LOSSES.NAME)}",
        ),
        (
            heads.NAME == "EmbeddingHead" and not heads.EMBEDDING_DIM,
            "expected MODEL.HEADS.NAME EmbeddingHead without an EMBEDDING_DIM under GLT, which "
            f"uses features before and behind the neck, got {heads.NAME} and "
            f"{heads.EMBEDDING_DIM}; start from projects/DomainAdaptation/configs/Base-GLT.yml",
        ),
        (
            keys.CHOSEN < len(keys.CLUSTERS),
            f"expected MODEL.GLT.CHOSEN below the {len(keys.CLUSTERS)} groups of "
            f"MODEL.GLT.CLUSTERS, counted from 0, got {keys.CHOSEN}",
        ),
        (
            chosen is None or chosen >= fewest,
            f"a batch has {fewest} clusters of the target (half of SOLVER.IMS_PER_BATCH by "
            f"DATALOADER.NUM_INSTANCE), but the group MODEL.GLT.CHOSEN has fewer, {chosen}; raise "
            "it in MODEL.GLT.CLUSTERS, or lower the batch",
        ),
        (
            not cfg.UNSUPERVISED.CURRICULUM.ENABLED,
            "UNSUPERVISED.CURRICULUM leaves images out, but GLT divides all of them among its "
            "clusters; set UNSUPERVISED.CURRICULUM.ENABLED False",
        ),
    )
    return [message for holds, message in rules if not holds]


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
