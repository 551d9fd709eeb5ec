"""Losses and the meta-architectures that compute them: keys of ``MODEL.LOSSES``."""

from fastreid.config import CfgNode

from fastreid_ext.checks.architectures import PRETRAINING_LOSSES
from fastreid_ext.checks.conditions import Condition, has_any_of, is_any_of
from fastreid_ext.checks.row import Row, rows_of
from fastreid_ext.checks.values import (
    ANYTHING,
    AT_LEAST_0,
    COUNT,
    POSITIVE,
    SHARE,
    Names,
    Range,
)
from fastreid_ext.modeling.losses.camera_proxies import NORMALISED
from fastreid_ext.modeling.losses.cluster_memory import UPDATES
from fastreid_ext.modeling.meta_arch.byol_pretrain import BYOL
from fastreid_ext.modeling.meta_arch.cluster_contrast import CLUSTER_CONTRAST
from fastreid_ext.modeling.meta_arch.domain_baseline import BANK_TRIPLET
from fastreid_ext.modeling.meta_arch.hhcl import HYBRID_CONTRAST
from fastreid_ext.modeling.meta_arch.ice import CAMERA_PROXY, ICE_LOSS
from fastreid_ext.modeling.meta_arch.idm import BRIDGE
from fastreid_ext.modeling.meta_arch.pplr import PPLR_LOSS
from fastreid_ext.modeling.meta_arch.prototype_baseline import PROTOTYPE
from fastreid_ext.modeling.meta_arch.simclr_pretrain import NT_XENT
from fastreid_ext.modeling.meta_arch.spcl import INSTANCE_CONTRAST
from fastreid_ext.modeling.meta_arch.unrn import UNRN_LOSS
from fastreid_ext.modeling.meta_arch.view_losses import CONTRASTIVE, JS, VIEW_LOSSES
from fastreid_ext.names import unknown_name
from fastreid_ext.registries import LOSS_REGISTRY, registered_names

# What fastreid's meta-architectures compute. One that a user registers may name losses of its own.
_BASELINE_LOSSES = ("CrossEntropyLoss", "TripletLoss", "CircleLoss", "Cosface", *VIEW_LOSSES)
_WEIGHTED = "WeightedTripletLoss"
_DOMAIN_LOSSES = ("CrossEntropyLoss", "TripletLoss", BANK_TRIPLET)
LOSSES = {
    "Baseline": (*_BASELINE_LOSSES, _WEIGHTED),
    "PrototypeBaseline": (*_BASELINE_LOSSES, _WEIGHTED, PROTOTYPE),
    "ClusterBaseline": (*_BASELINE_LOSSES, _WEIGHTED),
    "DomainBaseline": _DOMAIN_LOSSES,
    "CaCL": _DOMAIN_LOSSES,
    "IDM": (*_DOMAIN_LOSSES, BRIDGE),
    "ClusterContrast": (CLUSTER_CONTRAST,),
    "HHCL": (HYBRID_CONTRAST,),
    "ICE": (ICE_LOSS, CAMERA_PROXY),
    "SpCL": (INSTANCE_CONTRAST,),
    "PPLR": (PPLR_LOSS, CAMERA_PROXY),
    "HCD": (INSTANCE_CONTRAST,),
    "UNRN": (UNRN_LOSS,),
    "GLT": ("CrossEntropyLoss", "TripletLoss"),
    "MoCo": _BASELINE_LOSSES,
    "Distiller": _BASELINE_LOSSES,
    "MGN": ("CrossEntropyLoss", "TripletLoss", _WEIGHTED, *VIEW_LOSSES),
    "BDB": ("CrossEntropyLoss", "TripletLoss", _WEIGHTED, *VIEW_LOSSES),
    **PRETRAINING_LOSSES,
}
ARCHITECTURES = tuple(LOSSES)
_WITH_THEIR_LOSS_ALONE = (
    *PRETRAINING_LOSSES,
    *("ClusterContrast", "HHCL", "ICE", "SpCL", "PPLR"),
    *("DomainBaseline", "IDM", "CaCL", "HCD", "UNRN", "GLT"),
)


def architecture(*names: str) -> Condition:
    """Require one of some meta-architectures, or one that the user registered."""
    return is_any_of("MODEL.META_ARCHITECTURE", *names, known=ARCHITECTURES)


def _loss(*names: str) -> Condition:
    """Require that a loss is named, or that a loss or architecture is the user's."""
    named = has_any_of("MODEL.LOSSES.NAME", *names)
    known = {loss for losses in LOSSES.values() for loss in losses}

    def holds(cfg: CfgNode) -> bool:
        is_own = cfg.MODEL.META_ARCHITECTURE not in ARCHITECTURES
        return named.holds(cfg) or is_own or not known.issuperset(cfg.MODEL.LOSSES.NAME)

    return Condition(holds, named.because, named.instead)


ROWS: list[Row] = [
    Row("MODEL.LOSSES.NAME", ANYTHING),
    *rows_of(
        "MODEL.LOSSES.CE",
        _loss("CrossEntropyLoss"),
        EPSILON=Range(0, 1, is_below=True, also=(-1,), hint="-1 smooths adaptively, by ALPHA"),
        ALPHA=(
            AT_LEAST_0,
            _loss("CrossEntropyLoss") & is_any_of("MODEL.LOSSES.CE.EPSILON", -1),
        ),
        SCALE=AT_LEAST_0,
    ),
    *rows_of(
        "MODEL.LOSSES.FL",
        Condition(
            architecture().holds,
            lambda cfg: "no meta-architecture of fastreid or fastreid_ext has a focal loss",
            lambda cfg: "name a loss of MODEL.LOSSES.NAME",
        ),
        ALPHA=ANYTHING,
        GAMMA=AT_LEAST_0,
        SCALE=AT_LEAST_0,
    ),
    *rows_of(
        "MODEL.LOSSES.TRI",
        _loss("TripletLoss"),
        MARGIN=AT_LEAST_0,
        NORM_FEAT=ANYTHING,
        HARD_MINING=ANYTHING,
        SCALE=AT_LEAST_0,
    ),
    *rows_of(
        "MODEL.LOSSES.CIRCLE",
        _loss("CircleLoss"),
        MARGIN=AT_LEAST_0,
        GAMMA=POSITIVE,
        SCALE=AT_LEAST_0,
    ),
    *rows_of(
        "MODEL.LOSSES.COSFACE",
        _loss("Cosface"),
        MARGIN=AT_LEAST_0,
        GAMMA=POSITIVE,
        SCALE=AT_LEAST_0,
    ),
    Row("MODEL.LOSSES.JS.SCALE", Range(0, hint="12 is CIL's"), _loss(JS)),
    Row(
        "MODEL.LOSSES.JS.OVER",
        Names(("negatives", "channels")),
        architecture("ContrastivePretrain") & _loss(JS),
    ),
    *rows_of(
        "MODEL.LOSSES.MULTI_POSITIVE",
        _loss(CONTRASTIVE),
        SCALE=AT_LEAST_0,
        TEMPERATURE=Range(0, is_above=True, hint="0.7 is DAPG's"),
    ),
    *rows_of(
        "MODEL.LOSSES.WEIGHTED_TRIPLET",
        _loss(_WEIGHTED),
        SCALE=AT_LEAST_0,
        SQUARED=ANYTHING,
        CLAMP=(
            POSITIVE,
            _loss(_WEIGHTED) & is_any_of("MODEL.LOSSES.WEIGHTED_TRIPLET.SQUARED", True),
        ),
    ),
    Row("MODEL.LOSSES.BYOL.SCALE", AT_LEAST_0, _loss(BYOL)),
    *rows_of(
        "MODEL.LOSSES.NT_XENT",
        _loss(NT_XENT),
        SCALE=AT_LEAST_0,
        TEMPERATURE=Range(0, is_above=True, hint="0.1 is SimCLR's"),
    ),
    *rows_of(
        "MODEL.LOSSES.PROTOTYPE",
        _loss(PROTOTYPE),
        SCALE=AT_LEAST_0,
        TEMPERATURE=Range(0, is_above=True, hint="0.01 is DCAC's"),
        MOMENTUM=SHARE,
    ),
    *rows_of(
        "MODEL.LOSSES.CLUSTER_CONTRAST",
        _loss(CLUSTER_CONTRAST),
        SCALE=AT_LEAST_0,
        TEMPERATURE=Range(0, is_above=True, hint="0.05 is Cluster-Contrast's"),
        MOMENTUM=SHARE,
        UPDATE=Names(UPDATES),
    ),
    *rows_of(
        "MODEL.LOSSES.HYBRID_CONTRAST",
        _loss(HYBRID_CONTRAST),
        SCALE=AT_LEAST_0,
        TEMPERATURE=Range(0, is_above=True, hint="0.05 is HHCL's"),
        MOMENTUM=SHARE,
        HARD_WEIGHT=AT_LEAST_0,
        MEAN_WEIGHT=AT_LEAST_0,
    ),
    *rows_of(
        "MODEL.LOSSES.ICE",
        _loss(ICE_LOSS),
        PROXY_TEMPERATURE=Range(0, is_above=True, hint="0.5 is ICE's"),
        SMOOTHING=Range(0, 1, is_below=True),
        HARD_TEMPERATURE=Range(0, is_above=True, hint="0.1 is ICE's"),
        SOFT_TEMPERATURE=Range(0, is_above=True, hint="0.4 is ICE's"),
        SOFT_SCALE=AT_LEAST_0,
    ),
    *rows_of(
        "MODEL.LOSSES.PPLR",
        _loss(PPLR_LOSS),
        BETA=SHARE,
        NEIGHBOURS=COUNT,
        START_EPOCH=AT_LEAST_0,
        SMOOTHING=Range(0, 1, is_below=True),
    ),
    *rows_of(
        "MODEL.LOSSES.CAMERA_PROXY",
        _loss(CAMERA_PROXY),
        SCALE=AT_LEAST_0,
        TEMPERATURE=Range(0, is_above=True, hint="0.07 is usual"),
        NEGATIVES=COUNT,
        NORMALISED=Names(NORMALISED),
    ),
    *rows_of(
        "MODEL.LOSSES.INSTANCE_CONTRAST",
        _loss(INSTANCE_CONTRAST),
        SCALE=AT_LEAST_0,
        TEMPERATURE=Range(0, is_above=True, hint="0.05 is SpCL's"),
        MOMENTUM=SHARE,
    ),
    *rows_of(
        "MODEL.LOSSES.BRIDGE",
        _loss(BRIDGE),
        PREDICTION_WEIGHT=SHARE,
        FEATURE_WEIGHT=AT_LEAST_0,
        DIVERSITY_WEIGHT=AT_LEAST_0,
    ),
    *rows_of(
        "MODEL.LOSSES.CAMERA_DIVERSITY",
        architecture("CaCL"),
        STRENGTH=AT_LEAST_0,
        NORMALISED=ANYTHING,
    ),
    *rows_of(
        "MODEL.LOSSES.BANK_TRIPLET",
        _loss(BANK_TRIPLET),
        SCALE=AT_LEAST_0,
        MARGIN=AT_LEAST_0,
        RATIO=POSITIVE,
        CLEAN=ANYTHING,
    ),
    *rows_of(
        "MODEL.LOSSES.UNRN",
        _loss(UNRN_LOSS),
        SOURCE_SCALE=AT_LEAST_0,
        SMOOTHING=Range(0, 1, is_below=True),
        TRIPLET_SCALE=AT_LEAST_0,
        UNCERTAINTY_SCALE=AT_LEAST_0,
        CONTRAST_SCALE=AT_LEAST_0,
        CENTRE_SCALE=AT_LEAST_0,
        MARGIN=SHARE,
        GAMMA=Range(0, is_above=True, hint="128 is UNRN's"),
    ),
]


def loss_problems(cfg: CfgNode) -> list[str]:
    """List the losses that the meta-architecture does not compute, each with its remedy."""
    known = LOSSES.get(cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.LOSSES.NAME)
    if cfg.MODEL.META_ARCHITECTURE not in _WITH_THEIR_LOSS_ALONE:
        known = (*known, *set(registered_names(LOSS_REGISTRY)) - set(_BASELINE_LOSSES))
    if not cfg.MODEL.LOSSES.NAME:
        return ["MODEL.LOSSES.NAME is empty, so no weight would change; name at least one loss"]
    return [
        unknown_name("MODEL.LOSSES.NAME", name, known)
        for name in cfg.MODEL.LOSSES.NAME
        if name not in known
    ]
