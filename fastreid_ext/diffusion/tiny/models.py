"""Build small Stable Diffusion and CLIP models with random weights, and save them.

Every model is of the class of its large relative, and a folder opens with ``from_pretrained``.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    CLIPTextModel,
    CLIPTokenizer,
)

from fastreid_ext.atomic import whole_folder
from fastreid_ext.diffusion.tiny.autoencoder_start import start_at_averages
from fastreid_ext.diffusion.tiny.sizes import ModelSizes
from fastreid_ext.diffusion.tiny.vocabularies import clip_tokenizer


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Sample weights within the block from ``seed`` and restore torch's generator afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def build_autoencoder(sizes: ModelSizes) -> AutoencoderKL:
    """Build an autoencoder of RGB images in [-1, 1]: latents of a fourth of H and W."""
    blocks = len(sizes.autoencoder_channels)
    autoencoder = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks,
        block_out_channels=sizes.autoencoder_channels,
        layers_per_block=1,
        latent_channels=sizes.latent_channels,
        # Few: each group loses the scale of its image, and a group of one colour its colour.
        norm_num_groups=2,
        sample_size=sizes.height,
        mid_block_add_attention=False,
    )
    start_at_averages(autoencoder)
    return autoencoder


def build_unet(sizes: ModelSizes) -> UNet2DConditionModel:
    """Build a U-Net on latents (B, C, H/4, W/4) with prompts (B, tokens, text width)."""
    blocks = len(sizes.unet_channels)
    return UNet2DConditionModel(
        sample_size=(sizes.height // 4, sizes.width // 4),
        in_channels=sizes.latent_channels,
        out_channels=sizes.latent_channels,
        layers_per_block=sizes.unet_layers,
        block_out_channels=sizes.unet_channels,
        down_block_types=("CrossAttnDownBlock2D",) * blocks,
        up_block_types=("CrossAttnUpBlock2D",) * blocks,
        cross_attention_dim=sizes.text_width,
        attention_head_dim=sizes.unet_heads,  # the number of heads, misnamed since SD 1
        norm_num_groups=sizes.norm_groups,
    )


def build_scheduler() -> DDIMScheduler:
    """Build a scheduler with the noise schedule of Stable Diffusion 1.x."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def build_clip(sizes: ModelSizes, tokenizer: CLIPTokenizer) -> CLIPModel:
    """Build CLIP on square images and the prompts of ``tokenizer``."""
    text = {
        **transformer_sizes(sizes.text_width, sizes.text_layers, sizes.heads),
        "vocab_size": len(tokenizer),
        "max_position_embeddings": sizes.text_tokens,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "projection_dim": sizes.projection,
    }
    vision = {**vision_sizes(sizes), "projection_dim": sizes.projection}
    return CLIPModel(
        CLIPConfig(text_config=text, vision_config=vision, projection_dim=sizes.projection)
    )


def clip_processor(sizes: ModelSizes, tokenizer: CLIPTokenizer) -> CLIPProcessor:
    """Build the processor that turns images of any shape, and texts, into CLIP's inputs."""
    images = CLIPImageProcessor(
        size={"height": sizes.vision_side, "width": sizes.vision_side}, do_center_crop=False
    )
    return CLIPProcessor(image_processor=images, tokenizer=tokenizer)


def assemble_pipeline(
    clip: CLIPModel, tokenizer: CLIPTokenizer, autoencoder: AutoencoderKL, unet: Any
) -> StableDiffusionPipeline:
    """Assemble a pipeline whose text encoder has the weights of CLIP's text model."""
    text_encoder = CLIPTextModel(clip.config.text_config)
    text_encoder.load_state_dict(clip.text_model.state_dict())
    return StableDiffusionPipeline(
        vae=autoencoder,
        text_encoder=text_encoder.eval(),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def save_pipeline(folder: Path, sizes: ModelSizes, captions: Sequence[str], seed: int = 0) -> None:
    """Write a Stable Diffusion pipeline with random weights."""
    tokenizer = clip_tokenizer(captions, sizes.text_tokens)
    with seeded(seed):
        pipeline = assemble_pipeline(
            build_clip(sizes, tokenizer), tokenizer, build_autoencoder(sizes), build_unet(sizes)
        )
    save_together(folder, pipeline)


def save_clip(folder: Path, sizes: ModelSizes, captions: Sequence[str], seed: int = 0) -> None:
    """Write CLIP with random weights; its text model is that of :func:`save_pipeline`."""
    tokenizer = clip_tokenizer(captions, sizes.text_tokens)
    with seeded(seed):
        clip = build_clip(sizes, tokenizer)
    save_together(folder, clip, clip_processor(sizes, tokenizer))


def save_together(folder: Path, *parts: Any) -> None:
    """Write parts with ``save_pretrained`` into one folder, which appears once it is complete."""
    with whole_folder(folder, folder.parent) as partial:
        for part in parts:
            part.save_pretrained(partial)


def transformer_sizes(width: int, layers: int, heads: int) -> dict[str, int]:
    """Collect the configuration keys that all transformers of the hub share."""
    return {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
    }


def vision_sizes(sizes: ModelSizes) -> dict[str, int]:
    """Collect the configuration keys of a vision transformer."""
    side = {"image_size": sizes.vision_side, "patch_size": sizes.vision_patch}
    return {**transformer_sizes(sizes.vision_width, sizes.vision_layers, sizes.heads), **side}
