"""The job of a pose-guided generator: plan, generate, filter, describe (tools/pose_persons.py run).

Files, shards, retries, filters, card and preview are those of the other generation job; only how an
image is made differs (:mod:`.sampling.posed_images`).
"""

import json
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from fastreid.config import CfgNode

from fastreid_ext.atomic import create_text
from fastreid_ext.diffusion.pose_guided import PoseGuidedPipeline
from fastreid_ext.generation.filters.run import FilterRun
from fastreid_ext.generation.pose_plan.plan import (
    Plan,
    make_plan,
)
from fastreid_ext.generation.runs.stage import FILTER, SAMPLE, StageReport, run_stage
from fastreid_ext.generation.sampling.posed_images import (
    PosedImages,
    weights_digest,
)
from fastreid_ext.generation.stages.filtering import filter_images, wait_for_images
from fastreid_ext.generation.stages.folder import open_job
from fastreid_ext.generation.stages.identities import list_identities
from fastreid_ext.generation.stages.job import Job
from fastreid_ext.generation.stages.report import (
    JobReport,
    expect_few_failed,
    report_of,
    report_of_job,
)
from fastreid_ext.generation.stages.verify import verify_job
from fastreid_ext.saved_settings import expect_same

STAGES = ("plan", SAMPLE, FILTER)
FilterModels = Mapping[str, tuple]
_GENERATOR = "generator.json"  # file of a job with the weights that its images are made by
_log = logging.getLogger(__name__)


def generate_posed(
    cfg: CfgNode,
    open_filter_models: Callable[[CfgNode], FilterModels],
    *,
    stages: Sequence[str] = STAGES,
    shard: str = "",
    retries: Collection[str] = (),
    wait: float = 60.0,
) -> JobReport:
    """Do what is left of a job of a pose-guided generator.

    Args:
        cfg: configuration; ``GENERATION.POSE_PLAN``, ``POSE_GUIDED``, ``SAMPLING`` and ``FILTER``
            are read.
        open_filter_models: function from the configuration to the trained models of
            ``GENERATION.FILTER``, see :class:`.filters.run.FilterRun`.
        stages: stages to do, of :data:`STAGES`.
        shard: "INDEX/COUNT" of this worker, or "".
        retries: names of the stages in which failed identities are tried again.
        wait: minutes to wait for other workers that finish nothing.

    Raises:
        FileNotFoundError: the generator, a data set or its body fits are missing.
        ValueError: a setting does not fit, or more identities failed than MAX_FAILED allows.
    """
    _expect_fixed_number(cfg)
    filter_models = open_filter_models(cfg) if FILTER in stages else {}
    plan = make_plan(cfg)
    cfg = _with_images_of(cfg, plan)
    with open_job(cfg, shard=shard, retries=retries, wait=wait, expect=expect_generator) as job:
        list_identities(job)
        names = planned_names(job, plan)
        if SAMPLE in stages:
            sample_posed(job, names, plan)
        counts: Mapping[str, int] = {}
        if FILTER in stages:
            wait_for_images(job)
            expect_few_failed(job)
            counts = filter_images(job, names, FilterRun(cfg, filter_models))
        return report_of_job(job, counts)


def expect_generator(cfg: CfgNode) -> None:
    """Check that the generator can be loaded.

    Raises:
        FileNotFoundError: no generator lies in ``GENERATION.POSE_PLAN.GENERATOR``.
    """
    folder = cfg.GENERATION.POSE_PLAN.GENERATOR
    if not folder:
        raise FileNotFoundError(
            "expected the folder of a trained generator in GENERATION.POSE_PLAN.GENERATOR, got "
            "''; train one with tools/pose_persons.py train"
        )
    PoseGuidedPipeline.from_pretrained(folder)


def verify_posed(cfg: CfgNode) -> tuple[list[str], JobReport]:
    """List the problems of a finished job, see :func:`.verify.verify_job`, and report its state.

    Args:
        cfg: configuration of the job, as :func:`generate_posed` takes it.
    """
    plan = make_plan(cfg)
    cfg = _with_images_of(cfg, plan)
    return verify_job(cfg, plan.by_name), report_of(cfg)


def planned_names(job: Job, plan: Plan) -> list[str]:
    """List the identities that are planned and whose real images can be used.

    Raises:
        ValueError: there is none.
    """
    planned = plan.by_name
    names = [name for name in job.identities if name in planned]
    left_out = sorted(planned.keys() - set(names))
    if not names:
        raise ValueError(
            f"expected images planned for the identities of {job.layout.identities}, got "
            f"{len(planned)} identities that are all left out there; the file has the reasons"
        )
    if left_out and job.worker.is_first and not job.cfg.GENERATION.IDENTITIES.LIMIT:
        _log.warning(
            "%d planned identities are not generated, e.g. %s; %s has the reasons",
            len(left_out),
            left_out[0],
            job.layout.identities,
        )
    return names


def sample_posed(job: Job, names: Sequence[str], plan: Plan) -> StageReport:
    """Generate the planned images of this worker's identities into ``images/<identity>``.

    Args:
        job: job whose plan is made.
        names: planned identities of all workers, in the same order for all.
        plan: plan of the whole job.
    """
    return run_stage(
        names,
        lambda: _sampling(job, plan),
        lambda name: job.layout.has_images(name, plan.per_identity),
        stage=SAMPLE,
        worker=job.worker,
    )


def _sampling(job: Job, plan: Plan) -> Callable[[Sequence[str]], dict[str, str]]:
    """Load the generator, and make the work of the stage: to generate the images of identities."""
    digest = weights_digest(Path(job.cfg.GENERATION.POSE_PLAN.GENERATOR))
    _expect_one_generator(job.layout.output, digest)
    images = PosedImages(job.cfg, job.layout, job.identities, plan, digest)

    def work(names: Sequence[str]) -> dict[str, str]:
        for name in names:
            images.generate(name)
        return {}  # an error is the reason of a failed identity

    return work


def _expect_one_generator(output: Path, digest: str) -> None:
    """Check that all images of a job are made by the same weights.

    Raises:
        ValueError: the generator was trained again since the job started.
    """
    path = output / _GENERATOR
    now = {"GENERATION.POSE_PLAN.GENERATOR": digest}
    if create_text(path, json.dumps(now) + "\n"):
        return
    expect_same(
        json.loads(path.read_text(encoding="utf-8")),
        now,
        found=f"{output} holds images of another generator in the same folder",
        advice="give another OUTPUT_DIR, or bring the earlier weights back",
    )


def _expect_fixed_number(cfg: CfgNode) -> None:
    """Refuse SAMPLING.MIN_KEPT, whose further images no plan has."""
    least = cfg.GENERATION.SAMPLING.MIN_KEPT
    if least:
        raise ValueError(
            "expected GENERATION.SAMPLING.MIN_KEPT 0 with a plan, whose number of images is fixed, "
            f"got {least}; set it 0 and raise GENERATION.POSE_PLAN.PER_IDENTITY"
        )


def _with_images_of(cfg: CfgNode, plan: Plan) -> CfgNode:
    """Set the number of images of an identity, which the shared stages read."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.GENERATION.SAMPLING.IMAGES_PER_IDENTITY = plan.per_identity
    cfg.freeze()
    return cfg
