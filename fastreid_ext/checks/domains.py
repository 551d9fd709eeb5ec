"""Adaptation from labelled sources to a target: keys, when they are read, and contradictions."""

from fastreid.config import CfgNode
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY

from fastreid_ext.checks.conditions import is_filled, is_on
from fastreid_ext.checks.losses import architecture as learns_as
from fastreid_ext.checks.row import Row, rows_of
from fastreid_ext.checks.unsupervised_methods import FOUR_STAGES
from fastreid_ext.checks.values import ANYTHING, COUNT, Names, Range
from fastreid_ext.data.own_sets import UNLABELLED, data_set_kind, data_set_names, own_sets
from fastreid_ext.modeling.backbones.facts import FACTS
from fastreid_ext.modeling.backbones.matrix import CLIP_VIT, HOST_VIT, PLAIN_VIT, SWIN
from fastreid_ext.modeling.meta_arch.domain_baseline import takes_sources
from fastreid_ext.modeling.meta_arch.idm import BRIDGE
from fastreid_ext.names import unknown_name
from fastreid_ext.registries import registered_names

_NORM = "MODEL.DOMAIN_BN"
_CURRICULUM = "UNSUPERVISED.CURRICULUM"
_START = "start from a recipe of projects/DomainAdaptation/configs"
WITHOUT_BATCH_NORM = (HOST_VIT, SWIN, PLAIN_VIT, CLIP_VIT)

ROWS: list[Row] = [
    Row("DATASETS.SOURCES", ANYTHING, is_on("UNSUPERVISED")),
    Row(f"{_NORM}.ENABLED", ANYTHING, is_filled("DATASETS.SOURCES")),
    *rows_of(_NORM, is_on(_NORM), NECK_BIAS=Names(("frozen", "trained"))),
    Row(f"{_CURRICULUM}.ENABLED", ANYTHING, is_filled("DATASETS.SOURCES")),
    *rows_of(
        _CURRICULUM,
        is_on(_CURRICULUM),
        EARLY_SHARE=Range(0, 1, is_below=True),
        ORDER=Names(("updated", "fixed")),
        KERNEL=Names(("gaussian", "linear")),
        IMAGES=COUNT,
        CLUSTERED=Names(("active", "all")),
    ),
    Row("MODEL.IDM.STAGE", Range(-1, 4), learns_as("IDM")),
]


def domain_problems(cfg: CfgNode) -> list[str]:
    """List keys that contradict training on a source and a target, each with its remedy."""
    architecture = cfg.MODEL.META_ARCHITECTURE
    kinds = {name: META_ARCH_REGISTRY.get(name) for name in registered_names(META_ARCH_REGISTRY)}
    if architecture not in kinds:  # its own check names the mistake
        return []
    sources = cfg.DATASETS.SOURCES
    if takes_sources(kinds[architecture]) != bool(sources):
        known = ", ".join(name for name, kind in kinds.items() if takes_sources(kind))
        return [
            "expected labelled data sets in DATASETS.SOURCES with an architecture that learns from "
            f"a source ({known}), and only with these, got {', '.join(sources) or 'none'} with "
            f"{architecture}; {_START}"
        ]
    return [*_sources(cfg), *_of_pairs(cfg), *_of_norms(cfg), *_of_idm(cfg)] if sources else []


def _sources(cfg: CfgNode) -> list[str]:
    try:
        sets = own_sets(cfg)
    except ValueError:  # checks/datasets.py names the mistake
        return []
    known = data_set_names(cfg)
    problems = []
    for name in cfg.DATASETS.SOURCES:
        if name not in known:
            problems.append(unknown_name("DATASETS.SOURCES", name, known))
        elif data_set_kind(cfg, name) == UNLABELLED:
            problems.append(
                f"DATASETS.SOURCES has {name}, which has no labels; name labelled sets there, and "
                f"{name} in DATASETS.NAMES"
            )
    places = {sets[name].path: name for name in cfg.DATASETS.NAMES if name in sets}
    for name in cfg.DATASETS.SOURCES:
        own = places.get(sets[name].path) if name in sets else None
        if own or name in cfg.DATASETS.NAMES:
            problems.append(
                f"{name} is in DATASETS.SOURCES and the same as {own or name} in DATASETS.NAMES; a "
                "target that is its own source has labels: train on it without SOURCES"
            )
    return problems


def _of_pairs(cfg: CfgNode) -> list[str]:
    batch = cfg.SOLVER.IMS_PER_BATCH
    group = cfg.MODEL.BN_GROUP
    heads = cfg.MODEL.HEADS
    architecture = cfg.MODEL.META_ARCHITECTURE
    rules = (
        (
            batch % 2 == 0,
            "expected an even SOLVER.IMS_PER_BATCH with DATASETS.SOURCES, half of it of the "
            f"source, got {batch}",
        ),
        (
            not group or batch // 2 % group == 0,
            f"expected half of SOLVER.IMS_PER_BATCH, the images of a domain, to be a multiple of "
            f"MODEL.BN_GROUP, got {batch // 2} and {group}; change one of them",
        ),
        (
            heads.CLS_LAYER == "Linear",
            f"expected MODEL.HEADS.CLS_LAYER Linear under {architecture}, whose rows begin as "
            f"centroids of two domains, got {heads.CLS_LAYER}",
        ),
        (
            not cfg.UNSUPERVISED.CURRICULUM.ENABLED or cfg.UNSUPERVISED.OUTLIERS == "dropped",
            "expected UNSUPERVISED.OUTLIERS dropped with UNSUPERVISED.CURRICULUM, which leaves "
            "images of later cameras out as noise, got kept",
        ),
        (
            architecture != "CaCL" or "CrossEntropyLoss" in cfg.MODEL.LOSSES.NAME,
            "expected CrossEntropyLoss in MODEL.LOSSES.NAME under CaCL, which weighs it, got "
            + ", ".join(cfg.MODEL.LOSSES.NAME),
        ),
        (
            cfg.MODEL.LOSSES.CE.EPSILON >= 0,
            f"expected MODEL.LOSSES.CE.EPSILON in [0, 1) under {architecture}, got "
            f"{cfg.MODEL.LOSSES.CE.EPSILON}; 0.1 is usual",
        ),
    )
    return [message for holds, message in rules if not holds]


def _of_norms(cfg: CfgNode) -> list[str]:
    backbone = cfg.MODEL.BACKBONE
    group = FACTS[backbone.NAME].group if backbone.NAME in FACTS else ""
    if not cfg.MODEL.DOMAIN_BN.ENABLED or group not in WITHOUT_BATCH_NORM:
        return []
    return [
        f"MODEL.DOMAIN_BN.ENABLED gives each domain its own batch normalisation, and "
        f"{backbone.NAME} has none: it normalises each image by itself; set it to False, or take "
        "build_resnet_backbone"
    ]


def _of_idm(cfg: CfgNode) -> list[str]:
    if cfg.MODEL.META_ARCHITECTURE != "IDM":
        return []
    backbone = cfg.MODEL.BACKBONE.NAME
    names = cfg.MODEL.LOSSES.NAME
    rules = (
        (
            backbone in FOUR_STAGES or backbone not in FACTS or cfg.MODEL.IDM.STAGE < 0,
            "expected a backbone of four stages for IDM, which mixes images after one of them "
            f"({', '.join(FOUR_STAGES)}), got {backbone}; take build_resnet_backbone",
        ),
        (
            (BRIDGE in names) == (cfg.MODEL.IDM.STAGE >= 0),
            f"expected {BRIDGE} in MODEL.LOSSES.NAME with MODEL.IDM.STAGE of 0 to 4, and only "
            f"then, got {', '.join(names)} with stage {cfg.MODEL.IDM.STAGE}; {_START}",
        ),
        (
            "CrossEntropyLoss" in names,
            "expected CrossEntropyLoss in MODEL.LOSSES.NAME under IDM, got " + ", ".join(names),
        ),
        (
            cfg.MODEL.HEADS.NECK_FEAT == "before",
            "expected MODEL.HEADS.NECK_FEAT before under IDM, whose distances are those of pooled "
            f"features, got {cfg.MODEL.HEADS.NECK_FEAT}",
        ),
    )
    return [message for holds, message in rules if not holds]
