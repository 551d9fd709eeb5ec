"""Stages 4 and 5 in turn: fine-tune a group of identities, generate its images, go on.

So the first images can be looked at long before the last ones, and the weights of METHOD full stay
in memory, one identity's at a time.
"""

import dataclasses
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence

from fastreid_ext.diffusion.adapter_files import LORA, TEXT_ENCODER, UNET
from fastreid_ext.generation.fine_tuning.settings import FineTuned
from fastreid_ext.generation.runs.stage import (
    REFERENCE,
    SAMPLE,
    StageReport,
    Work,
    failures,
    run_stage,
)
from fastreid_ext.generation.sampling.reference_set import is_reference_set
from fastreid_ext.generation.stages.fine_tuning import FineTuningWork, fine_tuned_together
from fastreid_ext.generation.stages.job import Job
from fastreid_ext.generation.stages.sampling import SamplingWork

Look = Callable[[Sequence[str]], None]  # told the names of finished identities
_log = logging.getLogger(__name__)


def fine_tune_and_sample(
    job: Job,
    names: Sequence[str],
    *,
    look: Look | None = None,
    numbers: Mapping[str, int] | None = None,
) -> StageReport:
    """Fine-tune this worker's identities and generate their images, one group after the other.

    An identity with fewer images than wanted gets the missing ones; it is fine-tuned again only if
    its weights were not kept.

    Args:
        job: job whose captions, and reference sets if it uses them, are made.
        names: identities of all workers, in the same order for all.
        look: function that is shown the first finished identities; None for no look.
        numbers: number of images of identities that have another one than IMAGES_PER_IDENTITY.

    Raises:
        FileNotFoundError: a reference set is missing and has not failed either.
    """
    wanted = dict.fromkeys(names, job.cfg.GENERATION.SAMPLING.IMAGES_PER_IDENTITY)
    wanted |= numbers or {}

    def is_done(name: str) -> bool:
        return job.layout.has_images(name, wanted[name])

    unfinished = {name for name in names if not is_done(name)}
    to_fine_tune = {name for name in names if job.needs_fine_tuning(name, wanted[name])}
    without_set = _without_reference_set(job, to_fine_tune)
    mine = job.worker.shard.of(names)
    _report_growth(job, [name for name in mine if name in unfinished], to_fine_tune)
    for name in mine:
        if name not in unfinished:
            _remove_weights(job, name)  # a run that was killed may not have done it

    def open_work() -> Work:
        tuning = job.cfg.GENERATION.FINE_TUNING
        keeps_in_memory = tuning.METHOD == "full" and not tuning.KEEP_FULL_WEIGHTS
        in_memory: dict[str, FineTuned] | None = {} if keeps_in_memory else None
        return _GroupWork(
            job=job,
            fine_tune=FineTuningWork(job, in_memory),
            sample=SamplingWork(job, in_memory, wanted),
            without_set=without_set,
            look=look,
        )

    return run_stage(
        names,
        open_work,
        is_done,
        stage=SAMPLE,
        worker=job.worker,
        together=fine_tuned_together(job),
        bytes_each=job.identity_bytes if unfinished else 0,
    )


def remove_changed(job: Job, *, redo: bool) -> int:
    """Find identities of this worker that were made with another caption than now.

    Args:
        job: job whose captions a person may have corrected since.
        redo: whether to remove their weights and images, so that they are made again; otherwise a
            warning names one.

    Returns:
        Number of these identities.
    """
    mine = job.worker.shard.of(list(job.prompts))
    changed = [name for name in mine if job.has_changed(name)]
    if changed and not redo:
        _log.warning(
            "%d identities were generated with another caption than captions.jsonl has now, e.g. "
            "%s; generate them again with --retry changed",
            len(changed),
            changed[0],
        )
        return len(changed)
    for name in changed:
        # The folder that tells the earlier prompt last: a run that is killed here is continued.
        shutil.rmtree(job.layout.adapter(name), ignore_errors=True)
        shutil.rmtree(job.layout.images / name, ignore_errors=True)
    return len(changed)


@dataclasses.dataclass(kw_only=True)
class _GroupWork:
    """Fine-tune and sample a group of identities.

    Attributes:
        job: job that the identities belong to.
        fine_tune: work that fine-tunes a group.
        sample: work that generates the images of a group.
        without_set: reason of each identity whose reference set failed.
        look: function that is shown the first finished identities, and then dropped.
    """

    job: Job
    fine_tune: Work
    sample: Work
    without_set: Mapping[str, str]
    look: Look | None

    def __call__(self, names: Sequence[str]) -> dict[str, str]:
        reasons = {name: self.without_set[name] for name in names if name in self.without_set}
        possible = [name for name in names if name not in reasons]
        if possible:
            reasons |= self.fine_tune(possible)
        tuned = [name for name in names if not reasons.get(name)]
        if tuned:
            reasons |= self.sample(tuned)
        for name in tuned:
            _remove_weights(self.job, name)
        generated = [name for name in names if not reasons.get(name)]
        if self.look is not None and generated:
            look = self.look
            self.look = None
            look(generated)
        return reasons


def _without_reference_set(job: Job, names: set[str]) -> dict[str, str]:
    """Find identities whose reference set failed.

    Returns:
        Reason by name of the identity.

    Raises:
        FileNotFoundError: a set is missing that has not failed.
    """
    needed = {name: cluster for name, cluster in job.clusters.items() if name in names}
    clusters = set(needed.values())
    missing = {c for c in clusters if not is_reference_set(job.layout.reference_set(c))}
    untried = sorted(c for c in missing if not job.worker.has_failed(REFERENCE, c))
    if untried:
        raise FileNotFoundError(
            f"{len(untried)} of {len(clusters)} reference sets are missing, e.g. "
            f"{job.layout.reference_set(untried[0])}; do the stage reference first"
        )
    failed = failures(job.layout.output, REFERENCE)
    return {
        name: f"its reference set {cluster} could not be generated: {failed[cluster]}"
        for name, cluster in needed.items()
        if cluster in missing
    }


def _report_growth(job: Job, unfinished: Sequence[str], to_fine_tune: set[str]) -> None:
    """Log which identities get more images, and which of them are fine-tuned again for it."""
    growing = [name for name in unfinished if job.layout.is_generated(name)]
    if not growing:
        return
    _log.info("%d identities get more images, e.g. %s", len(growing), growing[0])
    again = [name for name in growing if name in to_fine_tune]
    if again:
        _log.warning(
            "%d of them are fine-tuned again, e.g. %s, since their weights were not kept "
            "(FINE_TUNING.KEEP_ADAPTERS, KEEP_FULL_WEIGHTS)",
            len(again),
            again[0],
        )


def _remove_weights(job: Job, name: str) -> None:
    """Remove the weights of a generated identity unless the job keeps them."""
    if job.keeps_weights:
        return
    folder = job.layout.adapter(name)
    (folder / LORA).unlink(missing_ok=True)
    for part in (UNET, TEXT_ENCODER):
        shutil.rmtree(folder / part, ignore_errors=True)
