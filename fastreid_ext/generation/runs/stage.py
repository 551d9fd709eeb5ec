"""Run a stage of a job: do the remaining identities, record failures, resume from files.

One identity is the unit of work. A stage knows from its own files which identities are done, so a
run that was killed at any moment is finished by running it again. An identity that fails leaves
``failed/<stage>/<identity>.json`` with the reason and stops no other identity. Files that cannot be
reached are no identity's failure: they stop the stage and leave no such record.
"""

import contextlib
import dataclasses
import gc
import itertools
import json
import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch

from fastreid_ext.atomic import atomic_write_text
from fastreid_ext.generation.runs.disk import OutageError, expect_room, is_disk_full, is_outage
from fastreid_ext.generation.runs.layout import Layout
from fastreid_ext.generation.runs.progress import progress_bar
from fastreid_ext.generation.runs.workers import Worker

# Stages of a job, in their order: commands of tools/generate_persons.py, and folders of failed/.
LIST = "list"
CAPTION = "caption"
REFERENCE = "reference"
FINE_TUNE = "fine-tune"
SAMPLE = "sample"
FILTER = "filter"
STAGES = (LIST, CAPTION, REFERENCE, FINE_TUNE, SAMPLE, FILTER)

# Function that does a group of identities and returns the reason of each that failed.
Work = Callable[[Sequence[str]], Mapping[str, str]]

# So many failures of one kind without a success between them point to the settings, not to
# identities.
_ALIKE = 10
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class StageReport:
    """Numbers of a worker's own identities in a stage.

    Attributes:
        done: number of identities done by this run.
        skipped: number of identities done by earlier runs.
        failed: reason by identity, of this run and earlier ones.
    """

    done: int
    skipped: int
    failed: Mapping[str, str]


def run_stage(
    names: Sequence[str],
    open_work: Callable[[], Work],
    is_done: Callable[[str], bool],
    *,
    stage: str,
    worker: Worker,
    together: int = 1,
    bytes_each: int = 0,
) -> StageReport:
    """Do the worker's part of a stage.

    Args:
        names: identities of all workers, in the same order for all.
        open_work: function that loads the models and returns the work; called only if an identity
            is left to do. The work gets up to ``together`` identities, and returns the reasons of
            those that failed. If it raises ValueError, OSError or FloatingPointError for several,
            those that are not done are tried one by one; for one, the error is the reason of its
            failure. An error of the operating system stops the stage. Any other error is a bug and
            is not caught.
        is_done: function that tells whether the files of an identity are complete.
        stage: name of the stage, for files and messages.
        worker: worker whose identities are done.
        together: maximum number of identities given to the work at once. A resumed run makes the
            same groups and leaves out what is done.
        bytes_each: estimated bytes that an identity takes on the disk; free space is checked first.

    Raises:
        OSError: the disk is full, or has no room for what is left to do.
        OutageError: files cannot be reached.
        ValueError: identities in a row fail for one reason, or the device has too little memory.
    """
    mine = worker.shard.of(names)
    finished = {name for name in mine if is_done(name)}
    known = failures(worker.output, stage)
    before = {} if stage in worker.retries else known
    failed = {name: before[name] for name in mine if name in before and name not in finished}
    settled = finished | failed.keys()
    groups = [mine[start : start + together] for start in range(0, len(mine), together)]
    groups = [[name for name in group if name not in settled] for group in groups]
    groups = [group for group in groups if group]
    if not groups:
        return StageReport(0, len(finished), failed)
    expect_room(worker.output, bytes_each * sum(map(len, groups)))
    reasons: dict[str, str] = {}
    began = time.perf_counter()
    bar = progress_bar(stage, len(mine), "identity", done=len(settled))
    with bar, room_to_work(f"stage {stage}", worker.output):
        work = open_work()
        for group in groups:
            reasons |= _do(work, group, is_done)
            for name in group:
                if reasons[name]:
                    _log.warning("%s: %s", name, reasons[name])
                settle(worker, stage, name, reasons[name])
            failed |= {name: reasons[name] for name in group if reasons[name]}
            _expect_other_reasons(reasons, known, stage)
            bar.update(len(group))
            bar.set_postfix_str(f"{len(failed)} failed" if failed else "")
    del work
    done = sum(not reason for reason in reasons.values())
    _log.info("%s", _costs(stage, done, time.perf_counter() - began))
    free_memory()
    return StageReport(done, len(finished), failed)


def failures(output: Path, stage: str) -> dict[str, str]:
    """Read the failures of a stage.

    Args:
        output: folder of the whole job.
        stage: name of the stage, such as "caption".

    Returns:
        Reason by identity, sorted by name.

    Raises:
        ValueError: a file of the stage is damaged.
    """
    reasons = {}
    for path in sorted((Path(output) / "failed" / stage).glob("[!.]*.json")):
        try:
            reasons[path.stem] = str(json.loads(path.read_text(encoding="utf-8"))["reason"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f'{path}: expected {{"reason": ...}}, got {type(error).__name__}: {error}; remove '
                "the file, and the identity is tried again"
            ) from error
    return reasons


def reason_of(error: Exception) -> str:
    """Describe the error that an identity failed with.

    Args:
        error: error that the work raised.

    Raises:
        Exception: ``error`` itself, if it means a full disk or files out of reach.
    """
    if is_disk_full(error) or is_outage(error):
        raise error
    return f"{type(error).__name__}: {error}"


@contextlib.contextmanager
def room_to_work(what: str, output: Path) -> Iterator[None]:
    """Turn a full disk, files out of reach and a full device into errors with advice.

    Args:
        what: name of the work for messages, such as "stage caption".
        output: folder of the whole job.
    """
    again = "then run the same command, which continues where it stopped"
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ValueError(
            f"{what} needs more memory than the device has; lower the BATCH_SIZE keys of "
            "GENERATION or FINE_TUNING.IDENTITIES_AT_ONCE, or set FINE_TUNING."
            f"GRADIENT_CHECKPOINTING True, {again}"
        ) from error
    except Exception as error:
        if is_disk_full(error):
            # As an OutageError, which an outer block of this kind lets pass.
            full = f"the disk of {output} is full ({what}); make room, {again}"
            raise OutageError(full) from error
        if isinstance(error, OutageError) or not is_outage(error):
            raise
        raise OutageError(
            f"{what} stopped at a file that cannot be reached: {error}; no identity is counted as "
            f"failed. Bring the file back, {again}; if an image of the data set is lost for good, "
            f"remove {Layout(output).identities}, and the identities are listed without it"
        ) from error


def settle(worker: Worker, stage: str, name: str, reason: str) -> None:
    """Record why an identity failed in a stage, or remove the record.

    Args:
        worker: worker that did the identity.
        stage: name of the stage, such as "caption".
        name: name of the identity or reference set.
        reason: reason of the failure; "" removes an earlier record.
    """
    path = worker.failure(stage, name)
    if not reason:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"identity": name, "stage": stage, "reason": reason}
    atomic_write_text(path, json.dumps(content, indent=2) + "\n")


def free_memory() -> None:
    """Free the memory that the models of a finished stage held."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _do(work: Work, group: Sequence[str], is_done: Callable[[str], bool]) -> dict[str, str]:
    """Do a group; the result has a reason for each identity, "" for success."""
    try:
        return dict.fromkeys(group, "") | dict(work(group))
    except (ValueError, OSError, FloatingPointError) as error:
        reason = reason_of(error)
        if len(group) == 1:
            return {group[0]: reason}
        _log.warning("%s: trying them one by one after: %s", ", ".join(group), error)
    left = [name for name in group if not is_done(name)]
    tried = {name: reason for name in left for reason in _do(work, [name], is_done).values()}
    return dict.fromkeys(group, "") | tried


def _expect_other_reasons(reasons: Mapping[str, str], known: Mapping[str, str], stage: str) -> None:
    """Check that the failures since the last success are not many of one kind.

    Args:
        reasons: reasons of this run in the order in which they came, "" for a success.
        known: reasons of earlier runs; an identity that fails again in the same way does not count.
        stage: name of the stage for the message.

    Raises:
        ValueError: many are of one kind.
    """
    row = list(itertools.takewhile(lambda entry: entry[1], reversed(reasons.items())))
    new = [entry for entry in row if _kind(*entry) != _kind(entry[0], known.get(entry[0], ""))]
    if not new:
        return
    kind, times = Counter(_kind(*entry) for entry in new).most_common(1)[0]
    if times >= _ALIKE:
        name, reason = next(entry for entry in new if _kind(*entry) == kind)
        where = "first" if len(row) == len(reasons) else "last"
        raise ValueError(
            f"stage {stage}: the {where} {times} identities all failed with: "
            f"{reason.replace(name, '<name>')}; correct that, then run again with --retry failed"
        )


def _kind(name: str, reason: str) -> str:
    """Replace what differs between identities in a reason: names, files and numbers."""
    return re.sub(r"\d+", "0", re.sub(r"\S*/\S*", "<file>", reason.replace(name, "<name>")))


def _costs(stage: str, done: int, seconds: float) -> str:
    text = f"stage {stage}: {done} done in {seconds:.1f} s, models and all"
    if torch.cuda.is_available():
        text += f", at most {torch.cuda.max_memory_allocated() / 1e9:.2f} GB of the device"
        torch.cuda.reset_peak_memory_stats()
    return text
