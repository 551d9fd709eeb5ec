"""How well the miniature models work: numbers that a person can understand.

Letters: N images, H x W pixels.
"""

from collections.abc import Sequence

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor
from torch.nn import functional as F
from transformers import BlipForConditionalGeneration, BlipProcessor, CLIPModel, CLIPProcessor

CHOICES = 10  # captions among which the right one is to be found
GUIDANCE = 4.0
STEPS = 20
_AT_ONCE = 32


@torch.no_grad()
def generate_images(
    pipeline: StableDiffusionPipeline,
    prompts: Sequence[str],
    seed: int = 0,
    guidance: float = GUIDANCE,
    steps: int = STEPS,
) -> Tensor:
    """Generate one image (3, H, W) uint8 for each prompt; image k depends on ``seed + k`` alone."""
    pipeline.set_progress_bar_config(disable=True)
    parts = []
    for start in range(0, len(prompts), _AT_ONCE):
        chunk = list(prompts[start : start + _AT_ONCE])
        generators = [
            torch.Generator().manual_seed(seed + start + number) for number in range(len(chunk))
        ]
        images = pipeline(
            chunk,
            generator=generators,
            guidance_scale=guidance,
            num_inference_steps=steps,
            output_type="pt",
        ).images
        parts.append((images * 255).round().to(torch.uint8).cpu())
    return torch.cat(parts)


@torch.no_grad()
def found_captions(
    clip: CLIPModel,
    processor: CLIPProcessor,
    images: Tensor,
    captions: Sequence[str],
    rng: np.random.Generator,
) -> float:
    """Return the share of images whose own caption CLIP finds among :data:`CHOICES`.

    Args:
        clip: trained CLIP in evaluation mode.
        processor: image and text processor of ``clip``.
        images: (N, 3, H, W) uint8.
        captions: N, of which the wrong choices are sampled too, all different from the right one
            (fewer than :data:`CHOICES` if there are no more).
        rng: generator that samples the wrong choices.

    Returns:
        In [0, 1]; 1 / CHOICES by chance.

    Raises:
        ValueError: all captions are the same.
    """
    if len(set(captions)) < 2:
        raise ValueError(f"expected different captions, got {set(captions)}; give more images")
    inputs = processor(
        text=list(captions),
        images=list(images),
        padding=True,
        truncation=True,
        return_tensors="pt",
    ).to(clip.device)
    outputs = clip(**inputs)
    similarity = (outputs.image_embeds @ outputs.text_embeds.T).cpu()  # (N, N)
    found = 0
    for row, caption in enumerate(captions):
        others = [number for number, text in enumerate(captions) if text != caption]
        wrong = rng.permutation(others)[: CHOICES - 1]
        found += int(similarity[row, row] > similarity[row, torch.from_numpy(wrong)].max())
    return found / len(captions)


@torch.no_grad()
def write_captions(
    model: BlipForConditionalGeneration, processor: BlipProcessor, images: Tensor
) -> list[str]:
    """Return the captioner's words for images (N, 3, H, W) uint8."""
    pixels = processor.image_processor(list(images), return_tensors="pt").pixel_values
    ids = model.generate(pixels.to(model.device), max_new_tokens=64, do_sample=False, num_beams=1)
    return [text.replace(" - ", "-") for text in processor.batch_decode(ids, True)]


def agreement(written: Sequence[str], captions: Sequence[str]) -> float:
    """Return the mean share of the colours worn in captions that are also in what was written."""
    shares = []
    for text, caption in zip(written, captions, strict=True):
        wanted = colours_worn(caption)
        shares.append(len(wanted & colours_worn(text)) / max(len(wanted), 1))
    return float(np.mean(shares))


def colours_worn(caption: str) -> set[str]:
    """Return the colours of clothes, shoes and headwear: ``{"red"}`` for ``wearing a red coat``."""
    clothes = caption.partition(" wearing ")[2].partition(", with ")[0]
    return set(clothes.replace(",", " ").split()) & _COLOURS


_COLOURS = frozenset(
    "black white grey charcoal navy blue khaki beige cream brown red burgundy pink orange yellow"
    " green mint olive teal purple lavender".split()
)


def mean_error(first: Tensor, second: Tensor) -> float:
    """Return the mean absolute difference of two batches of images, in grey levels of 255."""
    return F.l1_loss(first.float(), second.float()).item()
