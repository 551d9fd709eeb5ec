"""Which keys may change when a run is continued, and what becomes of each that did.

Optimizer and schedules are restored from the checkpoint, so most changed keys would have no effect,
or only half of one, while ``config.yaml`` recorded them. They are refused. What acts from the next
epoch on is free. What acts at the start of a run only keeps its recorded value.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastreid.config import CfgNode

from fastreid_ext.engine.changed_keys import ChangedKey, changed_keys
from fastreid_ext.engine.checkpoint import TAG, read_checkpoint

logger = logging.getLogger(__name__)

# A name that ends with a dot is a whole section.
# Paths of data: free as long as the images have the labels of before.
DATA_PATHS = (
    "DATASETS.ROOT",
    "DATASETS.FOLDER",
    "DATASETS.TABLE",
    "DATASETS.SETS",
    "DATASETS.GENERATED.ROOTS",
)
FREE = (
    *DATA_PATHS,
    "OUTPUT_DIR",
    "CUDNN_BENCHMARK",
    "MODEL.DEVICE",
    "DATALOADER.NUM_WORKERS",
    "DATALOADER.PACKED_CACHE",
    "DATASETS.TESTS",
    "DATASETS.PREFLIGHT",
    "SOLVER.MAX_EPOCH",
    "SOLVER.CHECKPOINT_PERIOD",
    "SOLVER.LOG_PERIOD",
    "SOLVER.GRADIENT_CHECK_STEPS",
    "SOLVER.NON_FINITE.",
    "TEST.",
    "GENERATION.",
)
START_ONLY = (
    "MODEL.WEIGHTS",
    "MODEL.MIN_WEIGHTS_MATCHED",
    "MODEL.BACKBONE.PRETRAIN",
    "MODEL.BACKBONE.PRETRAIN_PATH",
    "MODEL.BACKBONE.PRETRAIN_FAMILY",
    "MODEL.BACKBONE.MIN_PRETRAIN_MATCHED",
)
_SHOWN = (
    "SOLVER.MAX_EPOCH, CHECKPOINT_PERIOD and LOG_PERIOD, TEST.*, numbers of workers, paths of data "
    "and output, MODEL.DEVICE"
)


def recorded_run(folder: Path) -> dict[str, Any]:
    """Read what the checkpoint to resume from says of its run; {} where there is none.

    Raises:
        FileNotFoundError: ``last_checkpoint`` names a file that does not exist.
        ValueError: the checkpoint is damaged.
    """
    tag = folder / TAG
    if not tag.exists():
        return {}
    checkpoint = read_checkpoint(folder / tag.read_text().strip(), lazily=True)
    return {key: checkpoint[key] for key in ("run", "config") if key in checkpoint}


def refuse_changed_keys(recorded: Mapping[str, Any] | None, cfg: CfgNode) -> None:
    """Raise ValueError if a key has changed that a continued run could not follow.

    Args:
        recorded: configuration in the checkpoint; None = a checkpoint without one.
        cfg: configuration of the present command.
    """
    changes = [] if recorded is None else changed_keys(recorded, cfg)
    refused = [change for change in changes if not change.is_in(FREE + START_ONLY)]
    if refused:
        raise ValueError(
            f"--resume continues the run in {cfg.OUTPUT_DIR} with the values it began with, but "
            f"the configuration has changed:\n  - "
            + "\n  - ".join(map(str, refused))
            + "\nPut the earlier values back (config.yaml in that folder has them), or begin a new "
            "run from its weights: MODEL.WEIGHTS <its checkpoint>, another OUTPUT_DIR, no --resume."
            f" Free to change: {_SHOWN}"
        )


def resumed_configuration(recorded: Mapping[str, Any] | None, cfg: CfgNode) -> CfgNode:
    """Return the configuration with which a run continues, and log every changed key.

    Args:
        recorded: configuration in the checkpoint; None = a checkpoint without one.
        cfg: configuration of this command; unchanged.

    Returns:
        ``cfg`` with the recorded values of the keys that act at the start of a run only.

    Raises:
        ValueError: as :func:`refuse_changed_keys`.
    """
    if recorded is None:
        logger.warning(
            "this checkpoint holds no configuration (it is older than this check): keys that were "
            "changed since have no effect where optimizer or schedule are restored from it, and "
            "are not named; compare with the config.yaml of that run"
        )
        return cfg
    refuse_changed_keys(recorded, cfg)
    resumed = cfg.clone()
    resumed.defrost()
    for change in changed_keys(recorded, cfg):
        if change.is_in(START_ONLY):
            _set(resumed, change)
            logger.info("%s; not read, since the checkpoint brings all weights", change)
        else:
            logger.warning("resuming with a changed key: %s from now on", change)
    resumed.freeze()
    return resumed


def refuse_other_labels(recorded: Mapping[str, Any], cfg: CfgNode, labels: str) -> None:
    """Raise ValueError if data at another place are not those that the run began with.

    Args:
        recorded: result of :func:`recorded_run`; a run older than its labels is not compared.
        cfg: configuration of the present command.
        labels: description of this command's training images, see :class:`.resume.RunIdentity`.
    """
    before = recorded.get("run", {}).get("labels", "")
    if before in ("", labels):
        return
    changes = changed_keys(recorded.get("config", {}), cfg)
    moved = [change for change in changes if change.is_in(DATA_PATHS)]
    if moved:
        raise ValueError(
            f"--resume continues the run in {cfg.OUTPUT_DIR} with the training images it began "
            "with, which may have moved, but those at the new place have other labels:\n  - "
            + "\n  - ".join(map(str, moved))
            + f"\nExpected {before}, got {labels} (with a hash of all identities and cameras in "
            "the order of the images). Name a complete copy of the earlier data, or "
            "begin a new run: MODEL.WEIGHTS <its checkpoint>, another OUTPUT_DIR, no --resume"
        )


def _set(cfg: CfgNode, change: ChangedKey) -> None:
    *sections, name = change.key.split(".")
    node = cfg
    for section in sections:
        node = node[section]
    node[name] = change.before
