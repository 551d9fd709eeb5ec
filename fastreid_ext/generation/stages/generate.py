"""The whole job: from a labelled set to a filtered set of generated persons, stage by stage.

Each stage looks at what is on the disk, does this worker's part of what is missing, and waits for
the parts of other workers where the next stage needs them. What is done once for all (the list of
identities, captions.jsonl, clusters, thresholds, the card) the first worker does.
"""

import functools
from collections.abc import Callable, Mapping, Sequence

from fastreid.config import CfgNode

from fastreid_ext.generation.filters.first_look import first_look
from fastreid_ext.generation.filters.run import FilterRun
from fastreid_ext.generation.runs.stage import (
    CAPTION,
    FILTER,
    FINE_TUNE,
    REFERENCE,
    SAMPLE,
    STAGES,
    failures,
)
from fastreid_ext.generation.stages.captions import caption
from fastreid_ext.generation.stages.enough import Enough
from fastreid_ext.generation.stages.filtering import filter_images, score, wait_for_images
from fastreid_ext.generation.stages.fine_tune_and_sample import (
    fine_tune_and_sample,
    remove_changed,
)
from fastreid_ext.generation.stages.fine_tuning import fine_tune
from fastreid_ext.generation.stages.identities import list_identities
from fastreid_ext.generation.stages.job import Job
from fastreid_ext.generation.stages.reference_sets import (
    assign_reference_sets,
    make_reference_sets,
)
from fastreid_ext.generation.stages.report import (
    JobReport,
    expect_few_failed,
    report_of_job,
)
from fastreid_ext.generation.stages.sampling import sample_fine_tuned

FilterModels = Mapping[str, tuple]  # see FilterRun


def generate(
    job: Job,
    open_filter_models: Callable[[CfgNode], FilterModels],
    *,
    stages: Sequence[str] = STAGES,
    redo_changed: bool = False,
) -> JobReport:
    """Do what is left of a job.

    Args:
        job: job that :func:`.stages.folder.open_job` opened.
        open_filter_models: function from the configuration to the trained models of
            ``GENERATION.FILTER``, see :class:`.filters.run.FilterRun`.
        stages: stages to do, of :data:`STAGES`; the files of the others must exist. Fine-tuning and
            sampling are done in turn, group by group, if both are among them.
        redo_changed: whether to generate identities again whose caption was corrected since.

    Raises:
        FileNotFoundError: a file of an earlier stage, a data set or a model is missing.
        OSError: the disk is full.
        TimeoutError: other workers do not do their parts.
        ValueError: a file is damaged, a setting does not fit the models, or more identities failed
            than GENERATION.MAX_FAILED allows.
    """
    # First, since an error in them should come before days of generation.
    filter_models = open_filter_models(job.cfg) if FILTER in stages else {}
    list_identities(job)
    if CAPTION in stages:
        caption(job, list(job.identities))
    if {REFERENCE, FINE_TUNE, SAMPLE} & set(stages):
        remove_changed(job, redo=redo_changed)
        assign_reference_sets(job)
    if REFERENCE in stages and job.has_reference_sets:
        make_reference_sets(job)
    generates_all = {FINE_TUNE, SAMPLE} <= set(stages)
    if generates_all:
        look = None
        if FILTER in stages and job.worker.is_first:
            look = functools.partial(first_look, job.cfg, filter_models)
        fine_tune_and_sample(job, list(job.prompts), look=look)
    elif FINE_TUNE in stages:
        fine_tune(job, list(job.prompts))
    elif SAMPLE in stages:
        sample_fine_tuned(job, list(job.prompts))
    job.release_models()
    counts: Mapping[str, int] = {}
    if FILTER in stages:
        wait_for_images(job)
        expect_few_failed(job)
        run = FilterRun(job.cfg, filter_models)
        names = [name for name in run.names() if name in job.identities]
        if generates_all:
            _generate_until_kept(job, names, run)
        counts = filter_images(job, names, run)
    return report_of_job(job, counts)


def _generate_until_kept(job: Job, names: Sequence[str], run: FilterRun) -> None:
    """Generate more images of this worker's identities until SAMPLING.MIN_KEPT of each pass.

    Every round scores and decides first, so what is generated next follows from the files alone,
    and a round that was cut short is continued.
    """
    if not job.cfg.GENERATION.SAMPLING.MIN_KEPT:
        return
    enough = Enough(job.cfg)
    while True:
        score(job, names, run)
        output = job.layout.output
        failed = failures(output, FILTER) | failures(output, SAMPLE)
        mine = [name for name in job.worker.shard.of(names) if name not in failed]
        unfinished = [name for name in mine if not enough.is_reached(name)]
        if unfinished:
            run.decide(unfinished)
        numbers = {name: enough.next_number(name) for name in unfinished}
        numbers = {name: number for name, number in numbers.items() if number}
        if not numbers:
            return
        fine_tune_and_sample(job, list(job.prompts), numbers=numbers)
        job.release_models()
