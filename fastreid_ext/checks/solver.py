"""Keys of ``SOLVER``: allowed values, when they are read, and contradictions."""

from collections.abc import Collection

import torch
from fastreid.config import CfgNode

from fastreid_ext.checks.conditions import (
    Condition,
    is_above,
    is_any_of,
    is_filled,
    is_none_of,
    is_on,
)
from fastreid_ext.checks.losses import architecture
from fastreid_ext.checks.row import Row, rows_of
from fastreid_ext.checks.values import ANYTHING, AT_LEAST_0, COUNT, POSITIVE, Names, Numbers, Range

STAIRS = "StairWarmupLR"
SCHEDULERS = ("MultiStepLR", "CosineAnnealingLR", STAIRS)
# LBFGS wants a closure, SparseAdam sparse gradients, Muon matrices only, Optimizer is abstract.
_UNFIT_OPTIMIZERS = ("Optimizer", "LBFGS", "SparseAdam", "Muon")
_WITH_HEADS = (
    "Baseline",
    "PrototypeBaseline",
    "ClusterBaseline",
    "ClusterContrast",
    "HHCL",
    "DomainBaseline",
    "ICE",
    "SpCL",
    "IDM",
    "PPLR",
    "CaCL",
    "HCD",
    "UNRN",
    "GLT",
    "MoCo",
    "Distiller",
    "BDB",
    "ContrastivePretrain",
    "SimCLRPretrain",
    "BYOLPretrain",
)


def _optimizers() -> list[str]:
    classes = [name for name, value in vars(torch.optim).items() if isinstance(value, type)]
    return [name for name in classes if name not in _UNFIT_OPTIMIZERS]


def _late_steps(cfg: CfgNode) -> list[int]:
    return [step for step in cfg.SOLVER.STEPS if step >= cfg.SOLVER.MAX_EPOCH]


_FALLS = is_any_of("SOLVER.SCHED", "MultiStepLR", STAIRS, known=SCHEDULERS)
_BEFORE_THE_END = Condition(
    lambda cfg: not _late_steps(cfg),
    lambda cfg: (
        f"the run ends after SOLVER.MAX_EPOCH {cfg.SOLVER.MAX_EPOCH} epochs, before "
        f"{' and '.join(map(str, _late_steps(cfg)))}"
    ),
    lambda cfg: "lower the steps below SOLVER.MAX_EPOCH",
)
_SGD = is_any_of("SOLVER.OPT", "SGD")
_NO_STAIRS = is_none_of("SOLVER.SCHED", STAIRS, instead="set SOLVER.SCHED MultiStepLR")
_WARMS_UP = _NO_STAIRS & (is_above("SOLVER.WARMUP_ITERS") | is_above("SOLVER.WARMUP_EPOCHS"))
_STAIRS = is_any_of("SOLVER.SCHED", STAIRS)
_CLIPS = is_on("SOLVER.CLIP_GRADIENTS")

ROWS: list[Row] = [
    *rows_of(
        "SOLVER",
        OPT=Names(_optimizers),
        MAX_EPOCH=AT_LEAST_0,
        BASE_LR=AT_LEAST_0,
        HEADS_LR_FACTOR=(AT_LEAST_0, architecture(*_WITH_HEADS)),
        MOMENTUM=(Range(0, 1, is_below=True), _SGD),
        NESTEROV=(ANYTHING, _SGD),
        WEIGHT_DECAY=AT_LEAST_0,
        WEIGHT_DECAY_NORM=AT_LEAST_0,
        BIAS_LR_FACTOR=AT_LEAST_0,
        WEIGHT_DECAY_BIAS=AT_LEAST_0,
        SCHED=Names(SCHEDULERS),
        DELAY_EPOCHS=AT_LEAST_0,
        GAMMA=(AT_LEAST_0, _FALLS),
        STEPS=(
            Numbers(tuple(range(100)), AT_LEAST_0, "epochs", whole=True),
            _FALLS & _BEFORE_THE_END,
        ),
        ETA_MIN_LR=(AT_LEAST_0, is_any_of("SOLVER.SCHED", "CosineAnnealingLR", known=SCHEDULERS)),
        WARMUP_FACTOR=(AT_LEAST_0, _WARMS_UP),
        WARMUP_ITERS=(AT_LEAST_0, is_any_of("SOLVER.WARMUP_EPOCHS", 0)),
        WARMUP_METHOD=(Names(("linear", "exp", "constant")), _WARMS_UP),
        WARMUP_EPOCHS=Range(0, hint="0 leaves it to WARMUP_ITERS"),
        FREEZE_ITERS=(AT_LEAST_0, is_filled("MODEL.FREEZE_LAYERS")),
        CHECKPOINT_PERIOD=Range(0, hint="0 keeps the checkpoint of the last epoch alone"),
        IMS_PER_BATCH=COUNT,
        LOG_PERIOD=COUNT,
        GRADIENT_CHECK_STEPS=AT_LEAST_0,
    ),
    Row("SOLVER.ITERS_PER_EPOCH", Range(0, hint="0 takes as many as the images fill")),
    Row("SOLVER.PARAM_GROUPS", ANYTHING),
    Row("SOLVER.EMA.DECAY", Range(0, 1, is_below=True, hint="0.9999 is usual")),
    Row("SOLVER.AMP.ENABLED", ANYTHING),
    Row("SOLVER.AMP.DTYPE", Names(("float16", "bfloat16"), may_be_empty=True), is_on("SOLVER.AMP")),
    Row("SOLVER.CLIP_GRADIENTS.ENABLED", ANYTHING),
    *rows_of(
        "SOLVER.CLIP_GRADIENTS",
        _CLIPS,
        CLIP_TYPE=Names(("norm", "value")),
        CLIP_VALUE=POSITIVE,
        NORM_TYPE=(POSITIVE, _CLIPS & is_any_of("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "norm")),
    ),
    Row("SOLVER.NON_FINITE.MAX_SKIPPED", AT_LEAST_0),
    *rows_of("SOLVER.STAIRS", _STAIRS, COUNT=COUNT, EPOCHS=COUNT),
]


def solver_problems(cfg: CfgNode, named: Collection[str] = ()) -> list[str]:
    """List contradictions between keys of ``SOLVER``, each with its remedy.

    Args:
        cfg: configuration with automatic values filled in.
        named: keys that a file or the command line sets, whatever their value.
    """
    return [*_warmup(cfg), *_decay(cfg, named)]


def _warmup(cfg: CfgNode) -> list[str]:
    solver = cfg.SOLVER
    if solver.SCHED == STAIRS:
        return [
            f"SOLVER.SCHED {STAIRS} warms up itself, from the first epoch on, but SOLVER.{key} is "
            f"{solver[key]}; set it to 0"
            for key in ("WARMUP_ITERS", "WARMUP_EPOCHS", "DELAY_EPOCHS")
            if solver[key] > 0
        ]
    if 0 < solver.MAX_EPOCH <= solver.WARMUP_EPOCHS:
        return [
            f"expected SOLVER.WARMUP_EPOCHS below SOLVER.MAX_EPOCH, {solver.MAX_EPOCH}, got "
            f"{solver.WARMUP_EPOCHS}; the rate would hardly reach BASE_LR"
        ]
    early = [step for step in solver.STEPS if step <= solver.WARMUP_EPOCHS]
    if solver.SCHED == "MultiStepLR" and solver.WARMUP_EPOCHS and early:
        return [
            f"expected SOLVER.STEPS, epochs of the run, above SOLVER.WARMUP_EPOCHS "
            f"{solver.WARMUP_EPOCHS}, got {early[0]}; raise it, or warm up for less"
        ]
    return []


def _decay(cfg: CfgNode, named: Collection[str]) -> list[str]:
    """Refuse a weight decay that is set without those of norms and biases.

    ``fastreid.solver.build.get_default_optimizer_params`` gives every norm WEIGHT_DECAY_NORM and
    every bias WEIGHT_DECAY_BIAS; WEIGHT_DECAY reaches the other parameters alone.
    """
    solver = cfg.SOLVER
    keys = ("WEIGHT_DECAY_NORM", "WEIGHT_DECAY_BIAS")
    forgotten = [key for key in keys if f"SOLVER.{key}" not in named]
    is_own = "SOLVER.WEIGHT_DECAY" in named and solver.WEIGHT_DECAY != solver[keys[0]]
    if not is_own or not forgotten:
        return []
    listed = " and ".join(f"SOLVER.{key} ({solver[key]})" for key in forgotten)
    return [
        f"SOLVER.WEIGHT_DECAY {solver.WEIGHT_DECAY} reaches weights alone: fastreid decays norms "
        f"by WEIGHT_DECAY_NORM and biases by WEIGHT_DECAY_BIAS; set {listed} too, to "
        f"{solver.WEIGHT_DECAY} for one decay of everything or to 0.0 for none of these"
    ]
