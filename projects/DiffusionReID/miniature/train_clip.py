"""Train miniature CLIP on rendered persons and their captions: symmetric InfoNCE.

[0] Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML
    2021, fig. 3, https://arxiv.org/abs/2103.00020
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPModel, CLIPProcessor

from projects.DiffusionReID.miniature.captioned_persons import CaptionedPersons, random_mirror
from projects.DiffusionReID.miniature.fitting import Progress, Schedule, fit
from projects.DiffusionReID.miniature.training_texts import sample_prompt

_COARSE_SHARE = 0.5  # of images with half the columns, as generated images of half the width have


def train_clip(
    clip: CLIPModel,
    processor: CLIPProcessor,
    persons: CaptionedPersons,
    schedule: Schedule,
    progress: Progress,
) -> list[float]:
    """Train in place; return the losses. The images are squares of CLIP's size."""

    def loss_of(rng: np.random.Generator) -> Tensor:
        rows = rng.integers(len(persons), size=schedule.batch_size)
        prompts = [sample_prompt(persons.captions[row], rng) for row in rows]
        texts = processor.tokenizer(prompts, padding=True, return_tensors="pt").to(clip.device)
        images = random_squares(persons.images[torch.from_numpy(rows)], rng).to(clip.device)
        pixels = standardised(images, processor)
        return clip(**texts, pixel_values=pixels, return_loss=True).loss

    return fit(clip, loss_of, schedule, progress)


def random_squares(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Mirror and coarsen some of (B, 3, S, S) uint8 images; return floats in [-1, 1]."""
    mirrored = random_mirror(images, rng)
    coarse = F.avg_pool2d(mirrored, (1, 2)).repeat_interleave(2, dim=3)
    is_coarse = torch.from_numpy(rng.random(len(images)) < _COARSE_SHARE)
    return torch.where(is_coarse[:, None, None, None], coarse, mirrored)


def standardised(images: Tensor, processor: CLIPProcessor) -> Tensor:
    """Turn images in [-1, 1] into what the processor gives the model."""
    mean, std = (
        torch.tensor(values, device=images.device)[:, None, None]
        for values in (processor.image_processor.image_mean, processor.image_processor.image_std)
    )
    return (images / 2 + 0.5 - mean) / std
