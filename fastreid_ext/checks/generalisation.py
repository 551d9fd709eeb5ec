"""Domain generalisation: keys of batch-instance normalisation and its meta-training."""

from fastreid.config import CfgNode

from fastreid_ext.checks.conditions import is_any_of, is_on
from fastreid_ext.checks.domains import WITHOUT_BATCH_NORM
from fastreid_ext.checks.row import Row, rows_of
from fastreid_ext.checks.values import ANYTHING, AT_LEAST_0, COUNT, POSITIVE, SHARE, Names
from fastreid_ext.data.domain_batches import DOMAIN_BALANCED, has_meta_half
from fastreid_ext.modeling.backbones.facts import FACTS

_BIN = "MODEL.BIN"
_META = is_on(_BIN) & is_any_of(f"{_BIN}.TRAINED_BY", "meta")
_START = "start from projects/DomainGeneralisation/configs/Base-MetaBIN.yml"
META_LOSSES = ("triplet", "scatter", "shuffle", "cross_entropy")

ROWS: list[Row] = [
    Row(f"{_BIN}.ENABLED", ANYTHING),
    *rows_of(
        _BIN,
        is_on(_BIN),
        GATE=SHARE,
        TRAINED_BY=Names(("meta", "loss", "nothing")),
    ),
    *rows_of(
        "SOLVER.META",
        _META,
        GATE_LR=POSITIVE,
        CYCLE_EPOCHS=AT_LEAST_0,
        TEST_DOMAINS=COUNT,
        LOSSES=Names(META_LOSSES),
    ),
    Row(
        "DATALOADER.DOMAINS",
        Names(("sets", "cameras")),
        _META | is_any_of("DATALOADER.SAMPLER_TRAIN", DOMAIN_BALANCED),
    ),
]


def generalisation_problems(cfg: CfgNode) -> list[str]:
    """List keys that contradict batch-instance normalisation, each with its remedy."""
    if not cfg.MODEL.BIN.ENABLED:
        return []
    backbone = cfg.MODEL.BACKBONE
    group = FACTS[backbone.NAME].group if backbone.NAME in FACTS else ""
    if group in WITHOUT_BATCH_NORM:
        return [
            f"MODEL.BIN.ENABLED mixes batch and instance normalisation, and {backbone.NAME} has no "
            "batch normalisation: it normalises each image by itself; set it to False, or take "
            "build_resnet_backbone"
        ]
    rules = (
        (
            not cfg.MODEL.DOMAIN_BN.ENABLED and not cfg.MODEL.BN_GROUP,
            "expected MODEL.DOMAIN_BN.ENABLED False and MODEL.BN_GROUP 0 with MODEL.BIN, which "
            "replaces the same layers; set them so",
        ),
        *(_meta_rules(cfg) if has_meta_half(cfg) else ()),
    )
    return [message for holds, message in rules if not holds]


def _meta_rules(cfg: CfgNode) -> tuple[tuple[bool, str], ...]:
    heads = cfg.MODEL.HEADS
    architecture = cfg.MODEL.META_ARCHITECTURE
    return (
        (
            architecture == "Baseline" and not cfg.UNSUPERVISED.ENABLED,
            "expected MODEL.META_ARCHITECTURE Baseline with labels under MODEL.BIN.TRAINED_BY "
            f"meta, got {architecture}; {_START}, or set TRAINED_BY loss",
        ),
        (
            heads.NAME == "EmbeddingHead" and heads.NECK_FEAT == "before",
            "expected MODEL.HEADS.NAME EmbeddingHead with NECK_FEAT before under "
            "MODEL.BIN.TRAINED_BY meta, whose losses compare pooled features, got "
            f"{heads.NAME} and {heads.NECK_FEAT}; {_START}",
        ),
        (
            cfg.SOLVER.IMS_PER_BATCH % 2 == 0,
            "expected an even SOLVER.IMS_PER_BATCH under MODEL.BIN.TRAINED_BY meta, half of it for "
            f"the gates, got {cfg.SOLVER.IMS_PER_BATCH}",
        ),
        (
            not cfg.INPUT.VIEWS.RECIPE,
            "expected one view of each image under MODEL.BIN.TRAINED_BY meta, got "
            f"INPUT.VIEWS.RECIPE {cfg.INPUT.VIEWS.RECIPE}; empty it",
        ),
        (
            not cfg.INPUT.MIXUP.ENABLED and not cfg.INPUT.CUTMIX.ENABLED,
            "expected INPUT.MIXUP and INPUT.CUTMIX off under MODEL.BIN.TRAINED_BY meta, whose "
            "halves must not mix; set their ENABLED False",
        ),
        (
            len(cfg.SOLVER.META.LOSSES) > 0,
            "expected a meta-train loss in SOLVER.META.LOSSES, got none; name some of "
            + ", ".join(META_LOSSES),
        ),
    )
