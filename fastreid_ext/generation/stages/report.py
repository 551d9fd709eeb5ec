"""How far a job has come: generated and failed identities, kept images."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from fastreid.config import CfgNode

from fastreid_ext.generation.runs.stage import CAPTION, FILTER, SAMPLE, failures
from fastreid_ext.generation.stages.job import Job

# Stages whose failures leave an identity without images.
_FAILING = (CAPTION, "prompts", SAMPLE)


@dataclasses.dataclass(frozen=True)
class JobReport:
    """State of a job at the end of a run.

    Attributes:
        output: folder of the whole job.
        identities: number of identities that the job generates.
        generated: number of identities that have all their images, by all workers.
        counts: number of images by status; {} before the filters.
        failed: reason of each identity that failed, by name.
    """

    output: Path
    identities: int
    generated: int
    counts: Mapping[str, int]
    failed: Mapping[str, str]

    def __str__(self) -> str:
        text = f"{self.generated} of {self.identities} identities generated in "
        text += str(self.output / "images")
        if self.counts:
            kept = self.counts.get("ok", 0)
            made = kept + self.counts.get("rejected", 0)
            text += f", {kept} of {made} images kept"
        if self.failed:
            name, reason = next(iter(self.failed.items()))
            text += (
                f"; {len(self.failed)} failed, e.g. {name}: {reason} (all in "
                f"{self.output / 'failed'}; --retry failed tries them again)"
            )
        return text


def report_of(cfg: CfgNode) -> JobReport:
    """Report how far a job has come, from its files alone.

    Args:
        cfg: full configuration of the job.

    Raises:
        FileNotFoundError: OUTPUT_DIR holds no job.
        ValueError: a file is damaged.
    """
    return report_of_job(Job.to_read(cfg), {})


def report_of_job(job: Job, counts: Mapping[str, int]) -> JobReport:
    """Report how far a job has come.

    Args:
        job: job with a list of identities.
        counts: number of images by status; {} before the filters.
    """
    output = job.layout.output
    images = job.cfg.GENERATION.SAMPLING.IMAGES_PER_IDENTITY
    names = set(job.identities)
    done = {name for name in names if job.layout.has_images(name, images)}
    failed: dict[str, str] = {}
    for stage in _FAILING:
        for name, reason in failures(output, stage).items():
            if name in names - done:
                failed[name] = reason
    unscored = failures(output, FILTER)  # generated, but their images cannot be scored
    for name in sorted(names & unscored.keys() - failed.keys()):
        failed[name] = unscored[name]
    return JobReport(output, len(names), len(done), dict(counts), failed)


def has_failed(job: Job, name: str) -> bool:
    """Tell whether an identity failed before it was generated, and no worker will try it again.

    Args:
        job: job with this worker's retries.
        name: name of one identity.
    """
    return any(job.worker.has_failed(stage, name) for stage in _FAILING)


def expect_few_failed(job: Job) -> None:
    """Check the share of failed identities against GENERATION.MAX_FAILED.

    Args:
        job: job with a list of identities.

    Raises:
        ValueError: more failed; ``dataset.json`` of an earlier run is removed, too.
    """
    report = report_of_job(job, {})
    most = job.cfg.GENERATION.MAX_FAILED
    if len(report.failed) <= most * report.identities:
        return
    description = job.layout.images / "dataset.json"
    description.unlink(missing_ok=True)  # of an earlier run with fewer identities
    raise ValueError(
        f"{report}. {len(report.failed)} of {report.identities} identities failed, more than the "
        f"share GENERATION.MAX_FAILED {most:g}, so {description} is not written; correct what "
        "failed and run again with --retry failed, or raise MAX_FAILED"
    )
