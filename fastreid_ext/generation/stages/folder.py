"""Open the folder of a job: its fixed settings, and the lock of this worker's shard."""

import contextlib
import json
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from fastreid.config import CfgNode, get_cfg

from fastreid_ext.atomic import create_text
from fastreid_ext.checks.generation import job_problems
from fastreid_ext.config.defaults import add_fastreid_ext_config
from fastreid_ext.generation.captions.prompts import sampling_templates
from fastreid_ext.generation.runs.disk import OutageError, expect_writable_folders
from fastreid_ext.generation.runs.layout import Layout
from fastreid_ext.generation.runs.stage import room_to_work
from fastreid_ext.generation.runs.workers import Worker, shard_lock, shard_of
from fastreid_ext.generation.stages.job import Job
from fastreid_ext.generation.stages.preflight import expect_models
from fastreid_ext.saved_settings import expect_same

SETTINGS = "job.json"
_DATASETS = ("NAMES", "SUBSET", "FOLDER", "TABLE", "SETS", "COMBINEALL")
# Below GENERATION; they change what is done next or how fast, not what a finished image is. An
# image depends on its own number alone, so how many there are may grow.
_FREE = (
    "DOWNLOAD",
    "MAX_FAILED",
    "IDENTITIES.LIMIT",
    "CAPTIONS.BATCH_SIZE",
    "FINE_TUNING.IDENTITIES_AT_ONCE",
    "FINE_TUNING.GRADIENT_CHECKPOINTING",
    "FINE_TUNING.KEEP_ADAPTERS",
    "FINE_TUNING.KEEP_FULL_WEIGHTS",
    "SAMPLING.BATCH_SIZE",
    "SAMPLING.IMAGES_PER_IDENTITY",
    "SAMPLING.MIN_KEPT",
    "SAMPLING.MAX_IMAGES_PER_IDENTITY",
    "FILTER",
    # Of the training of a pose-guided generator, which a job only uses.
    "POSE_GUIDED.BATCH_SIZE",
    "POSE_GUIDED.ITERATIONS",
    "POSE_GUIDED.WORKERS",
    "POSE_GUIDED.GRADIENT_CHECKPOINTING",
    "POSE_GUIDED.CHECKPOINT_PERIOD",
    "POSE_GUIDED.SAMPLE_PERIOD",
)


@contextlib.contextmanager
def open_job(
    cfg: CfgNode,
    *,
    shard: str = "",
    retries: Collection[str] = (),
    wait: float = 60.0,
    expect: Callable[[CfgNode], None] = expect_models,
) -> Iterator[Job]:
    """Start or continue the job of a configuration, and hold this worker's shard in the block.

    The models are checked before a job starts; nothing is written if one does not fit. Each folder
    of the job is written to at every start, so that one without permission is found before any
    work.

    Args:
        cfg: full configuration of the job, whose folder is OUTPUT_DIR.
        shard: "INDEX/COUNT" of this worker or "", see :func:`.runs.workers.shard_of`.
        retries: names of the stages in which failed identities are tried again.
        wait: minutes to wait for other workers that finish nothing.
        expect: function that checks the models before the job starts.

    Raises:
        FileNotFoundError: a model is neither here nor in the hub's cache.
        OSError: the disk is full, here or in the block.
        OutageError: a folder cannot be written to, or files of the block cannot be reached.
        ValueError: a key is missing, a model is damaged or does not fit the settings, the job was
            started with other settings, or another process works on the shard.
    """
    if problems := job_problems(cfg):
        raise ValueError("the job cannot begin:\n  - " + "\n  - ".join(problems))
    output = Path(cfg.OUTPUT_DIR)
    if not (output / SETTINGS).exists():
        expect(cfg)
    own = shard_of(shard)
    with room_to_work("the job", output):
        _make_folder(output)
        expect_writable_folders(output, Layout(output).folders)
        with shard_lock(output, own) as began:
            expect_same_settings(cfg, output)
            worker = Worker(output=output, shard=own, retries=retries, wait=wait, began=began)
            yield Job(cfg, worker)


def expect_same_settings(cfg: CfgNode, output: Path) -> None:
    """Write ``job.json`` at the first start of a job, and compare with it at later ones.

    A key that was added to the package after the job started counts with its default. FILTER,
    DOWNLOAD, LIMIT, batch sizes and keys that only change the memory used may change.

    Args:
        cfg: full configuration of this run.
        output: folder of the whole job.

    Raises:
        ValueError: the job was started with other settings.
    """
    path = output / SETTINGS
    now = fixed_settings(cfg)
    if not path.exists() and create_text(path, json.dumps(now, indent=2) + "\n"):
        return
    before = _read_settings(path)
    before = {**fixed_settings(_defaults()), **before}
    expect_same(
        {key: before.get(key) for key in now},
        now,
        found=f"{output} holds a job of other settings",
        advice=f"give another OUTPUT_DIR, repeat the settings of {path}, or remove the folder to "
        "start again",
    )


def _read_settings(path: Path, tries: int = 3) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
        if tries > 1:  # where no links are, another worker may be writing it
            time.sleep(0.2)
            return _read_settings(path, tries - 1)
        raise ValueError(
            f"{path}: not JSON, or no object ({error}); was it edited? Restore it"
        ) from error


def fixed_settings(cfg: CfgNode) -> dict[str, Any]:
    """Collect the settings that a finished image depends on.

    Args:
        cfg: full configuration of the job.

    Returns:
        Value by full key, such as "GENERATION.SIZE" -> [512, 256].
    """
    values = dict(_flat(cfg.GENERATION, "GENERATION"))
    free = tuple(f"GENERATION.{key}" for key in _FREE)
    fixed = {
        key: value
        for key, value in values.items()
        if not any(key == name or key.startswith(f"{name}.") for name in free)
    }
    fixed |= {f"DATASETS.{key}": cfg.DATASETS[key] for key in _DATASETS}
    # The content of the file counts, not its place.
    del fixed["GENERATION.SAMPLING.PROMPTS_FILE"]
    fixed["GENERATION.SAMPLING.PROMPTS"] = sampling_templates(cfg)
    fixed["SEED"] = cfg.SEED
    return json.loads(json.dumps(fixed))  # tuples as the file has them


def _make_folder(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutageError(
            f"expected OUTPUT_DIR {output} to be a folder that can be made, got "
            f"{type(error).__name__} ({error.strerror}); correct it, or choose another"
        ) from error


def _flat(node: CfgNode, prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, CfgNode):
            yield from _flat(value, f"{prefix}.{key}")
        else:
            yield f"{prefix}.{key}", value


def _defaults() -> CfgNode:
    cfg = get_cfg()
    add_fastreid_ext_config(cfg)
    return cfg
