"""Build small BLIP and BLIP-2 captioners with random weights, and save them."""

from collections.abc import Sequence
from pathlib import Path

from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2Processor,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessor,
    BlipProcessor,
)

from fastreid_ext.diffusion.tiny.models import (
    save_together,
    seeded,
    transformer_sizes,
    vision_sizes,
)
from fastreid_ext.diffusion.tiny.sizes import ModelSizes
from fastreid_ext.diffusion.tiny.vocabularies import bert_tokenizer, opt_tokenizer

QUERY_TOKENS = 4  # image tokens that BLIP-2 puts before the text


def build_blip(
    sizes: ModelSizes, captions: Sequence[str]
) -> tuple[BlipForConditionalGeneration, BlipProcessor]:
    """Build a BLIP captioner and its processor."""
    tokenizer = bert_tokenizer(captions)
    text = {
        **transformer_sizes(sizes.captioner_width, sizes.captioner_layers, sizes.heads),
        "encoder_hidden_size": sizes.vision_width,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 128,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.sep_token_id,
        "sep_token_id": tokenizer.sep_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = {**vision_sizes(sizes), "hidden_act": "quick_gelu"}  # as CLIP's vision tower
    config = BlipConfig(text_config=text, vision_config=vision, projection_dim=sizes.projection)
    processor = BlipProcessor(image_processor=_blip_images(sizes), tokenizer=tokenizer)
    return BlipForConditionalGeneration(config), processor


def build_blip2(
    sizes: ModelSizes, captions: Sequence[str]
) -> tuple[Blip2ForConditionalGeneration, Blip2Processor]:
    """Build a BLIP-2 captioner on OPT and its processor."""
    tokenizer = opt_tokenizer(captions)
    processor = Blip2Processor(
        image_processor=_blip_images(sizes), tokenizer=tokenizer, num_query_tokens=QUERY_TOKENS
    )
    text = {
        "model_type": "opt",
        "vocab_size": len(tokenizer),
        "hidden_size": sizes.captioner_width,
        "word_embed_proj_dim": sizes.captioner_width,
        "ffn_dim": 4 * sizes.captioner_width,
        "num_hidden_layers": sizes.captioner_layers,
        "num_attention_heads": sizes.heads,
        "max_position_embeddings": 256,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = Blip2Config(
        vision_config={**vision_sizes(sizes), "initializer_range": 0.02},
        qformer_config={
            **transformer_sizes(sizes.captioner_width, 2, sizes.heads),
            "encoder_hidden_size": sizes.vision_width,
            "vocab_size": len(tokenizer),
        },
        text_config=text,
        num_query_tokens=QUERY_TOKENS,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    return Blip2ForConditionalGeneration(config), processor


def save_blip(folder: Path, sizes: ModelSizes, captions: Sequence[str], seed: int = 0) -> None:
    """Write a BLIP captioner with random weights."""
    with seeded(seed):
        model, processor = build_blip(sizes, captions)
    save_together(folder, model, processor)


def save_blip2(folder: Path, sizes: ModelSizes, captions: Sequence[str], seed: int = 0) -> None:
    """Write a BLIP-2 captioner with random weights."""
    with seeded(seed):
        model, processor = build_blip2(sizes, captions)
    save_together(folder, model, processor)


def _blip_images(sizes: ModelSizes) -> BlipImageProcessor:
    return BlipImageProcessor(size={"height": sizes.vision_side, "width": sizes.vision_side})
