"""Run a stage of the job: do what is not done, note what cannot be, resume by looking at files.

One identity is the unit of work. A stage knows from its own files which identities are done, so a
run that was killed at any moment is finished by running it again; an identity that cannot be done
leaves ``failed/<stage>/<identity>.json`` with the reason and holds up nobody else. Files that
cannot be reached say nothing about an identity: they stop the stage and leave no failure.
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

# Does a group of identities and returns the reason of each that cannot be done.
Work = Callable[[Sequence[str]], Mapping[str, str]]

# So many failures of one kind without a success between them are not about identities but about
# the settings.
_ALIKE = 10
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class StageReport:
    """What a worker did in a stage: numbers of its own identities.

    Attributes:
        done: done now.
        skipped: done by an earlier run.
        failed: identity -> reason, of this run and earlier ones.
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
        names: identities of all workers, in an order that is the same for all.
        open_work: loads the models and returns the work; called only if there is something to do.
            The work is given up to ``together`` identities, and returns those that failed with
            reasons. If it raises ValueError, OSError or FloatingPointError for several, those that
            are not done are tried one by one; for one, that is the reason it failed. An error of
            the operating system stops the stage. Any other error is a bug and passes.
        is_done: whether the files of an identity are there and whole.
        stage: name of the stage, for files and messages.
        worker: who does it.
        together: most identities given to the work at once. Groups do not change when a run is
            resumed, except that what is done is left out.
        bytes_each: about how much an identity needs on the disk; checked before anything is done.

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
    groups = [left for group in groups if (left := [n for n in group if n not in settled])]
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
    """Return the reasons by identity of a stage's failures, sorted by name.

    Raises:
        ValueError: a file of them is damaged.
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
    """Return the reason of an identity that fails with an error.

    Raises:
        Exception: ``error`` itself, if a full disk or files out of reach are to blame.
    """
    if is_disk_full(error) or is_outage(error):
        raise error
    return f"{type(error).__name__}: {error}"


@contextlib.contextmanager
def room_to_work(what: str, output: Path) -> Iterator[None]:
    """Turn a full disk, files out of reach and a full device into errors that say what to do."""
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
            # Of a kind that an outer block lets pass.
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
    """Write down why an identity failed in a stage; "" takes back what was written."""
    path = worker.failure(stage, name)
    if not reason:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"identity": name, "stage": stage, "reason": reason}
    atomic_write_text(path, json.dumps(content, indent=2) + "\n")


def free_memory() -> None:
    """Give back what the models of a finished stage held."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _do(work: Work, group: Sequence[str], is_done: Callable[[str], bool]) -> dict[str, str]:
    """Return a reason for each identity, "" where it is done."""
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
    """Raise ValueError if many of the failures since the last success are of one kind.

    Args:
        reasons: reasons of this run, "" for a success, in the order in which they came.
        known: reasons of earlier runs; who fails again in the same way tells nothing new.
        stage: name of the stage.
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
    """Return a reason without what differs between identities: names, files and numbers."""
    return re.sub(r"\d+", "0", re.sub(r"\S*/\S*", "<file>", reason.replace(name, "<name>")))


def _costs(stage: str, done: int, seconds: float) -> str:
    text = f"stage {stage}: {done} done in {seconds:.1f} s, models and all"
    if torch.cuda.is_available():
        text += f", at most {torch.cuda.max_memory_allocated() / 1e9:.2f} GB of the device"
        torch.cuda.reset_peak_memory_stats()
    return text
