"""Keys of ``MODEL``: allowed values, when they are read, and contradictions."""

import re
from pathlib import Path
from typing import Any

import torch
from fastreid.config import CfgNode
from fastreid.layers import any_softmax, pooling
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from fastreid.modeling.heads import REID_HEADS_REGISTRY
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from fastreid.utils.registry import Registry

from fastreid_ext.checks.backbone import backbone_problems, reads_of
from fastreid_ext.checks.conditions import (
    ALWAYS,
    Condition,
    is_any_of,
    is_none_of,
    is_on,
)
from fastreid_ext.checks.diffusion_branch import ROWS as DIFFUSION_ROWS
from fastreid_ext.checks.diffusion_branch import diffusion_problems
from fastreid_ext.checks.input import COLOUR
from fastreid_ext.checks.losses import ARCHITECTURES, architecture, loss_problems
from fastreid_ext.checks.losses import ROWS as LOSS_ROWS
from fastreid_ext.checks.row import Row, rows_of
from fastreid_ext.checks.values import (
    ANYTHING,
    AT_LEAST_0,
    COUNT,
    POSITIVE,
    SHARE,
    Names,
    Numbers,
    Range,
    Read,
)
from fastreid_ext.modeling.backbones.facts import FACTS, VITS
from fastreid_ext.modeling.losses.label_uncertainty import FORMS
from fastreid_ext.modeling.pretrained.families import FAMILIES
from fastreid_ext.names import unknown_name
from fastreid_ext.neighbours.propagation import ANCHORS

HEADS = (
    *("EmbeddingHead", "ClasHead", "BeforeNeckHead"),
    *("BDBHead", "ProjectionHead", "StripeHead"),
)
_EMBEDDING_HEADS = HEADS[:3]
_NORMS = ("BN", "syncBN", "GhostBN", "FrozenBN", "GN")
_SWIN = "build_swin_backbone"
_TIMM = "build_timm_backbone"
_HOST_VIT = "build_vit_backbone"
_CLIP_VIT = "build_clip_vit_backbone"
_HUB = re.compile(r"hf-hub:[\w.-]+/[\w.-]+$")
_BASELINE_PARTS = ("backbone", "heads")
_MGN_BRANCHES = (
    *("b1", "b1_head", "b2", "b2_head", "b21_head", "b22_head"),
    *("b3", "b3_head", "b31_head", "b32_head", "b33_head"),
)
# Modules that FREEZE_LAYERS can name.
PARTS = dict.fromkeys(ARCHITECTURES, _BASELINE_PARTS) | {
    "MGN": ("backbone", *_MGN_BRANCHES),
    "BYOLPretrain": (*_BASELINE_PARTS, "predictor"),
    "IDM": (*_BASELINE_PARTS, "mixing"),
}


def registered(registry: Registry) -> list[str]:
    """List the names of one of fastreid's registries, which has no method for it."""
    return list(registry._obj_map)


def _head(*names: str) -> Condition:
    return is_any_of("MODEL.HEADS.NAME", *names, known=HEADS)


def _backbone(*names: str) -> Condition:
    return is_any_of("MODEL.BACKBONE.NAME", *names, known=tuple(FACTS))


def _resnet_key(key: str) -> Condition:
    """Require that the backbone, under its architecture, reads a key of ResNets."""

    def because(cfg: CfgNode) -> str:
        backbone = cfg.MODEL.BACKBONE
        architecture = cfg.MODEL.META_ARCHITECTURE
        return f"{backbone.NAME} {backbone.DEPTH} under {architecture} does not have it"

    readers = [name for name, facts in FACTS.items() if key in facts.reads]
    only = "50x or 101x of " if key == "WITH_NL" else ""
    instead = f"take {only}{', '.join(readers)}"
    return Condition(lambda cfg: key in reads_of(cfg), because, lambda cfg: instead)


def _device_problem(key: str, value: str) -> str:
    try:
        torch.device(value)
    except RuntimeError:
        return f"expected {key} cpu, cuda or cuda:<number>, got '{value}'"
    if value.startswith("cuda") and not torch.cuda.is_available():
        return (
            f"{key} is {value} but torch {torch.__version__} sees no GPU; add `{key} cpu` to the "
            "command, or install a CUDA build of torch and try nvidia-smi"
        )
    return ""


def _weights_problem(key: str, value: str) -> str:
    if not value or Path(value).is_file():
        return ""
    return f"no file at {value} ({key}); give the path of an existing weight file"


def _deviation_problem(key: str, value: Any) -> str:
    if problem := COLOUR.problem(key, value):
        return problem
    return f"expected {key} above 0, got {list(value)}" if min(value) <= 0 else ""


_PRETRAIN = is_any_of("MODEL.BACKBONE.PRETRAIN", True)
_DROP = Range(0, 1, is_below=True)
_DROPS = _backbone(_HOST_VIT, *VITS, _SWIN)
_NORM = Names(_NORMS, may_be_empty=True)
_EMBEDS = _head(*_EMBEDDING_HEADS)
_CLS_MARGIN = is_none_of(
    "MODEL.HEADS.CLS_LAYER", "Linear", instead="set MODEL.HEADS.CLS_LAYER CircleSoftmax"
)

ROWS: list[Row] = [
    *rows_of(
        "MODEL",
        DEVICE=Read(_device_problem),
        META_ARCHITECTURE=Names(lambda: registered(META_ARCH_REGISTRY)),
        FREEZE_LAYERS=(
            ANYTHING,
            Condition(
                lambda cfg: cfg.SOLVER.FREEZE_ITERS > 0,
                lambda cfg: f"SOLVER.FREEZE_ITERS is {cfg.SOLVER.FREEZE_ITERS}",
                lambda cfg: "set SOLVER.FREEZE_ITERS to the number of iterations to freeze them",
            ),
        ),
        QUEUE_SIZE=(COUNT, architecture("MoCo")),
        WEIGHTS=Read(_weights_problem),
        MIN_WEIGHTS_MATCHED=SHARE,
        FIND_UNUSED_PARAMETERS=ANYTHING,
        BN_GROUP=AT_LEAST_0,
        PIXEL_MEAN=COLOUR,
        PIXEL_STD=Read(_deviation_problem),
    ),
    *rows_of(
        "MODEL.BACKBONE",
        NAME=Names(lambda: registered(BACKBONE_REGISTRY)),
        DEPTH=(
            ANYTHING,
            is_none_of(
                "MODEL.BACKBONE.NAME", _TIMM, instead="name the size in MODEL.BACKBONE.TIMM_NAME"
            ),
        ),
        FEAT_DIM=AT_LEAST_0,
        LAST_STRIDE=(Range(1, 2), _resnet_key("LAST_STRIDE")),
        NORM=(_NORM, _resnet_key("NORM")),
        SIE_COE=(ANYTHING, _backbone(_HOST_VIT)),
        STRIDE_SIZE=(Numbers((2,), COUNT, "[rows, columns]"), _backbone(_HOST_VIT)),
        DROP_PATH_RATIO=(_DROP, _DROPS),
        DROP_RATIO=(_DROP, _DROPS),
        ATT_DROP_RATE=(_DROP, _DROPS),
        PRETRAIN=ANYTHING,
        PRETRAIN_PATH=(ANYTHING, _PRETRAIN),
        PRETRAIN_FAMILY=(Names([family.name for family in FAMILIES], may_be_empty=True), _PRETRAIN),
        MIN_PRETRAIN_MATCHED=(SHARE, _PRETRAIN),
        TIMM_NAME=(ANYTHING, _backbone(_TIMM)),
        TOKENS=(Names(("class", "patch"), may_be_empty=True), _backbone(*VITS)),
        FREEZE_PATCH_EMBED=(ANYTHING, _backbone(*VITS)),
        QUICK_GELU=(ANYTHING, _backbone(_CLIP_VIT)),
        SEMANTIC_WEIGHT=(Range(0, 1, also=(-1,), hint="-1 is a plain Swin"), _backbone(_SWIN)),
    ),
    *(
        Row(f"MODEL.BACKBONE.{key}", ANYTHING, _resnet_key(key), is_part_of_the_method=True)
        for key in ("WITH_IBN", "WITH_SE", "WITH_NL")
    ),
    *rows_of(
        "MODEL.HEADS",
        _EMBEDS,
        NAME=(Names(lambda: registered(REID_HEADS_REGISTRY)), ALWAYS),
        NORM=(
            _NORM,
            _head("BDBHead", "StripeHead") | _EMBEDS & is_any_of("MODEL.HEADS.WITH_BNNECK", True),
        ),
        NUM_CLASSES=(AT_LEAST_0, ALWAYS),  # 0 is filled in when a training begins
        EMBEDDING_DIM=(AT_LEAST_0, _head(*_EMBEDDING_HEADS, "ProjectionHead")),
        WITH_BNNECK=ANYTHING,
        NECK_FEAT=Names(("before", "after")),
        POOL_LAYER=(Names(pooling.__all__), _head(*_EMBEDDING_HEADS, "ProjectionHead")),
        CLS_LAYER=Names(any_softmax.__all__),
        MARGIN=(AT_LEAST_0, _EMBEDS & _CLS_MARGIN),
        SCALE=POSITIVE,
    ),
    *rows_of(
        "MODEL.HEADS.BDB",
        _head("BDBHead"),
        DROP_HEIGHT=Range(0, 1, is_above=True),
        DROP_WIDTH=Range(0, 1, is_above=True),
        GLOBAL_DIM=COUNT,
        PART_DIM=COUNT,
    ),
    *rows_of(
        "MODEL.HEADS.PROJECTION",
        _head("ProjectionHead"),
        HIDDEN_DIM=AT_LEAST_0,
        WITH_NORM=ANYTHING,
    ),
    Row("MODEL.HEADS.STRIPES", COUNT, _head("StripeHead")),
    *LOSS_ROWS,
    *DIFFUSION_ROWS,
    *rows_of(
        "MODEL.MOCO",
        architecture("ContrastivePretrain"),
        QUEUE=AT_LEAST_0,
        MOMENTUM=Range(0, 1, is_below=True, hint="0.999 is usual"),
    ),
    Row(
        "MODEL.BYOL.MOMENTUM",
        Range(0, 1, is_below=True, hint="0.996 is BYOL's"),
        architecture("BYOLPretrain"),
    ),
    *rows_of(
        "MODEL.ICE",
        architecture("ICE"),
        MOMENTUM=Range(0, 1, is_below=True, hint="0.999 is ICE's"),
        FIRST_VIEW_SEEN=ANYTHING,
    ),
    *rows_of(
        "MODEL.HCD",
        architecture("HCD"),
        NEIGHBOURS=COUNT,
        LINKED=COUNT,
        GROUPS_LINKED=COUNT,
        FLOOR=Range(-1, 1, is_below=True),
        THRESHOLD=AT_LEAST_0,
        ANCHORS=Names(ANCHORS),
        PARTS=Range(2, hint="8 is HCD's"),
    ),
    *rows_of(
        "MODEL.UNRN",
        architecture("UNRN"),
        FORM=Names(FORMS),
        SIDE_HEAD=ANYTHING,
        MEMORY_HEAD=ANYTHING,
        MEMORY=COUNT,
        MOMENTUM=Range(0, 1, is_below=True, hint="0.999 is UNRN's"),
        CENTRE_MOMENTUM=SHARE,
    ),
    *rows_of(
        "MODEL.GLT",
        architecture("GLT"),
        CLUSTERS=Numbers(
            tuple(range(1, 100)), Range(2), "numbers of clusters, one of each group", whole=True
        ),
        CHOSEN=AT_LEAST_0,
        SHARPNESS=Range(0, is_above=True, hint="25 is GLT's"),
        STARTS=COUNT,
        DROPOUT=Range(0, 1, is_below=True, hint="0.2 is GLT's"),
        MOMENTUM=Range(0, 1, is_below=True, hint="0.999 is GLT's"),
        PREVIOUS_RUN=Read(_weights_problem),
    ),
]
_DISTILS = architecture("Distiller")
KD_ROWS: list[Row] = [
    *rows_of("KD", _DISTILS, MODEL_CONFIG=ANYTHING, MODEL_WEIGHTS=ANYTHING),
    Row("KD.EMA.ENABLED", ANYTHING, _DISTILS),
    Row("KD.EMA.MOMENTUM", SHARE, _DISTILS & is_on("KD.EMA")),
]


def model_problems(cfg: CfgNode) -> list[str]:
    """List contradictions between keys of ``MODEL``, each with its remedy."""
    return [
        *loss_problems(cfg),
        *_frozen_layers(cfg),
        *_pretrained(cfg),
        *backbone_problems(cfg),
        *diffusion_problems(cfg),
    ]


def _frozen_layers(cfg: CfgNode) -> list[str]:
    """List the entries of FREEZE_LAYERS that match no part of the model.

    An entry is a part or a module below one; a regular expression, which fastreid takes too, is not
    judged.
    """
    parts = PARTS.get(cfg.MODEL.META_ARCHITECTURE)
    if parts is None:
        return []
    return [
        f"{unknown_name('MODEL.FREEZE_LAYERS', name, parts)} (it would freeze nothing)"
        for name in cfg.MODEL.FREEZE_LAYERS
        if re.fullmatch(r"[\w.]+", name)
        and not any(name == part or name.startswith(f"{part}.") for part in parts)
    ]


def _pretrained(cfg: CfgNode) -> list[str]:
    path = cfg.MODEL.BACKBONE.PRETRAIN_PATH
    if not cfg.MODEL.BACKBONE.PRETRAIN:
        return []
    if not path:
        return [
            "MODEL.BACKBONE.PRETRAIN is True but MODEL.BACKBONE.PRETRAIN_PATH is empty; nothing "
            "is downloaded at run time; give a local weight file there, or set "
            "MODEL.BACKBONE.PRETRAIN False to start from random weights"
        ]
    if path.startswith("hf-hub:"):
        if _HUB.match(path):
            return []
        return [f"expected hf-hub:owner/name in MODEL.BACKBONE.PRETRAIN_PATH, got '{path}'"]
    if Path(path).exists():
        return []
    return [
        f"no file at {path} (MODEL.BACKBONE.PRETRAIN_PATH); give the path of an existing weight "
        "file or folder, or hf-hub:owner/name to fetch one"
    ]
