"""BLIP-2 with random weights, and what describing persons with it costs."""

from pathlib import Path

import numpy as np
import torch
from transformers import Blip2Config, Blip2ForConditionalGeneration, BlipImageProcessor
from transformers import Blip2Processor as Processor

from fastreid_ext.diffusion.tiny.captioners import build_blip
from fastreid_ext.diffusion.tiny.models import save_together, seeded
from fastreid_ext.diffusion.tiny.sizes import MINIATURE
from fastreid_ext.diffusion.tiny.vocabularies import opt_tokenizer
from fastreid_ext.generation.captions.captioner import Captioner
from measuring.stage_figures import StageFigures, measure_stage

_QUERY_TOKENS = 32
_QUESTION = "question what clothes is the person wearing and in what colours answer"


def save_random_captioner(
    size: str, folder: Path, *, device: torch.device, dtype: torch.dtype
) -> None:
    """Write a captioner in the hub's layout.

    Args:
        size: "sd1", the architecture of ``Salesforce/blip2-opt-2.7b``, or "miniature", the BLIP of
            the miniature replication.
        folder: to write to, 7.5 GB in bfloat16 with "sd1".
        device: where it is made.
        dtype: in which it is written.
    """
    with seeded(0):
        if size == "miniature":
            model, processor = build_blip(MINIATURE, [_QUESTION])
        else:
            with device:
                model, processor = build_large()
    save_together(folder, model.to(dtype), processor)


def build_large() -> tuple[Blip2ForConditionalGeneration, Processor]:
    """Build BLIP-2 on OPT-2.7b, 3.74 billion parameters, with a vocabulary of few used words."""
    tokenizer = opt_tokenizer([_QUESTION])
    image_processor = BlipImageProcessor(size={"height": 224, "width": 224})
    processor = Processor(image_processor, tokenizer, num_query_tokens=_QUERY_TOKENS)
    text = {
        "model_type": "opt",
        "vocab_size": 50_304,
        "hidden_size": 2_560,
        "word_embed_proj_dim": 2_560,
        "ffn_dim": 10_240,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": 50_303,  # nothing the vocabulary has, so that every answer has full length
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = Blip2Config(  # vision model and Q-Former: the published ones are the defaults
        text_config=text,
        num_query_tokens=_QUERY_TOKENS,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    return Blip2ForConditionalGeneration(config), processor


def measure_captioning(
    folder: Path,
    *,
    device: torch.device,
    dtype: torch.dtype,
    images: int = 64,
    batch_size: int = 16,
    max_tokens: int = 40,
    beams: int = 5,
) -> StageFigures:
    """Ask one question about ``images`` photographs of 128x64 pixels, after one batch."""
    captioner = Captioner(
        folder,
        name="random@0",
        device=device,
        dtype=dtype,
        max_tokens=max_tokens,
        beams=beams,
        batch_size=batch_size,
    )
    rng = np.random.default_rng(0)
    photographs = list(rng.integers(0, 256, (images, 128, 64, 3), dtype=np.uint8))
    captioner.answers(photographs[:batch_size], [_QUESTION])
    return measure_stage(device, lambda: captioner.answers(photographs, [_QUESTION]), images)
