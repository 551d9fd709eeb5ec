"""Keys of ``MODEL.BACKBONE``: fill in automatic values and refuse impossible backbones.

In fastreid an unknown DEPTH is a bare KeyError, a wrong FEAT_DIM a shape error in the first step,
and keys that a backbone does not read have no effect and no message.
"""

import math

from fastreid.config import CfgNode
from fastreid.modeling.backbones import BACKBONE_REGISTRY

from fastreid_ext.modeling.backbones.facts import FACTS, RESNET_KEYS, VIT_PATCH, VITS
from fastreid_ext.modeling.backbones.matrix import MATRIX, RESNET_18, TIMM, TWO_STREAM
from fastreid_ext.modeling.backbones.timm_models import TimmMap, timm_map

_MEAN_POOLS = ("GlobalAvgPool", "FastGlobalAvgPool", "Identity", "Flatten")
_GEM_POOLS = {"GeneralizedMeanPooling": "AGW", "GeneralizedMeanPoolingP": "SBS"}


def fill_in_backbone(cfg: CfgNode) -> None:
    """Set FEAT_DIM 0 to the backbone's width and TOKENS "" to what the baseline needs, in place.

    Unknown values stay as they are; :func:`backbone_problems` gives the reason.
    """
    backbone = cfg.MODEL.BACKBONE
    if backbone.FEAT_DIM == 0:
        backbone.FEAT_DIM = _width(cfg) or 0
    if backbone.TOKENS == "" and backbone.NAME in VITS:
        backbone.TOKENS = "patch" if _baseline(cfg) != "BoT" or not _pools_mean(cfg) else "class"


def backbone_problems(cfg: CfgNode) -> list[str]:
    """List the mistakes in the backbone and in its pair with the baseline, each with its remedy."""
    backbone = cfg.MODEL.BACKBONE
    if backbone.NAME not in BACKBONE_REGISTRY._obj_map:
        return []  # the table of keys refuses it
    if backbone.NAME not in FACTS:
        return _own_backbone(cfg)
    depth = _depth(cfg)
    if depth:
        return depth
    return [*_feat_dim(cfg), *_image_size(cfg), *_pair(cfg)]


def reads_of(cfg: CfgNode) -> tuple[str, ...]:
    """List the keys of ResNets that the backbone reads under the architecture."""
    backbone = cfg.MODEL.BACKBONE
    if backbone.NAME not in FACTS:
        return RESNET_KEYS
    reads = FACTS[backbone.NAME].reads
    # MGN takes a ResNet apart and leaves its non-local blocks out.
    is_shallow = _group(cfg) == TWO_STREAM and backbone.DEPTH in ("18x", "34x")
    if is_shallow or _group(cfg) == RESNET_18 or cfg.MODEL.META_ARCHITECTURE == "MGN":
        reads = tuple(key for key in reads if key != "WITH_NL")
    return reads


def _group(cfg: CfgNode) -> str:
    backbone = cfg.MODEL.BACKBONE
    if backbone.NAME == "build_resnet_backbone" and backbone.DEPTH in ("18x", "34x"):
        return RESNET_18
    return FACTS[backbone.NAME].group


def _baseline(cfg: CfgNode) -> str:
    architecture = cfg.MODEL.META_ARCHITECTURE
    if architecture in ("MGN", "BDB"):
        return architecture
    if architecture == "PPLR":  # it cuts a map into rows as BDB does
        return "BDB"
    return _GEM_POOLS.get(cfg.MODEL.HEADS.POOL_LAYER, "BoT")


def _pools_mean(cfg: CfgNode) -> bool:
    return cfg.MODEL.HEADS.POOL_LAYER in _MEAN_POOLS


def _timm(cfg: CfgNode, size: list[int] | None = None) -> TimmMap:
    return timm_map(cfg.MODEL.BACKBONE.TIMM_NAME, tuple(size or cfg.INPUT.SIZE_TRAIN))


def _width(cfg: CfgNode) -> int | None:
    backbone = cfg.MODEL.BACKBONE
    if backbone.NAME != "build_timm_backbone":
        facts = FACTS.get(backbone.NAME)
        return facts.widths.get(backbone.DEPTH) if facts else None
    try:
        return _timm(cfg).channels
    except ValueError:
        return None


def _own_backbone(cfg: CfgNode) -> list[str]:
    backbone = cfg.MODEL.BACKBONE
    if backbone.FEAT_DIM > 0:
        return []
    return [
        f"MODEL.BACKBONE.FEAT_DIM is {backbone.FEAT_DIM}, and the width of {backbone.NAME} is not "
        "known to fastreid_ext; give the number of channels of its map"
    ]


def _depth(cfg: CfgNode) -> list[str]:
    backbone = cfg.MODEL.BACKBONE
    if backbone.NAME == "build_timm_backbone":
        try:
            _timm(cfg)
        except ValueError as error:
            return [str(error)]
        return []
    known = FACTS[backbone.NAME].widths
    if backbone.DEPTH in known:
        return []
    return [
        f"unknown MODEL.BACKBONE.DEPTH '{backbone.DEPTH}' of {backbone.NAME}; "
        f"known: {', '.join(known)}"
    ]


def _feat_dim(cfg: CfgNode) -> list[str]:
    given = cfg.MODEL.BACKBONE.FEAT_DIM
    width = _width(cfg)
    if given == width:
        return []
    backbone = cfg.MODEL.BACKBONE
    is_timm = backbone.NAME == "build_timm_backbone"
    what = backbone.TIMM_NAME if is_timm else f"{backbone.NAME} {backbone.DEPTH}"
    return [
        f"expected MODEL.BACKBONE.FEAT_DIM {width}, the width of {what}, got {given}; "
        "0 takes it by itself"
    ]


def _image_size(cfg: CfgNode) -> list[str]:
    """Refuse other image sizes for a backbone of one size, and sizes that patches do not fill."""
    name = cfg.MODEL.BACKBONE.NAME
    inputs = cfg.INPUT
    is_timm = name == "build_timm_backbone"
    if not (name in (*VITS, "build_vit_backbone") or (is_timm and _timm(cfg).one_size)):
        return []
    train = list(inputs.SIZE_TRAIN)
    problems = []
    if name in VITS and any(side % VIT_PATCH for side in train):
        problems.append(
            f"expected INPUT.SIZE_TRAIN of multiples of {VIT_PATCH}, the patch of {name}, got "
            f"{train}"
        )
    if list(inputs.SIZE_TEST) != train:
        problems.append(
            f"{name} takes images of one size, but INPUT.SIZE_TRAIN is {train} and INPUT.SIZE_TEST "
            f"{list(inputs.SIZE_TEST)}; make them equal"
        )
    if inputs.CROP.ENABLED and list(inputs.CROP.SIZE) != train:
        problems.append(
            f"{name} takes images of one size, but INPUT.CROP cuts {list(inputs.CROP.SIZE)} and "
            f"INPUT.SIZE_TRAIN is {train}; make them equal"
        )
    return problems


def _pair(cfg: CfgNode) -> list[str]:
    baseline = _baseline(cfg)
    backbone = cfg.MODEL.BACKBONE
    refused = MATRIX[_group(cfg)][baseline].refused
    if refused:
        return [f"{backbone.NAME} does not go with {_asked(cfg)}: {refused}"]
    if backbone.TOKENS == "class" and (baseline in ("MGN", "BDB") or not _pools_mean(cfg)):
        return [
            f"MODEL.BACKBONE.TOKENS class gives a map of 1 x 1, but {_asked(cfg)} needs a larger "
            "one; set MODEL.BACKBONE.TOKENS patch"
        ]
    if baseline not in ("MGN", "BDB"):
        return []
    sizes = {"SIZE_TRAIN": cfg.INPUT.SIZE_TRAIN, "SIZE_TEST": cfg.INPUT.SIZE_TEST}
    rows = {key: map_rows(cfg, list(size)) for key, size in sizes.items()}
    needed = "3 rows or more" if baseline == "BDB" else "3 or at least 5 rows, to cut 3 stripes"
    return [
        f"{cfg.MODEL.META_ARCHITECTURE} needs a map of {needed}, but INPUT.{key} "
        f"{list(sizes[key])} gives {count} with {backbone.NAME}; take higher images"
        for key, count in rows.items()
        if count < 3 or (baseline == "MGN" and count == 4)
    ]


def _asked(cfg: CfgNode) -> str:
    if _baseline(cfg) in ("MGN", "BDB"):
        return f"MODEL.META_ARCHITECTURE {cfg.MODEL.META_ARCHITECTURE}"
    return f"MODEL.HEADS.POOL_LAYER {cfg.MODEL.HEADS.POOL_LAYER}"


def map_rows(cfg: CfgNode, size: list[int]) -> int:
    """Compute the number of rows of the backbone's map.

    Args:
        cfg: configuration with a known backbone.
        size: rows and columns of the image in pixels.
    """
    facts = FACTS[cfg.MODEL.BACKBONE.NAME]
    if facts.group == TIMM:
        return _timm(cfg, size).grid[0]
    # The branches of fastreid's MGN that are cut have stride 1 whatever LAST_STRIDE says.
    is_strided = "LAST_STRIDE" in facts.reads and cfg.MODEL.META_ARCHITECTURE != "MGN"
    stride = facts.stride_of(cfg.MODEL.BACKBONE.DEPTH) * (
        cfg.MODEL.BACKBONE.LAST_STRIDE if is_strided else 1
    )
    return math.ceil(size[0] / stride)
