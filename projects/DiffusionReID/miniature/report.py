"""Report on a miniature base model: pictures and a few numbers.

Written below the output folder of the training: ``pictures/*.png`` and ``report.json``.
"""

import json
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor
from transformers import BlipForConditionalGeneration, BlipProcessor, CLIPModel, CLIPProcessor

from fastreid_ext.atomic import atomic_write_text
from projects.DiffusionReID.miniature import judging, pictures
from projects.DiffusionReID.miniature.captioned_persons import CaptionedPersons, load_persons
from projects.DiffusionReID.miniature.recipe import STAGES, Job
from projects.DiffusionReID.miniature.train_autoencoder import encode

_SHOWN = 8  # captions in the picture of samples
_OF_EACH = 6  # samples of each
_JUDGED = 128  # images behind each number


def is_complete(job: Job) -> bool:
    """Whether every stage of the job is done."""
    return all(job.folder(stage).is_dir() for stage in STAGES)


def write_report(job: Job) -> dict[str, float]:
    """Generate images, measure the models and collect the numbers of ``report.json``.

    - ``rebuilt_error``: mean error of the autoencoder, in grey levels of 255;
    - ``found_real``, ``found_generated``: share of images whose caption the job's CLIP finds among
      ten, of real training images and of images generated for their captions;
    - ``colours_told``: share of the colours worn that the captioner tells.
    """
    step = max(len(job.captions) // _JUDGED, 1)
    sizes = job.recipe.sizes
    persons = load_persons(job.captions[::step][:_JUDGED], sizes.height, sizes.width)
    pipeline = StableDiffusionPipeline.from_pretrained(
        job.folder("denoiser"), local_files_only=True
    ).to(job.device)
    rebuilt = _rebuilt(pipeline, persons)
    generated = judging.generate_images(pipeline, persons.captions, job.seed)
    clip, processor = _opened(job, "clip", CLIPModel, CLIPProcessor)
    told = judging.write_captions(
        *_opened(job, "captioner", BlipForConditionalGeneration, BlipProcessor), persons.images
    )
    numbers = {
        "rebuilt_error": judging.mean_error(rebuilt, persons.images),
        "found_real": _found(clip, processor, persons.images, persons.captions),
        "found_generated": _found(clip, processor, generated, persons.captions),
        "colours_told": judging.agreement(told, persons.captions),
    }
    numbers = {name: round(number, 3) for name, number in numbers.items()}
    folder = job.output / "pictures"
    pictures.plot_reconstructions(persons.images[:24], rebuilt[:24], folder / "rebuilt.png")
    pictures.plot_curves(job.output / "losses", folder / "losses.png")
    _plot_samples(job, pipeline, persons)
    atomic_write_text(job.output / "report.json", json.dumps(numbers, indent=1) + "\n")
    return numbers


def _found(clip: CLIPModel, processor: CLIPProcessor, images: Tensor, captions: Any) -> float:
    return judging.found_captions(clip, processor, images, captions, np.random.default_rng(0))


def _plot_samples(job: Job, pipeline: StableDiffusionPipeline, persons: CaptionedPersons) -> None:
    captions = persons.captions[:: max(len(persons) // _SHOWN, 1)][:_SHOWN]
    prompts = [f"a photo of person, {text}" for text in captions for _ in range(_OF_EACH)]
    generated = judging.generate_images(pipeline, prompts, job.seed)
    title = f"guidance {judging.GUIDANCE}, {judging.STEPS} steps, prompt 'a photo of person, ...'"
    file = job.output / "pictures" / "samples.png"
    pictures.plot_samples(captions, generated.split(_OF_EACH), file, title)


@torch.no_grad()
def _rebuilt(pipeline: StableDiffusionPipeline, persons: CaptionedPersons) -> Tensor:
    latents = encode(pipeline.vae, persons.images) / pipeline.vae.config.scaling_factor
    pixels = pipeline.vae.decode(latents.to(pipeline.device)).sample.cpu()
    return ((pixels + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def _opened(job: Job, stage: str, model: Any, processor: Any) -> tuple[Any, Any]:
    folder = job.folder(stage)
    return (
        model.from_pretrained(folder, local_files_only=True).to(job.device).eval(),
        processor.from_pretrained(folder, local_files_only=True),
    )
