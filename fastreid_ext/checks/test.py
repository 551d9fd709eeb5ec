"""Keys of ``TEST``: allowed values, when they are read, and contradictions."""

from collections.abc import Collection

from fastreid.config import CfgNode

from fastreid_ext.checks.conditions import is_filled, is_on
from fastreid_ext.checks.row import Row, rows_of
from fastreid_ext.checks.values import ANYTHING, AT_LEAST_0, COUNT, SHARE, Names
from fastreid_ext.data.own_sets import data_set_names
from fastreid_ext.data.visible_infrared import visible_infrared_test
from fastreid_ext.names import unknown_name

ROWS: list[Row] = [
    *rows_of(
        "TEST",
        EVAL_PERIOD=(AT_LEAST_0, is_filled("DATASETS.TESTS")),
        IMS_PER_BATCH=COUNT,
        METRIC=Names(("cosine", "euclidean")),
        NUM_WORKERS=AT_LEAST_0,
    ),
    Row("TEST.ROC.ENABLED", ANYTHING),
    Row("TEST.FLIP.ENABLED", ANYTHING),
    Row("TEST.AQE.ENABLED", ANYTHING),
    *rows_of("TEST.AQE", is_on("TEST.AQE"), ALPHA=AT_LEAST_0, QE_TIME=COUNT, QE_K=COUNT),
    Row("TEST.RERANK.ENABLED", ANYTHING),
    *rows_of(
        "TEST.RERANK",
        is_on("TEST.RERANK"),
        K1=COUNT,
        K2=COUNT,
        LAMBDA=SHARE,
        RULE=Names(("evaluator", "released")),
    ),
    *rows_of("TEST.VISIBLE_INFRARED", TRIALS=COUNT, SHOTS=COUNT),
    Row("TEST.PRECISE_BN.ENABLED", ANYTHING),
    *rows_of(
        "TEST.PRECISE_BN",
        is_on("TEST.PRECISE_BN"),
        DATASET=ANYTHING,  # judged below: DATASETS.SETS adds names
        NUM_ITER=COUNT,
    ),
]


def evaluation_problems(cfg: CfgNode, named: Collection[str] = ()) -> list[str]:
    """List contradictions between keys of ``TEST`` and others, each with its remedy.

    Args:
        cfg: configuration with automatic values filled in.
        named: keys that a file or the command line sets, whatever their value.
    """
    return [*_visible_infrared_problems(cfg), *_precise_bn_problems(cfg, named)]


def _visible_infrared_problems(cfg: CfgNode) -> list[str]:
    """List what the rules of visible-infrared sets have no place for."""
    ruled = [name for name in cfg.DATASETS.TESTS if visible_infrared_test(name) is not None]
    if not ruled:
        return []
    keys = [f"TEST.{key}.ENABLED" for key in ("RERANK", "AQE", "ROC") if cfg.TEST[key].ENABLED]
    if cfg.TEST.METRIC != "cosine":
        keys.append(f"TEST.METRIC {cfg.TEST.METRIC}")
    return [
        f"{key} has no place in the rule of {ruled[0]}, which ranks drawn galleries by cosine; "
        "leave it out"
        for key in keys
    ]


def _precise_bn_problems(cfg: CfgNode, named: Collection[str]) -> list[str]:
    precise = cfg.TEST.PRECISE_BN
    key = "TEST.PRECISE_BN.DATASET"
    if precise.DATASET not in data_set_names(cfg):
        return [unknown_name(key, precise.DATASET, data_set_names(cfg))]
    if not precise.ENABLED or precise.DATASET in cfg.DATASETS.NAMES or key in named:
        return []
    trained = ", ".join(cfg.DATASETS.NAMES) or "nothing"
    return [
        f"TEST.PRECISE_BN would take its statistics from {precise.DATASET}, the default of {key}, "
        f"but the run trains on {trained}; set {key} to a set of DATASETS.NAMES"
    ]
