"""Keys of ``DATALOADER``: allowed values, when they are read, and contradictions."""

from pathlib import Path

from fastreid.config import CfgNode

from fastreid_ext.checks.conditions import is_any_of
from fastreid_ext.checks.row import Row, rows_of
from fastreid_ext.checks.values import ANYTHING, AT_LEAST_0, COUNT, Names, Read
from fastreid_ext.data.cross_modality import CROSS_MODALITY
from fastreid_ext.data.domain_batches import DOMAIN_BALANCED
from fastreid_ext.data.sampler_checks import (
    IDENTITY_SAMPLERS,
    LONE_ONCE,
    ONCE_PER_IDENTITY,
    ONE_PER_CAMERA,
    PAIR_LOSSES,
)
from fastreid_ext.registries import SAMPLER_REGISTRY, registered_names

IDENTITY_BATCHES = (
    *IDENTITY_SAMPLERS,
    ONCE_PER_IDENTITY,
    ONE_PER_CAMERA,
    *LONE_ONCE,
    CROSS_MODALITY,
    DOMAIN_BALANCED,
)
SAMPLERS = ("TrainingSampler", *IDENTITY_BATCHES, "SetReWeightSampler", "ImbalancedDatasetSampler")


def _folder_problem(key: str, value: str) -> str:
    if not value or not Path(value).exists() or Path(value).is_dir():
        return ""
    return (
        f"{key} {value} is a file; give a folder (it may not exist yet), or an empty name to work "
        "without packed sets"
    )


_SAMPLER = "DATALOADER.SAMPLER_TRAIN"
ROWS: list[Row] = rows_of(
    "DATALOADER",
    SAMPLER_TRAIN=Names(lambda: {*SAMPLERS, *registered_names(SAMPLER_REGISTRY)}),
    NUM_INSTANCE=(
        COUNT,
        is_any_of(_SAMPLER, *IDENTITY_BATCHES, "SetReWeightSampler", known=SAMPLERS),
    ),
    NUM_WORKERS=AT_LEAST_0,
    SET_WEIGHT=(ANYTHING, is_any_of(_SAMPLER, "SetReWeightSampler", known=SAMPLERS)),
    PACKED_CACHE=Read(_folder_problem),
)


def dataloader_problems(cfg: CfgNode) -> list[str]:
    """List batches that the sampler cannot fill or a loss cannot use, with the remedy."""
    batch = cfg.SOLVER.IMS_PER_BATCH
    instances = cfg.DATALOADER.NUM_INSTANCE
    sampler = cfg.DATALOADER.SAMPLER_TRAIN
    if instances < 1 or batch < 1:
        return []
    if sampler in IDENTITY_BATCHES and batch % instances:
        return [
            "expected SOLVER.IMS_PER_BATCH to be a multiple of DATALOADER.NUM_INSTANCE, got "
            f"{batch} and {instances}"
        ]
    if sampler == CROSS_MODALITY and instances % 2:
        return [
            f"expected an even DATALOADER.NUM_INSTANCE for {CROSS_MODALITY}, half visible and half "
            f"infrared, got {instances}; use {instances + 1}"
        ]
    return _pairs(cfg)


def _pairs(cfg: CfgNode) -> list[str]:
    """Refuse batches without a pair that a loss compares: the loss would be constant.

    Samplers of single images are judged with the data, by ``data.sampler_checks``.
    """
    losses = [name for name in cfg.MODEL.LOSSES.NAME if name in PAIR_LOSSES]
    has_views = cfg.INPUT.VIEWS.RECIPE and cfg.INPUT.VIEWS.SUPERVISED == "all"
    # The views of an image are pairs too.
    if not losses or has_views or cfg.DATALOADER.SAMPLER_TRAIN not in IDENTITY_BATCHES:
        return []
    batch = cfg.SOLVER.IMS_PER_BATCH
    instances = cfg.DATALOADER.NUM_INSTANCE
    named = " and ".join(losses)
    if instances == 1:
        return [
            f"MODEL.LOSSES.NAME has {named}, which compares images of one identity, but "
            "DATALOADER.NUM_INSTANCE is 1; set it to 2 or more, 4 is usual"
        ]
    if batch == instances:
        return [
            f"MODEL.LOSSES.NAME has {named}, which compares identities, but a batch of "
            f"SOLVER.IMS_PER_BATCH {batch} with DATALOADER.NUM_INSTANCE {instances} holds one; "
            "raise the first or lower the second"
        ]
    return []
