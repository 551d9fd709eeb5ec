"""Find mistakes in a configuration before any work is done.

fastreid looks names up late (or, for losses, ignores those it does not know), so a typing error
costs a run.
"""

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from fastreid.config import CfgNode
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from fastreid.modeling.heads import REID_HEADS_REGISTRY
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from fastreid.utils.registry import Registry

from fastreid_ext.config.augmentation import augmentation_names, augmentation_problems
from fastreid_ext.config.backbones import backbone_problems
from fastreid_ext.config.bdb import ONCE_PER_IDENTITY, STAIRS, bdb_problems
from fastreid_ext.config.data_settings import data_problems, data_set_names
from fastreid_ext.config.evaluation import evaluation_problems
from fastreid_ext.config.fast_path import fast_path_problems
from fastreid_ext.config.generation_checks import generation_names, generation_problems
from fastreid_ext.config.pretrained import FAMILY_NAMES, pretrained_problems
from fastreid_ext.config.pretraining import pretraining_problems
from fastreid_ext.config.robust import PRETRAINING_LOSSES, VIEW_LOSSES, robust_problems
from fastreid_ext.registries import LOSS_REGISTRY, SAMPLER_REGISTRY, registered_names

# What fastreid's meta-architectures compute. One that a user registers may name losses of its own.
_BASELINE_LOSSES = ("CrossEntropyLoss", "TripletLoss", "CircleLoss", "Cosface", *VIEW_LOSSES)
LOSSES = {
    "Baseline": _BASELINE_LOSSES,
    "MoCo": _BASELINE_LOSSES,
    "Distiller": _BASELINE_LOSSES,
    "MGN": ("CrossEntropyLoss", "TripletLoss", *VIEW_LOSSES),
    "BDB": ("CrossEntropyLoss", "TripletLoss", *VIEW_LOSSES),
    **PRETRAINING_LOSSES,
}
SAMPLERS = (
    "TrainingSampler",
    "NaiveIdentitySampler",
    "BalancedIdentitySampler",
    "SetReWeightSampler",
    "ImbalancedDatasetSampler",
    ONCE_PER_IDENTITY,
)
SCHEDULERS = ("MultiStepLR", "CosineAnnealingLR", STAIRS)


def check_config(cfg: CfgNode) -> None:
    """Raise ValueError with every mistake found in ``cfg``, each with what to do.

    Checks names (with "did you mean"), contradictions between keys and missing weight files. Data
    is checked later, by the preflight of ``fastreid_ext.data``.
    """
    problems = [*_names(cfg), *_ranges(cfg), *_files(cfg), *_device(cfg)]
    problems += [*backbone_problems(cfg), *bdb_problems(cfg), *data_problems(cfg)]
    problems += evaluation_problems(cfg)
    problems += augmentation_problems(cfg)
    problems += fast_path_problems(cfg)
    problems += robust_problems(cfg)
    problems += pretraining_problems(cfg)
    problems += generation_problems(cfg)
    if problems:
        raise ValueError("the configuration has mistakes:\n  - " + "\n  - ".join(problems))


def unknown_name(key: str, name: str, known: Iterable[str]) -> str:
    """Say that ``name`` in ``key`` is unknown, with the nearest known name or all of them."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    lowered = [candidate for candidate in known if candidate.lower() == name.lower()]
    hint = (
        f"did you mean '{(lowered or near)[0]}'?"
        if lowered or near
        else "known: " + ", ".join(known)
    )
    return f"unknown name '{name}' in {key}; {hint}"


def _names(cfg: CfgNode) -> list[str]:
    losses = LOSSES.get(cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.LOSSES.NAME)
    if cfg.MODEL.META_ARCHITECTURE not in PRETRAINING_LOSSES:
        losses = (*losses, *set(registered_names(LOSS_REGISTRY)) - set(_BASELINE_LOSSES))
    samplers = {*SAMPLERS, *registered_names(SAMPLER_REGISTRY)}
    datasets = data_set_names(cfg)
    table: Sequence[tuple[str, Iterable[str], Iterable[str]]] = (
        ("MODEL.META_ARCHITECTURE", [cfg.MODEL.META_ARCHITECTURE], _registered(META_ARCH_REGISTRY)),
        ("MODEL.BACKBONE.NAME", [cfg.MODEL.BACKBONE.NAME], _registered(BACKBONE_REGISTRY)),
        ("MODEL.HEADS.NAME", [cfg.MODEL.HEADS.NAME], _registered(REID_HEADS_REGISTRY)),
        ("MODEL.LOSSES.NAME", cfg.MODEL.LOSSES.NAME, losses),
        ("DATASETS.NAMES", cfg.DATASETS.NAMES, datasets),
        ("DATASETS.TESTS", cfg.DATASETS.TESTS, datasets),
        ("DATALOADER.SAMPLER_TRAIN", [cfg.DATALOADER.SAMPLER_TRAIN], samplers),
        ("SOLVER.OPT", [cfg.SOLVER.OPT], _optimizers()),
        ("SOLVER.SCHED", [cfg.SOLVER.SCHED], SCHEDULERS),
        ("SOLVER.AMP.DTYPE", [cfg.SOLVER.AMP.DTYPE], ("float16", "bfloat16")),
        ("TEST.METRIC", [cfg.TEST.METRIC], ("cosine", "euclidean")),
        (
            "MODEL.BACKBONE.PRETRAIN_FAMILY",
            [cfg.MODEL.BACKBONE.PRETRAIN_FAMILY],
            FAMILY_NAMES,
        ),
        ("DATASETS.PREFLIGHT", [cfg.DATASETS.PREFLIGHT], ("full", "headers", "off")),
        ("DATASETS.GENERATED.PERSON_IDS", [cfg.DATASETS.GENERATED.PERSON_IDS], ("new", "kept")),
        (
            "DATASETS.GENERATED.CAMERA_RULE",
            [cfg.DATASETS.GENERATED.CAMERA_RULE],
            ("row", "source", "single", "per_image"),
        ),
        *augmentation_names(cfg),
        *generation_names(cfg),
    )
    return [
        unknown_name(key, str(name), known)
        for key, names, known in table
        for name in names
        if name not in set(known)
    ]


def _registered(registry: Registry) -> list[str]:
    return list(registry._obj_map)  # fastreid's Registry offers no way to list its names


def _optimizers() -> list[str]:
    return [name for name, value in vars(torch.optim).items() if isinstance(value, type)]


def _ranges(cfg: CfgNode) -> list[str]:
    batch, instances = cfg.SOLVER.IMS_PER_BATCH, cfg.DATALOADER.NUM_INSTANCE
    generated, clean = cfg.DATASETS.GENERATED, cfg.INPUT.CLEAN_VIEW.SIZE
    needs_identities = cfg.DATALOADER.SAMPLER_TRAIN in (
        "NaiveIdentitySampler",
        "BalancedIdentitySampler",
        ONCE_PER_IDENTITY,
    )
    rules = (
        (batch >= 1, f"expected SOLVER.IMS_PER_BATCH of at least 1, got {batch}"),
        (instances >= 1, f"expected DATALOADER.NUM_INSTANCE of at least 1, got {instances}"),
        (
            not needs_identities or instances < 1 or batch % instances == 0,
            "expected SOLVER.IMS_PER_BATCH to be a multiple of DATALOADER.NUM_INSTANCE, "
            f"got {batch} and {instances}",
        ),
        (
            0 <= generated.BATCH_SHARE < 1,
            f"expected DATASETS.GENERATED.BATCH_SHARE in [0, 1), got {generated.BATCH_SHARE}",
        ),
        (
            generated.ROOTS or "GeneratedPersons" not in cfg.DATASETS.NAMES,
            "DATASETS.NAMES has GeneratedPersons but DATASETS.GENERATED.ROOTS is empty; "
            "give the folders of the generated sets",
        ),
        (
            bool(cfg.MODEL.LOSSES.NAME),
            "MODEL.LOSSES.NAME is empty, so nothing would be learned; name at least one loss",
        ),
        # The upper bound is numpy's; every process adds its rank.
        (-1 <= cfg.SEED < 2**31, f"expected SEED of -1 (none) or in [0, 2^31), got {cfg.SEED}"),
        (
            cfg.SOLVER.NON_FINITE.MAX_SKIPPED >= 0,
            f"expected SOLVER.NON_FINITE.MAX_SKIPPED >= 0, got {cfg.SOLVER.NON_FINITE.MAX_SKIPPED}",
        ),
        (
            0 <= cfg.MODEL.MIN_WEIGHTS_MATCHED <= 1,
            f"expected MODEL.MIN_WEIGHTS_MATCHED in [0, 1], got {cfg.MODEL.MIN_WEIGHTS_MATCHED}",
        ),
        (
            len(cfg.INPUT.CLEAN_VIEW.SIZE) in (0, 2)
            and all(n > 0 for n in cfg.INPUT.CLEAN_VIEW.SIZE),
            "expected INPUT.CLEAN_VIEW.SIZE [height, width] in pixels, or [] for none, got "
            f"{clean}",
        ),
        (
            cfg.SOLVER.ITERS_PER_EPOCH >= 0,
            f"expected SOLVER.ITERS_PER_EPOCH >= 0 (0 = by the images), got "
            f"{cfg.SOLVER.ITERS_PER_EPOCH}",
        ),
        (
            0 <= cfg.SOLVER.EMA.DECAY < 1,
            f"expected SOLVER.EMA.DECAY in [0, 1), got {cfg.SOLVER.EMA.DECAY}; 0.9999 is usual",
        ),
        (
            cfg.SOLVER.LOG_PERIOD >= 1,
            f"expected SOLVER.LOG_PERIOD >= 1, got {cfg.SOLVER.LOG_PERIOD}",
        ),
    )
    return [message for holds, message in rules if not holds]


def _files(cfg: CfgNode) -> list[str]:
    problems, weights = pretrained_problems(cfg), cfg.MODEL.WEIGHTS
    if weights and not Path(weights).is_file():
        problems.append(
            f"no file at {weights} (MODEL.WEIGHTS); give the path of an existing weight file"
        )
    return problems


def _device(cfg: CfgNode) -> list[str]:
    try:
        torch.device(cfg.MODEL.DEVICE)
    except RuntimeError:
        return [f"expected MODEL.DEVICE cpu, cuda or cuda:<number>, got '{cfg.MODEL.DEVICE}'"]
    if cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available():
        return [
            f"MODEL.DEVICE is {cfg.MODEL.DEVICE} but torch {torch.__version__} sees no GPU; add "
            "`MODEL.DEVICE cpu` to the command, or install a CUDA build of torch and try nvidia-smi"
        ]
    return []
