"""The stages that make a miniature base model, each skipped once its folder is there.

Written below the output folder: ``autoencoder/``, ``clip/``, ``pipeline/`` (Stable Diffusion),
``captioner/``, ``losses/<stage>.json`` and, while a stage runs, ``checkpoints/<stage>.pt``.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from diffusers import AutoencoderKL
from transformers import CLIPModel, CLIPTokenizer

from fastreid_ext.atomic import atomic_write_text
from fastreid_ext.diffusion.tiny import models
from fastreid_ext.diffusion.tiny.captioners import build_blip
from fastreid_ext.diffusion.tiny.sizes import MINIATURE, TEST, ModelSizes
from fastreid_ext.diffusion.tiny.vocabularies import clip_tokenizer
from fastreid_ext.generation.runs.seeds import seed_of
from projects.DiffusionReID.miniature.captioned_persons import load_persons
from projects.DiffusionReID.miniature.clip_eyes import copy_vision
from projects.DiffusionReID.miniature.fitting import Progress, Schedule
from projects.DiffusionReID.miniature.train_autoencoder import train_autoencoder
from projects.DiffusionReID.miniature.train_captioner import train_captioner
from projects.DiffusionReID.miniature.train_clip import standardised, train_clip
from projects.DiffusionReID.miniature.train_denoiser import train_denoiser

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Sizes of the models and the schedule of each stage."""

    sizes: ModelSizes
    schedules: Mapping[str, Schedule]  # by stage


RECIPES = {
    "test": Recipe(
        sizes=TEST,
        schedules={
            "autoencoder": Schedule(steps=100, batch_size=16, rate=2e-3),
            "clip": Schedule(steps=60, batch_size=16, rate=1e-3),
            "denoiser": Schedule(steps=100, batch_size=16, rate=2e-3, average=0.99),
            "captioner": Schedule(steps=60, batch_size=16, rate=1e-3),
        },
    ),
    "miniature": Recipe(
        sizes=MINIATURE,
        schedules={
            "autoencoder": Schedule(steps=900, batch_size=32, rate=1e-3),
            "clip": Schedule(steps=1500, batch_size=64, rate=1e-3),
            "denoiser": Schedule(steps=4000, batch_size=32, rate=1e-3, average=0.999),
            "captioner": Schedule(steps=2000, batch_size=32, rate=5e-4),
        },
    ),
}
STAGES = tuple(RECIPES["test"].schedules)
_FOLDERS = {"autoencoder": "autoencoder", "clip": "clip", "denoiser": "pipeline"} | {
    "captioner": "captioner"
}


@dataclass(frozen=True, kw_only=True)
class Job:
    """A training of base models.

    Attributes:
        recipe: sizes and schedules of the models.
        captions: image files and their captions.
        output: folder that the models are written to.
        device: name of the torch device, such as "cuda".
        seed: seed of weights and batches.
    """

    recipe: Recipe
    captions: Sequence[tuple[Path, str]]
    output: Path
    device: str = "cpu"
    seed: int = 0

    def folder(self, stage: str) -> Path:
        """Return where the result of a stage is."""
        return self.output / _FOLDERS[stage]


def with_steps(recipe: Recipe, steps: Mapping[str, int]) -> Recipe:
    """Return the recipe with other numbers of steps for some stages.

    Raises:
        ValueError: an unknown stage, or fewer than one step.
    """
    for stage, number in steps.items():
        if stage not in recipe.schedules or number < 1:
            raise ValueError(
                f"expected STAGE=STEPS with a stage of {', '.join(recipe.schedules)} and at least "
                f"one step, got {stage}={number}"
            )
    changed = {stage: replace(recipe.schedules[stage], steps=n) for stage, n in steps.items()}
    return replace(recipe, schedules={**recipe.schedules, **changed})


def run_stages(job: Job, stages: Sequence[str] = STAGES) -> list[str]:
    """Train what is not there yet; return the stages that were worked on.

    Raises:
        FileNotFoundError: a stage needs the result of another that is not there.
        ValueError: no captions.
    """
    if not job.captions:
        raise ValueError("expected captioned images, got none; render more with render_persons.py")
    worked_on = []
    for stage in stages:
        if job.folder(stage).is_dir():
            _LOGGER.info("%s: is there", stage)
            continue
        with models.seeded(seed_of(job.seed, "weights", stage)):
            losses = _TRAIN[stage](job)
        atomic_write_text(_losses_file(job, stage), json.dumps([round(x, 6) for x in losses]))
        worked_on.append(stage)
    return worked_on


def _losses_file(job: Job, stage: str) -> Path:
    file = job.output / "losses" / f"{stage}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


def _train_autoencoder(job: Job) -> list[float]:
    model = models.build_autoencoder(job.recipe.sizes).to(job.device)
    losses = train_autoencoder(model, _rectangles(job), *_schedule(job, "autoencoder"))
    models.save_together(job.folder("autoencoder"), model)
    return losses


def _train_clip(job: Job) -> list[float]:
    sizes = job.recipe.sizes
    tokenizer = clip_tokenizer([text for _, text in job.captions], sizes.text_tokens)
    clip = models.build_clip(sizes, tokenizer).to(job.device)
    processor = models.clip_processor(sizes, tokenizer)
    losses = train_clip(clip, processor, _squares(job), *_schedule(job, "clip"))
    models.save_together(job.folder("clip"), clip, processor)
    return losses


def _train_denoiser(job: Job) -> list[float]:
    unet = models.build_unet(job.recipe.sizes)
    autoencoder = _opened(job, "autoencoder", AutoencoderKL)
    clip = _opened(job, "clip", CLIPModel)
    tokenizer = CLIPTokenizer.from_pretrained(job.folder("clip"), local_files_only=True)
    pipeline = models.assemble_pipeline(clip, tokenizer, autoencoder, unet).to(job.device)
    losses = train_denoiser(pipeline, _rectangles(job), *_schedule(job, "denoiser"))
    models.save_together(job.folder("denoiser"), pipeline)
    return losses


def _train_captioner(job: Job) -> list[float]:
    model, processor = build_blip(job.recipe.sizes, [text for _, text in job.captions])
    persons = _squares(job)
    seen = standardised(persons.images[:: max(len(persons) // 64, 1)] / 127.5 - 1, processor)
    copy_vision(_opened(job, "clip", CLIPModel).vision_model, model.vision_model, seen)
    losses = train_captioner(model.to(job.device), processor, persons, *_schedule(job, "captioner"))
    models.save_together(job.folder("captioner"), model, processor)
    return losses


_TRAIN: dict[str, Callable[[Job], list[float]]] = {
    "autoencoder": _train_autoencoder,
    "clip": _train_clip,
    "denoiser": _train_denoiser,
    "captioner": _train_captioner,
}


def _opened(job: Job, stage: str, kind: Any) -> Any:
    folder = job.folder(stage)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"no {folder}, which this stage needs; train the {stage} first (--stages {stage})"
        )
    return kind.from_pretrained(folder, local_files_only=True)


def _rectangles(job: Job) -> Any:
    return load_persons(job.captions, job.recipe.sizes.height, job.recipe.sizes.width)


def _squares(job: Job) -> Any:
    return load_persons(job.captions, *[job.recipe.sizes.vision_side] * 2)


def _schedule(job: Job, stage: str) -> tuple[Schedule, Progress]:
    data = f"{len(job.captions)} images, {seed_of(0, *[text for _, text in job.captions]):x}"
    checkpoint = job.output / "checkpoints" / f"{stage}.pt"
    progress = Progress(stage=stage, checkpoint=checkpoint, seed=job.seed, data=data)
    return job.recipe.schedules[stage], progress
