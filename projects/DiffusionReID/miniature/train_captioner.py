"""Train the miniature BLIP captioner: images to captions, and to answers about them.

[0] Li et al., "BLIP: Bootstrapping Language-Image Pre-training", ICML 2022, sec. 3.1,
    https://arxiv.org/abs/2201.12086
"""

import numpy as np
import torch
from torch import Tensor
from transformers import BlipForConditionalGeneration, BlipProcessor

from projects.DiffusionReID.miniature.captioned_persons import CaptionedPersons
from projects.DiffusionReID.miniature.fitting import Progress, Schedule, fit
from projects.DiffusionReID.miniature.train_clip import random_squares, standardised
from projects.DiffusionReID.miniature.training_texts import sample_question

_IGNORED = -100  # label that the cross-entropy ignores


def train_captioner(
    model: BlipForConditionalGeneration,
    processor: BlipProcessor,
    persons: CaptionedPersons,
    schedule: Schedule,
    progress: Progress,
) -> list[float]:
    """Train in place; return the losses. The images are squares of the captioner's size."""

    def loss_of(rng: np.random.Generator) -> Tensor:
        rows = rng.integers(len(persons), size=schedule.batch_size)
        pairs = [sample_question(persons.captions[row], rng) for row in rows]
        ids, mask, labels = answer_batch(processor, pairs)
        images = random_squares(persons.images[torch.from_numpy(rows)], rng).to(model.device)
        pixels = standardised(images, processor)
        outputs = model(
            pixel_values=pixels,
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            labels=labels.to(model.device),
        )
        return outputs.loss

    return fit(model, loss_of, schedule, progress)


def answer_batch(
    processor: BlipProcessor, pairs: list[tuple[str, str]]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return ids, mask and labels (B, tokens) of questions and their answers.

    A row reads ``[DEC] question answer [SEP]``; only answer and ``[SEP]`` count in the loss.
    """
    tokenizer = processor.tokenizer
    joined = [f"{question} {answer}" for question, answer in pairs]
    batch = tokenizer(joined, padding=True, return_tensors="pt")
    ids = batch.input_ids
    mask = batch.attention_mask
    ids[:, 0] = tokenizer.bos_token_id
    labels = ids.masked_fill(mask == 0, _IGNORED)
    asked = tokenizer([question for question, _ in pairs], add_special_tokens=False).input_ids
    for row, question in zip(labels, asked, strict=True):
        row[: 1 + len(question)] = _IGNORED
    return ids, mask, labels
