"""The folder of a job: what may not change between its runs, and who works in it."""

import contextlib
import json
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from fastreid.config import CfgNode, get_cfg

from fastreid_ext.atomic import create_text
from fastreid_ext.checks.generation import job_problems
from fastreid_ext.config.defaults import add_fastreid_ext_config
from fastreid_ext.generation.captions.prompts import sampling_templates
from fastreid_ext.generation.runs.disk import OutageError, expect_writable
from fastreid_ext.generation.runs.layout import Layout
from fastreid_ext.generation.runs.stage import room_to_work
from fastreid_ext.generation.runs.workers import Worker, shard_lock, shard_of
from fastreid_ext.generation.stages.job import Job
from fastreid_ext.generation.stages.preflight import expect_models

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
)


@contextlib.contextmanager
def open_job(
    cfg: CfgNode,
    *,
    shard: str = "",
    retries: Collection[str] = (),
    wait: float = 60.0,
) -> Iterator[Job]:
    """Begin or continue the job of a configuration, and hold this worker's shard meanwhile.

    Before a job begins its models are looked at; nothing is written if it cannot. Each of its
    folders is written to at every start, so that one without permission is found before any work.

    Args:
        cfg: says all; the job's folder is OUTPUT_DIR.
        shard: "INDEX/COUNT" or "", see :func:`.job.workers.shard_of`.
        retries: stages in which to try identities again that failed before.
        wait: minutes to wait for other workers that finish nothing.

    Raises:
        FileNotFoundError: a model is neither here nor in the hub's cache.
        OSError: the disk is full, here or in the block.
        OutageError: a folder cannot be written to, or files of the block cannot be reached.
        ValueError: the job lacks something, a model is damaged or does not fit the settings, the
            job was begun with other settings, or another process works on the shard.
    """
    if problems := job_problems(cfg):
        raise ValueError("the job cannot begin:\n  - " + "\n  - ".join(problems))
    if not (Path(cfg.OUTPUT_DIR) / SETTINGS).exists():
        expect_models(cfg)
    output, own = Path(cfg.OUTPUT_DIR), shard_of(shard)
    with room_to_work("the job", output):
        _make_folder(output)
        expect_writable(output, Layout(output).folders)
        with shard_lock(output, own) as began:
            expect_same_settings(cfg, output)
            worker = Worker(output=output, shard=own, retries=retries, wait=wait, began=began)
            yield Job(cfg, worker)


def expect_same_settings(cfg: CfgNode, output: Path) -> None:
    """Write ``job.json``, once and for all, or compare with it.

    Keys that are younger than the job count as if it had had their defaults. FILTER, DOWNLOAD,
    LIMIT, batch sizes and what else only costs memory may change.

    Raises:
        ValueError: the job was begun with other settings.
    """
    path, now = output / SETTINGS, fixed_settings(cfg)
    if not path.exists() and create_text(path, json.dumps(now, indent=2) + "\n"):
        return
    before = _read_settings(path)
    before = {**fixed_settings(_defaults()), **before}
    differing = [key for key in sorted(now) if now[key] != before.get(key)]
    if differing:
        listed = "; ".join(f"{key} was {before.get(key)}, is {now[key]}" for key in differing)
        raise ValueError(
            f"{output} holds a job of other settings ({listed}); give another OUTPUT_DIR, repeat "
            f"the settings of {path}, or remove the folder to begin anew"
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
    """Return what decides what a finished image is, flat: "GENERATION.SIZE" -> [512, 256]."""
    values = dict(_flat(cfg.GENERATION, "GENERATION"))
    free = tuple(f"GENERATION.{key}" for key in _FREE)
    fixed = {
        key: value
        for key, value in values.items()
        if not any(key == name or key.startswith(f"{name}.") for name in free)
    }
    fixed |= {f"DATASETS.{key}": cfg.DATASETS[key] for key in _DATASETS}
    # What the file says counts, not where it lies.
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
