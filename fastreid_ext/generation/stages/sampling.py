"""The stages of a job that need the diffusion model: reference sets, fine-tuning, drawing."""

import functools
import json
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence

from diffusers.utils.logging import disable_progress_bar
from fastreid.config import CfgNode

from fastreid_ext.diffusion.adapter_files import LORA, TEXT_ENCODER, UNET, is_trained, read_training
from fastreid_ext.diffusion.quiet_loading import quiet_loading
from fastreid_ext.diffusion.stable_diffusion import StableDiffusion, load_base
from fastreid_ext.generation.captions.prompts import Prompts
from fastreid_ext.generation.filters.first_look import with_first_look
from fastreid_ext.generation.fine_tuning.adapter_bytes import learned_bytes
from fastreid_ext.generation.identities.identity_list import Identity
from fastreid_ext.generation.runs.layout import Layout
from fastreid_ext.generation.runs.stage import StageReport, Work, failures, run_stage
from fastreid_ext.generation.runs.workers import Worker, wait_for
from fastreid_ext.generation.sampling.reference_set import is_reference_set
from fastreid_ext.generation.stages.fine_tuning_work import tuning_work
from fastreid_ext.generation.stages.sampling_work import drawing_model, drawing_work, reference_work

REFERENCE_SETS, PERSONS = "reference_sets", "persons"
_BYTES_A_PIXEL = {"jpg": 1, "png": 3}  # of noisy pictures; others need less
Look = Callable[[Sequence[str]], None]  # told names of finished identities
_log = logging.getLogger(__name__)


class Models:
    """The base model, loaded when it is first needed and once."""

    def __init__(self, cfg: CfgNode) -> None:
        self._cfg = cfg

    @functools.cached_property
    def base(self) -> StableDiffusion:
        """What is fine-tuned."""
        disable_progress_bar()  # of the parts; the stage has one
        with quiet_loading():
            return load_base(self._cfg)

    @functools.cached_property
    def drawing(self) -> StableDiffusion:
        """What draws: the base model, or one with a few-step adapter."""
        return drawing_model(self._cfg, self.base)


def expect_reference_sets_wanted(cfg: CfgNode) -> None:
    """Raise ValueError if the job has no reference sets."""
    if not cfg.GENERATION.REFERENCE_SET.IMAGES:
        raise ValueError(
            "GENERATION.REFERENCE_SET.IMAGES is 0: this job has no reference sets; raise it, or "
            "go on with tools/generate_persons.py fine-tune"
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

    A set also counts as done once no identity that uses it is to be fine-tuned any more: all are
    generated, or generated in part with an adapter kept, with their current prompts.
    """
    layout = Layout(worker.output)
    users = {leader: [n for n in clusters if clusters[n] == leader] for leader in leaders}

    def needs_none(name: str) -> bool:
        # Another worker may be about to draw anew whom an older prompt drew.
        is_current = not _has_changed(layout, name, prompts[name])
        return is_current and not is_to_be_tuned(cfg, layout, name)

    def is_done(cluster: str) -> bool:
        has_set = is_reference_set(layout.reference_set(cluster))
        return has_set or all(map(needs_none, users[cluster]))

    report = run_stage(
        sorted(leaders),
        lambda: reference_work(cfg, models.drawing, leaders, layout),
        is_done,
        stage=REFERENCE_SETS,
        worker=worker,
        bytes_each=cfg.GENERATION.REFERENCE_SET.IMAGES * reference_bytes(cfg.GENERATION.SIZE),
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
    numbers: Mapping[str, int] | None = None,
) -> StageReport:
    """Fine-tune and draw this worker's identities, some at a time.

    So the first drawings can be looked at long before the last, and the weights of METHOD full
    stay in memory, one identity's at a time. Identities with fewer images than wanted get the
    missing ones; they are fine-tuned again only if their weights were not kept.
    The first that are done are shown to ``look``.

    Args:
        cfg: configuration of the job.
        worker: this process.
        people: name -> identity, of all workers.
        prompts: name -> prompts.
        clusters: name -> reference set.
        models: diffusion model.
        look: told the names of finished identities, or None.
        numbers: name -> images wanted, where they are not IMAGES_PER_IDENTITY.

    Raises:
        FileNotFoundError: a reference set is neither there nor has it failed.
    """
    tuning, layout = cfg.GENERATION.FINE_TUNING, Layout(worker.output)
    names, clean = [name for name in people if name in prompts], _remover(cfg, layout)
    wanted = dict.fromkeys(names, cfg.GENERATION.SAMPLING.IMAGES_PER_IDENTITY) | dict(numbers or {})

    def is_done(name: str) -> bool:
        return layout.has_images(name, wanted[name])

    unfinished = {name for name in names if not is_done(name)}
    untuned = [name for name in names if is_to_be_tuned(cfg, layout, name, wanted[name])]
    lost = _without_reference_set(worker, {n: clusters[n] for n in untuned if n in clusters})
    mine = worker.shard.of(names)
    _say_growth(layout, [name for name in mine if name in unfinished], untuned)
    for name in mine:
        if name not in unfinished:
            clean(name)  # a run that was killed may not have come to it

    def open_work() -> Work:
        in_memory = {} if tuning.METHOD == "full" and not tuning.KEEP_FULL_WEIGHTS else None
        tune = tuning_work(cfg, models.base, people, prompts, clusters, layout, in_memory)
        texts = {name: own.sampled for name, own in prompts.items()}
        draw = drawing_work(cfg, models.drawing, people, texts, layout, in_memory, wanted)
        work = functools.partial(_learn_and_draw, tune, draw, clean, lost)
        return work if look is None else with_first_look(work, look)

    return run_stage(
        names,
        open_work,
        is_done,
        stage=PERSONS,
        worker=worker,
        together=1 if tuning.METHOD == "full" else tuning.IDENTITIES_AT_ONCE,
        bytes_each=identity_bytes(cfg) if unfinished else 0,
    )


def is_to_be_tuned(cfg: CfgNode, layout: Layout, name: str, number: int | None = None) -> bool:
    """Whether an identity lacks images, and weights to generate them with.

    One that was never generated counts whatever is in its folder of weights.

    Args:
        cfg: configuration of the job.
        layout: files of the job.
        name: identity.
        number: images wanted; None: IMAGES_PER_IDENTITY.
    """
    number = cfg.GENERATION.SAMPLING.IMAGES_PER_IDENTITY if number is None else number
    if layout.has_images(name, number):
        return False
    return not (layout.is_drawn(name) and is_trained(layout.adapter(name)))


def keeps_weights(cfg: CfgNode) -> bool:
    """Whether an identity's weights stay when its images are generated."""
    tuning = cfg.GENERATION.FINE_TUNING
    return tuning.KEEP_FULL_WEIGHTS if tuning.METHOD == "full" else tuning.KEEP_ADAPTERS


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
    """Return what removes an identity's weights when they are not needed any more."""

    def clean(name: str) -> None:
        if not keeps_weights(cfg):
            (layout.adapter(name) / LORA).unlink(missing_ok=True)
            for part in (UNET, TEXT_ENCODER):
                shutil.rmtree(layout.adapter(name) / part, ignore_errors=True)

    return clean


def _say_growth(layout: Layout, unfinished: Sequence[str], untuned: Sequence[str]) -> None:
    growing = [name for name in unfinished if layout.is_drawn(name)]
    if not growing:
        return
    _log.info("%d identities get more images, e.g. %s", len(growing), growing[0])
    if again := [name for name in growing if name in set(untuned)]:
        _log.warning(
            "%d of them are fine-tuned again, e.g. %s, since their weights were not kept "
            "(FINE_TUNING.KEEP_ADAPTERS, KEEP_FULL_WEIGHTS)",
            len(again),
            again[0],
        )


def identity_bytes(cfg: CfgNode) -> int:
    """Estimate the bytes that one identity adds: images, and weights if they are kept."""
    sampling = cfg.GENERATION.SAMPLING
    image = _image_bytes(sampling.SAVE_SIZE, sampling.FORMAT)
    weights = learned_bytes(cfg) if keeps_weights(cfg) else 0
    return image * sampling.IMAGES_PER_IDENTITY + weights


def reference_bytes(size: Sequence[int]) -> int:
    """Estimate the bytes of one image of a reference set: its file and its posterior's numbers."""
    latents = 2 * 4 * (size[0] // 8) * (size[1] // 8) * 4  # mean and deviation, float32
    return _image_bytes(size, "jpg") + latents


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
