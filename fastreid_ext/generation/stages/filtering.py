"""Stage 6: score the generated images, keep or reject them, and describe the finished set."""

from collections.abc import Mapping, Sequence

from fastreid_ext.generation.filters.run import FilterRun
from fastreid_ext.generation.filters.whole_set import TOGETHER, plot_filter_results
from fastreid_ext.generation.generated_set.card import write_card, write_description
from fastreid_ext.generation.runs.stage import FILTER, SAMPLE, failures, run_stage
from fastreid_ext.generation.runs.workers import wait_for
from fastreid_ext.generation.stages.enough import Enough
from fastreid_ext.generation.stages.folder import fixed_settings
from fastreid_ext.generation.stages.job import Job
from fastreid_ext.generation.stages.overview import preview, set_title, statistics
from fastreid_ext.generation.stages.report import expect_few_failed, has_failed


def wait_for_images(job: Job) -> None:
    """Wait until every identity is generated or has failed.

    Args:
        job: job whose other workers may still generate images.

    Raises:
        FileNotFoundError: no other worker exists that could generate what is missing.
        TimeoutError: other workers do not generate theirs.
    """
    names = list(job.identities)
    images = job.cfg.GENERATION.SAMPLING.IMAGES_PER_IDENTITY

    def is_settled(name: str) -> bool:
        return job.layout.has_images(name, images) or has_failed(job, name)

    missing = [name for name in names if not is_settled(name)]
    if missing and job.worker.shard.count == 1:
        raise FileNotFoundError(
            f"{len(missing)} of {len(names)} identities are not generated, e.g. {missing[0]}; do "
            "the stages fine-tune and sample first, or filter the generated ones with "
            "tools/generate_persons.py filter"
        )
    wait_for(names, is_settled, stage=SAMPLE, worker=job.worker)


def score(job: Job, names: Sequence[str], run: FilterRun) -> None:
    """Score the images of this worker's identities that have no scores yet.

    Args:
        job: job whose images are generated.
        names: generated identities of all workers, in the same order for all.
        run: filters with their opened models.
    """
    run_stage(
        names, run.open_work, run.is_scored, stage=FILTER, worker=job.worker, together=TOGETHER
    )


def filter_images(job: Job, names: Sequence[str], run: FilterRun) -> Mapping[str, int]:
    """Score this worker's identities; the first worker then decides and finishes the set.

    Args:
        job: job whose images are generated.
        names: generated identities of all workers, in the same order for all.
        run: filters with their opened models.

    Returns:
        Number of images by status ("ok", "rejected", "failed"); {} for other workers.

    Raises:
        TimeoutError: other workers do not score theirs.
        ValueError: more identities failed than GENERATION.MAX_FAILED allows.
    """
    score(job, names, run)
    if not job.worker.is_first:
        return {}
    enough = Enough(job.cfg)

    def is_settled(name: str) -> bool:
        if any(job.worker.has_failed(stage, name) for stage in (FILTER, SAMPLE)):
            return True
        return run.is_scored(name) and enough.is_reached(name)

    wait_for(names, is_settled, stage=FILTER, worker=job.worker)
    expect_few_failed(job)
    counts = run.decide(names, failures(job.layout.output, FILTER))
    write_description(fixed_settings(job.cfg), job.layout.images)
    plot_filter_results(run)
    write_card(job.cfg, job.layout.images, set_title(job.cfg))
    statistics(job.cfg)
    preview(job.cfg)
    return counts
