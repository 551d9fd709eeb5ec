"""The stages of a job that need the diffusion model: reference sets, fine-tuning, drawing."""

import functools
import json
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence

from diffusers.utils.logging import disable_progress_bar
from fastreid.config import CfgNode

from fastreid_ext.generation.base.base_model import BaseModel, load_base
from fastreid_ext.generation.base.quiet_loading import quiet_loading
from fastreid_ext.generation.drawing.drawing_work import drawing_model, drawing_work, reference_work
from fastreid_ext.generation.drawing.reference_set import is_reference_set
from fastreid_ext.generation.filters.first_look import with_first_look
from fastreid_ext.generation.job.layout import Layout
from fastreid_ext.generation.job.stage import StageReport, Work, failures, run_stage
from fastreid_ext.generation.job.workers import Worker, wait_for
from fastreid_ext.generation.people.identities import Identity
from fastreid_ext.generation.tuning.adapter_files import (
    TEXT_ENCODER,
    UNET,
    is_trained,
    read_training,
)
from fastreid_ext.generation.tuning.tuning_work import tuning_work
from fastreid_ext.generation.words.prompts import Prompts

REFERENCE_SETS, PERSONS = "reference_sets", "persons"
_BYTES_A_PIXEL = {"jpg": 1, "png": 3}  # of noisy pictures; others need less
# Of what an identity is learned as; with METHOD full a U-Net and a text encoder in float32.
LEARNED_BYTES = {"lora": 8_000_000, "full": 4_000_000_000}
Look = Callable[[Sequence[str]], None]  # told names of finished identities
_log = logging.getLogger(__name__)


class Models:
    """The base model, loaded when it is first needed and once."""

    def __init__(self, cfg: CfgNode) -> None:
        self._cfg = cfg

    @functools.cached_property
    def base(self) -> BaseModel:
        """What is fine-tuned."""
        disable_progress_bar()  # of the parts; the stage has one
        with quiet_loading():
            return load_base(self._cfg)

    @functools.cached_property
    def drawing(self) -> BaseModel:
        """What draws: the base model, or one with a few-step adapter."""
        return drawing_model(self._cfg, self.base)


def expect_reference_sets_wanted(cfg: CfgNode) -> None:
    """Raise ValueError if the job has no reference sets."""
    if not cfg.GENERATION.REFERENCE_SET.IMAGES:
        raise ValueError(
            "GENERATION.REFERENCE_SET.IMAGES is 0: this job has no reference sets; raise it, or "
            "go on with tools/fine_tune_persons.py"
        )


def draw_reference_sets(
    cfg: CfgNode,
    worker: Worker,
    prompts: Mapping[str, Prompts],
    clusters: Mapping[str, str],
    leaders: Mapping[str, str],
    models: Models,
) -> StageReport:
    """Draw this worker's reference sets, and wait for those of the others.

    One is done, too, if everybody who needs it is drawn already, by the prompt of now.
    """
    layout = Layout(worker.output)
    users = {leader: [n for n in clusters if clusters[n] == leader] for leader in leaders}

    def is_drawn(name: str) -> bool:
        # Another worker may be about to draw anew whom an older prompt drew.
        return layout.is_drawn(name) and not _has_changed(layout, name, prompts[name])

    def is_done(cluster: str) -> bool:
        return is_reference_set(layout.reference_set(cluster)) or all(map(is_drawn, users[cluster]))

    report = run_stage(
        sorted(leaders),
        lambda: reference_work(cfg, models.drawing, leaders, layout),
        is_done,
        stage=REFERENCE_SETS,
        worker=worker,
        bytes_each=cfg.GENERATION.REFERENCE_SET.IMAGES * _image_bytes(cfg.GENERATION.SIZE, "jpg"),
    )
    wait_for(
        sorted(leaders),
        lambda cluster: is_done(cluster) or worker.has_failed(REFERENCE_SETS, cluster),
        stage=REFERENCE_SETS,
        worker=worker,
    )
    return report


def draw_persons_of_job(
    cfg: CfgNode,
    worker: Worker,
    people: Mapping[str, Identity],
    prompts: Mapping[str, Prompts],
    clusters: Mapping[str, str],
    models: Models,
    look: Look | None = None,
) -> StageReport:
    """Fine-tune and draw this worker's identities, some at a time.

    So the first drawings can be looked at long before the last, and the weights of METHOD full
    need room for one identity only. The first that are done are shown to ``look``.

    Raises:
        FileNotFoundError: a reference set is neither there nor has it failed.
    """
    generation, layout = cfg.GENERATION, Layout(worker.output)
    names, clean = [name for name in people if name in prompts], _remover(cfg, layout)
    missing = [name for name in names if name in clusters and not layout.is_drawn(name)]
    lost = _without_reference_set(worker, {name: clusters[name] for name in missing})
    for name in worker.shard.of(names):
        if layout.is_drawn(name):
            clean(name)  # a run that was killed may not have come to it

    def open_work() -> Work:
        tune = tuning_work(cfg, models.base, people, prompts, clusters, layout)
        texts = {name: own.sampled for name, own in prompts.items()}
        draw = drawing_work(cfg, models.drawing, people, texts, layout)
        work = functools.partial(_learn_and_draw, tune, draw, clean, lost)
        return work if look is None else with_first_look(work, look)

    sampling, tuning = generation.SAMPLING, generation.FINE_TUNING
    images = _image_bytes(sampling.OUTPUT_SIZE, sampling.FORMAT) * sampling.IMAGES_PER_IDENTITY
    is_full = tuning.METHOD == "full"
    keeps_all = not is_full or tuning.KEEP_FULL_WEIGHTS
    return run_stage(
        names,
        open_work,
        layout.is_drawn,
        stage=PERSONS,
        worker=worker,
        together=1 if is_full else tuning.IDENTITIES_AT_ONCE,
        bytes_each=images + keeps_all * LEARNED_BYTES[tuning.METHOD],
        bytes_meanwhile=is_full * LEARNED_BYTES["full"],
    )


def forget_changed(worker: Worker, prompts: Mapping[str, Prompts], *, redo: bool) -> int:
    """Look for identities of this worker that were learned or drawn by another prompt.

    Args:
        worker: who looks.
        prompts: of now, after a person has corrected captions.jsonl.
        redo: remove what was made of them, so that it is made anew; else only say so.

    Returns:
        Their number.
    """
    layout = Layout(worker.output)
    changed = [
        name for name in worker.shard.of(list(prompts)) if _has_changed(layout, name, prompts[name])
    ]
    if changed and not redo:
        _log.warning(
            "%d identities were drawn by another caption than captions.jsonl has now, e.g. %s; "
            "draw them anew with --retry changed",
            len(changed),
            changed[0],
        )
    for name in changed if redo else ():
        # Last what tells the prompt of before, so that a run that is killed here is continued.
        shutil.rmtree(layout.adapter(name), ignore_errors=True)
        shutil.rmtree(layout.images / name, ignore_errors=True)
    return len(changed)


def _without_reference_set(worker: Worker, clusters: Mapping[str, str]) -> dict[str, str]:
    """Return the identities whose set could not be drawn, with the reason.

    Raises:
        FileNotFoundError: nobody has tried to draw one.
    """
    layout, failed = Layout(worker.output), failures(worker.output, REFERENCE_SETS)
    wanted = set(clusters.values())
    missing = {c for c in wanted if not is_reference_set(layout.reference_set(c))}
    if untried := sorted(c for c in missing if not worker.has_failed(REFERENCE_SETS, c)):
        raise FileNotFoundError(
            f"{len(untried)} of {len(wanted)} reference sets are missing, e.g. "
            f"{layout.reference_set(untried[0])}; do the stage reference_sets first"
        )
    return {
        name: f"its reference set {cluster} could not be drawn: {failed[cluster]}"
        for name, cluster in clusters.items()
        if cluster in missing
    }


def _learn_and_draw(
    tune: Work,
    draw: Work,
    clean: Callable[[str], None],
    lost: Mapping[str, str],
    names: Sequence[str],
) -> dict[str, str]:
    reasons = {name: lost[name] for name in names if name in lost}
    if possible := [name for name in names if name not in reasons]:
        reasons |= tune(possible)
    if learned := [name for name in names if not reasons.get(name)]:
        reasons |= draw(learned)
    for name in learned:
        clean(name)
    return reasons


def _remover(cfg: CfgNode, layout: Layout) -> Callable[[str], None]:
    """Return what removes the weights of METHOD full when they are not needed any more."""
    tuning = cfg.GENERATION.FINE_TUNING

    def clean(name: str) -> None:
        if tuning.METHOD == "full" and not tuning.KEEP_FULL_WEIGHTS:
            for part in (UNET, TEXT_ENCODER):
                shutil.rmtree(layout.adapter(name) / part, ignore_errors=True)

    return clean


def _has_changed(layout: Layout, name: str, prompts: Prompts) -> bool:
    """Whether an identity was generated, or else fine-tuned, with another prompt than now."""
    generated_with = _prompt_of_images(layout, name)
    if generated_with is not None:
        return generated_with != prompts.sampled[0]
    if is_trained(layout.adapter(name)):
        return read_training(layout.adapter(name)).get("prompt") not in (None, prompts.identity)
    return False


def _prompt_of_images(layout: Layout, name: str) -> str | None:
    """Return the prompt of an identity's first image; None if there is none."""
    rows = layout.images / name / "metadata.jsonl"
    if rows.is_file():
        with open(rows, encoding="utf-8") as file:
            first = file.readline()  # of thousands of files, at each start
        try:
            return json.loads(first)["prompt"] if first else None
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{rows}:1 is damaged ({type(error).__name__}: {error}); remove its folder, and "
                "the identity is drawn again"
            ) from error
    return None


def _image_bytes(size: Sequence[int], image_format: str) -> int:
    return size[0] * size[1] * _BYTES_A_PIXEL[image_format]
