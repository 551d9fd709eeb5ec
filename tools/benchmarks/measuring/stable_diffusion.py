"""Stable Diffusion v1 with random weights: what its parts cost does not depend on their values."""

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from fastreid_ext.diffusion.stable_diffusion import StableDiffusion
from fastreid_ext.diffusion.tiny import models
from fastreid_ext.diffusion.tiny.sizes import MINIATURE
from fastreid_ext.diffusion.tiny.vocabularies import clip_tokenizer

SIZES = {"sd1": (512, 256), "miniature": (64, 32)}  # pixels of generated images
_WORDS = ("a photo of a person",)


def random_base(size: str, device: torch.device, dtype: torch.dtype) -> StableDiffusion:
    """Return a frozen model.

    Args:
        size: "sd1", the architecture of Stable Diffusion v1 (U-Net of 859.5 million parameters), or
            "miniature", that of the miniature replication.
        device: where it is made.
        dtype: in which it computes.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), device:
        torch.manual_seed(0)
        text_encoder, unet, vae = _large() if size == "sd1" else _small()
    for part in (text_encoder, unet, vae):
        nn.Module.to(part, dtype)  # diffusers' own warns of modules that SD does not have
        part.eval().requires_grad_(False)
    return StableDiffusion(
        tokenizer=clip_tokenizer(_WORDS, 77),
        text_encoder=text_encoder,
        unet=unet,
        vae=vae,
        scheduler=models.build_scheduler(),
        name=f"random-{size}@0",
        device=device,
        dtype=dtype,
    )


def _large() -> tuple[nn.Module, nn.Module, nn.Module]:
    text = CLIPTextConfig(
        vocab_size=49_408,
        hidden_size=768,
        intermediate_size=3_072,
        num_hidden_layers=12,
        num_attention_heads=12,
        max_position_embeddings=77,
    )
    unet = UNet2DConditionModel(
        sample_size=64,
        in_channels=4,
        out_channels=4,
        layers_per_block=2,
        block_out_channels=(320, 640, 1280, 1280),
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        cross_attention_dim=768,
        attention_head_dim=8,  # the number of heads, misnamed since SD 1
    )
    vae = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        latent_channels=4,
        sample_size=512,
    )
    return CLIPTextModel(text), unet, vae


def _small() -> tuple[nn.Module, nn.Module, nn.Module]:
    clip = models.build_clip(MINIATURE, clip_tokenizer(_WORDS, MINIATURE.text_tokens))
    text_encoder = CLIPTextModel(clip.config.text_config)
    return text_encoder, models.build_unet(MINIATURE), models.build_autoencoder(MINIATURE)
