"""Check a finished job: every identity is done, and its files are complete."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from fastreid.config import CfgNode
from safetensors import SafetensorError, safe_open

from fastreid_ext.atomic import PARTIAL
from fastreid_ext.generation.runs.layout import Layout
from fastreid_ext.generation.runs.stage import failures
from fastreid_ext.generation.stages.job import Job
from fastreid_ext.manifest import read_identity, verify_set

_NAMED = 5  # identities of a kind of problem


def verify_job(cfg: CfgNode, planned: Collection[str] | None = None) -> list[str]:
    """List the problems of a finished job, one line each.

    Finds identities that failed or are neither done nor failed, identities with another number of
    images, damaged adapters, left-overs of killed runs, and everything that
    :func:`fastreid_ext.manifest.verify_set` finds.

    Args:
        cfg: full configuration of the job.
        planned: names of the identities that images are planned of; None for all of the job.

    Raises:
        FileNotFoundError: OUTPUT_DIR holds no job.
        ValueError: a file is damaged.
    """
    job = Job.to_read(cfg)
    layout = job.layout
    output = layout.output
    names = list(job.identities)
    reasons = {stage: failures(output, stage) for stage in _stages(output)}
    failed = {name for own in reasons.values() for name in own}
    generated = [name for name in names if layout.is_generated(name)]
    wanted = names if planned is None else [name for name in names if name in planned]
    missing = [name for name in wanted if name not in failed and name not in generated]
    problems = [
        *_failed(reasons),
        *_some("neither generated nor failed; run the job again", missing),
        *_some(
            "generated without being an identity of this job; remove its folder, or set "
            "IDENTITIES.LIMIT as it was",
            sorted(_folders(layout.images) - set(names)),
        ),
        *_left_overs(output),
    ]
    is_fine_tuned = not cfg.GENERATION.POSE_PLAN.GENERATOR
    for name in generated:
        problems += _of_images(layout, name, cfg.GENERATION.SAMPLING)
        problems += _of_weights(layout, name) if is_fine_tuned else []
    if not (layout.images / "dataset.json").is_file():
        return [*problems, f"{layout.images}: no dataset.json, the set is not finished"]
    return problems + verify_set(layout.images)


def _of_images(layout: Layout, name: str, sampling: CfgNode) -> Iterator[str]:
    count = len(read_identity(layout.images / name))
    least = sampling.IMAGES_PER_IDENTITY
    if count < least:
        yield f"{name}: expected {least} rows, got {count}; run the job again"
    if count > (sampling.MAX_IMAGES_PER_IDENTITY if sampling.MIN_KEPT else least):
        yield (
            f"{name}: expected {least} rows, got {count}; images are never removed, so set "
            f"SAMPLING.IMAGES_PER_IDENTITY {count}, as it was"
        )


def _of_weights(layout: Layout, name: str) -> Iterator[str]:
    training = layout.adapter(name) / "training.json"
    try:
        json.loads(training.read_text(encoding="utf-8"))
    except FileNotFoundError:
        yield f"{name}: generated, but {training} is missing; was the adapter removed?"
    except ValueError as error:
        yield f"{training}: not JSON ({error}); remove the folder"
    for path in sorted(layout.adapter(name).glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt"):  # compares the file's length with its header
                pass
        except SafetensorError as error:
            yield f"{path}: no complete safetensors file ({error}); remove the folder"


def _failed(reasons: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """Yield a line for each stage in which identities or reference sets failed."""
    for stage, own in reasons.items():
        for name in list(own)[:1]:
            problem = f"failed in the stage {stage}, {name} with: {own[name]}; correct that, then "
            yield from _some(f"{problem}run with --retry failed", list(own))


def _left_overs(output: Path) -> Iterator[str]:
    found = sorted((output / PARTIAL).glob("*"))
    yield from _some(
        f"left in {output / PARTIAL} by a run that was killed, or being made",
        [path.name for path in found],
    )


def _some(problem: str, names: Sequence[str]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return [f"{', '.join(names[:_NAMED])}{more}: {problem}"]


def _stages(output: Path) -> list[str]:
    return sorted(path.name for path in (output / "failed").glob("*") if path.is_dir())


def _folders(images: Path) -> set[str]:
    return {path.parent.name for path in images.glob("*/metadata.jsonl")}
