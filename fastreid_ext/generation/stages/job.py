"""The whole job: from a labelled set to a filtered set of drawn persons, stage by stage.

Each stage looks at what is on the disk, does this worker's part of what is missing, and waits for
the parts of other workers where the next stage needs them. What is done once for all
(captions.jsonl, clusters, thresholds, the card) the first worker does.
"""

import dataclasses
import functools
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from fastreid.config import CfgNode
from numpy.typing import NDArray

from fastreid_ext.generation.captions.captions_file import captions_file, read_captions
from fastreid_ext.generation.filters.first_look import first_look
from fastreid_ext.generation.filters.run import FilterRun
from fastreid_ext.generation.filters.whole_set import TOGETHER, draw_pictures
from fastreid_ext.generation.generated_set.card import write_card, write_description
from fastreid_ext.generation.generated_set.distribution import (
    distribution_of,
    draw_distribution,
    rows_by_identity,
)
from fastreid_ext.generation.generated_set.preview import draw_preview, preview_samples
from fastreid_ext.generation.identities.identity_list import (
    Identity,
    load_images,
    read_identities,
    used_identities,
)
from fastreid_ext.generation.identities.source_identities import source_folder
from fastreid_ext.generation.runs.layout import Layout
from fastreid_ext.generation.runs.stage import failures, free_memory, run_stage
from fastreid_ext.generation.runs.workers import Worker, wait_for
from fastreid_ext.generation.stages.captions import (
    ask_captioner,
    captions_of_job,
    clusters_of_job,
    identities_of_job,
    prompts_of_job,
)
from fastreid_ext.generation.stages.command import STAGES
from fastreid_ext.generation.stages.enough import Enough
from fastreid_ext.generation.stages.folder import fixed_settings
from fastreid_ext.generation.stages.sampling import (
    PERSONS,
    Look,
    Models,
    draw_persons_of_job,
    draw_reference_sets,
    forget_changed,
)
from fastreid_ext.pictures.tiles import evenly

# Stages whose failures end an identity's way.
_FAILING = ("captions", "prompts", PERSONS)
FILTER = "filter"  # a generated identity whose images cannot be scored fails here
_log = logging.getLogger(__name__)
FilterModels = Mapping[str, tuple]  # see FilterRun


@dataclasses.dataclass(frozen=True)
class JobReport:
    """What there is at the end of a run.

    Attributes:
        output: folder of the job.
        identities: number that the job draws.
        drawn: of them finished, by all workers.
        counts: status -> images; {} before the filters.
        failed: identity -> reason.
    """

    output: Path
    identities: int
    drawn: int
    counts: Mapping[str, int]
    failed: Mapping[str, str]

    def __str__(self) -> str:
        text = f"{self.drawn} of {self.identities} identities drawn in {self.output / 'images'}"
        if self.counts:
            made = self.counts.get("ok", 0) + self.counts.get("rejected", 0)
            text += f", {self.counts.get('ok', 0)} of {made} images kept"
        if self.failed:
            name, reason = next(iter(self.failed.items()))
            text += (
                f"; {len(self.failed)} failed, e.g. {name}: {reason} (all in "
                f"{self.output / 'failed'}; --retry failed tries them again)"
            )
        return text


def generate(
    cfg: CfgNode,
    worker: Worker,
    models_of_filters: Callable[[CfgNode], FilterModels],
    *,
    stages: Sequence[str] = STAGES,
    redo_changed: bool = False,
) -> JobReport:
    """Do what is left of a job; see :mod:`.job.folder` for how a worker is made.

    Args:
        cfg: says all.
        worker: this process.
        models_of_filters: returns the trained models of ``GENERATION.FILTER``, see
            :class:`.filters.run.FilterRun`.
        stages: which of STAGES; what the others make must be there.
        redo_changed: draw identities anew whose caption was corrected since.

    Raises:
        FileNotFoundError: something is missing that an earlier stage makes, or a data set or model.
        OSError: the disk is full.
        TimeoutError: other workers do not do their parts.
        ValueError: a file is damaged, a setting does not go with the models, or more identities
            failed than GENERATION.MAX_FAILED allows.
    """
    # First, for what is wrong with them should be known before anybody is drawn.
    filter_models = models_of_filters(cfg) if "filter" in stages else {}
    people = identities_of_job(cfg, worker)
    if "captions" in stages:
        ask_captioner(cfg, worker, people)
        captions_of_job(cfg, worker, people)
    if set(stages) & {"reference_sets", "persons"}:
        look = None
        if "filter" in stages and worker.shard.index == 0:
            look = functools.partial(first_look, cfg, filter_models)
        _draw(cfg, worker, people, stages, redo_changed, look)
    counts: Mapping[str, int] = {}
    if "filter" in stages:
        _wait_for_persons(cfg, worker, people)
        _expect_few_failed(cfg, _report(cfg, people, counts))
        run = FilterRun(cfg, filter_models)
        if cfg.GENERATION.SAMPLING.MIN_KEPT and "persons" in stages:
            _generate_until_kept(cfg, worker, people, run)
        counts = _filter(cfg, worker, people, run)
    return _report(cfg, people, counts)


def report_of(cfg: CfgNode) -> JobReport:
    """Return how far a job has come; its files alone are read.

    Raises:
        FileNotFoundError: OUTPUT_DIR holds no job.
        ValueError: a file is damaged.
    """
    output, limit = Path(cfg.OUTPUT_DIR), cfg.GENERATION.IDENTITIES.LIMIT
    people = used_identities(read_identities(Layout(output).identities))[: limit or None]
    return _report(cfg, people, {})


def statistics(cfg: CfgNode, output: Path | None = None) -> tuple[list[tuple[str, str]], Path]:
    """Count the images of a job, finished or not, and draw their distribution.

    Args:
        cfg: of the job.
        output: PNG to write; None: ``distribution.png`` in the job's folder.

    Returns:
        (what, number) and the picture.
    """
    distribution = distribution_of(rows_by_identity(Layout(Path(cfg.OUTPUT_DIR)).images))
    picture = output or Path(cfg.OUTPUT_DIR) / "distribution.png"
    return distribution.table(), draw_distribution(distribution, picture)


def preview(cfg: CfgNode, output: Path | None = None, number: int = 12) -> Path:
    """Draw ``number`` identities of a job, finished or not: photographs beside drawings.

    Args:
        cfg: of the job.
        output: PNG to write; None: ``preview.png`` in the job's folder.
        number: identities, spread over the set.
    """
    folder = Path(cfg.OUTPUT_DIR)
    rows = rows_by_identity(Layout(folder).images)
    captions = read_captions(folder) if captions_file(folder).is_file() else {}
    shown = set(evenly(sorted(rows), number))
    photographs = {
        identity.name: _photographs(cfg, identity)
        for identity in read_identities(Layout(folder).identities)
        if identity.name in shown
    }
    texts = {name: row.caption for name, row in captions.items()}
    samples = preview_samples(rows, texts, photographs, number)
    return draw_preview(samples, output or folder / "preview.png")


def title(cfg: CfgNode) -> str:
    """Return a name for the set of a job."""
    return f"Drawn persons of {' and '.join(cfg.DATASETS.NAMES)}"


def _draw(
    cfg: CfgNode,
    worker: Worker,
    people: Sequence[Identity],
    stages: Sequence[str],
    redo_changed: bool,
    look: Look | None = None,
    numbers: Mapping[str, int] | None = None,
) -> None:
    rows = read_captions(worker.output)
    captions = {i.name: rows[i.name] for i in people if i.name in rows}
    prompts = prompts_of_job(cfg, worker, captions)
    forget_changed(worker, prompts, redo=redo_changed)
    models, clusters = Models(cfg), {}
    if cfg.GENERATION.REFERENCE_SET.IMAGES:
        clusters, leaders = clusters_of_job(cfg, worker, prompts)
        if "reference_sets" in stages:
            draw_reference_sets(cfg, worker, prompts, clusters, leaders, models)
    if "persons" in stages:
        by_name = {identity.name: identity for identity in people}
        draw_persons_of_job(cfg, worker, by_name, prompts, clusters, models, look, numbers)
    del models
    free_memory()


def _photographs(cfg: CfgNode, identity: Identity) -> list[NDArray[np.uint8]]:
    """Return an identity's photographs; none where one is gone, which harms no finished set."""
    try:
        return load_images(identity, source_folder(cfg, identity.source_dataset))
    except OSError as error:
        _log.warning("the preview lacks the photographs of %s: %s", identity.name, error)
        return []


def _wait_for_persons(cfg: CfgNode, worker: Worker, people: Sequence[Identity]) -> None:
    names, layout = [identity.name for identity in people], Layout(worker.output)
    images = cfg.GENERATION.SAMPLING.IMAGES_PER_IDENTITY

    def is_settled(name: str) -> bool:
        has_all = layout.has_images(name, images)
        return has_all or any(worker.has_failed(stage, name) for stage in _FAILING)

    missing = [name for name in names if not is_settled(name)]
    if missing and worker.shard.count == 1:  # nobody else will draw them
        raise FileNotFoundError(
            f"{len(missing)} of {len(names)} identities are not drawn, e.g. {missing[0]}; do the "
            "stage persons first, or filter those there are with tools/generate_persons.py filter"
        )
    wait_for(names, is_settled, stage=PERSONS, worker=worker)


def _generate_until_kept(
    cfg: CfgNode, worker: Worker, people: Sequence[Identity], run: FilterRun
) -> None:
    """Generate more images of this worker's identities until SAMPLING.MIN_KEPT of each pass.

    Every round scores and decides first, so what is generated next follows from the files alone,
    and a round that was cut short is continued.
    """
    names, enough = _finished(run, people), Enough(cfg)
    while True:
        _score(run, names, worker)
        failed = failures(worker.output, FILTER) | failures(worker.output, PERSONS)
        mine = [name for name in worker.shard.of(names) if name not in failed]
        open_ones = [name for name in mine if not enough.is_reached(name)]
        if open_ones:
            run.decide(open_ones)
        numbers = {name: enough.next_number(name) for name in open_ones}
        numbers = {name: number for name, number in numbers.items() if number}
        if not numbers:
            return
        _draw(cfg, worker, people, ("persons",), False, numbers=numbers)


def _finished(run: FilterRun, people: Sequence[Identity]) -> list[str]:
    wanted = {identity.name for identity in people}
    return [name for name in run.names() if name in wanted]


def _score(run: FilterRun, names: Sequence[str], worker: Worker) -> None:
    run_stage(names, run.open_work, run.is_scored, stage=FILTER, worker=worker, together=TOGETHER)


def _filter(
    cfg: CfgNode, worker: Worker, people: Sequence[Identity], run: FilterRun
) -> Mapping[str, int]:
    """Score this worker's part; the first worker decides, counts and draws."""
    images, enough = Layout(worker.output).images, Enough(cfg)
    names = _finished(run, people)
    _score(run, names, worker)
    if worker.shard.index != 0:
        return {}

    def is_settled(name: str) -> bool:
        has_failed = any(worker.has_failed(stage, name) for stage in (FILTER, PERSONS))
        return has_failed or (run.is_scored(name) and enough.is_reached(name))

    wait_for(names, is_settled, stage=FILTER, worker=worker)
    _expect_few_failed(cfg, _report(cfg, people, {}))
    counts = run.decide(names, failures(worker.output, FILTER))
    write_description(fixed_settings(cfg), images)
    draw_pictures(run)
    write_card(cfg, images, title(cfg))
    statistics(cfg)
    preview(cfg)
    return counts


def _expect_few_failed(cfg: CfgNode, report: JobReport) -> None:
    """Raise ValueError, and take back dataset.json, if too many identities have failed."""
    most = cfg.GENERATION.MAX_FAILED
    if len(report.failed) <= most * report.identities:
        return
    description = Layout(report.output).images / "dataset.json"
    description.unlink(missing_ok=True)  # of an earlier run with fewer identities
    raise ValueError(
        f"{report}. {len(report.failed)} of {report.identities} identities failed, more than the "
        f"share GENERATION.MAX_FAILED {most:g}, so {description} is not written; correct what "
        "failed and run again with --retry failed, or raise MAX_FAILED"
    )


def _report(cfg: CfgNode, people: Sequence[Identity], counts: Mapping[str, int]) -> JobReport:
    output, images = Path(cfg.OUTPUT_DIR), cfg.GENERATION.SAMPLING.IMAGES_PER_IDENTITY
    names, layout = {identity.name for identity in people}, Layout(output)
    done = {name for name in names if layout.has_images(name, images)}
    failed = {
        name: reason
        for stage in _FAILING
        for name, reason in failures(output, stage).items()
        if name in names - done
    }
    unscored = failures(output, FILTER)
    failed |= {name: unscored[name] for name in sorted(names & unscored.keys() - failed.keys())}
    return JobReport(output, len(names), len(done), dict(Counter(counts)), failed)
