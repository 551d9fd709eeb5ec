"""Estimate the bytes on the disk of what an identity is learned as, from configurations alone."""

import math
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from fastreid.config import CfgNode
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from fastreid_ext.diffusion.adapted_layers import adapted_layers
from fastreid_ext.diffusion.pipeline_folder import find_base_folder
from fastreid_ext.diffusion.whole_files import read_object


def learned_bytes(cfg: CfgNode) -> int:
    """Return the bytes of an identity's weights as GENERATION.FINE_TUNING describes them.

    An adapter has r (in + out) numbers for each adapted layer; METHOD full keeps every weight of
    the U-Net, and of the text encoder where it is trained, in float32.

    Args:
        cfg: ``GENERATION``; the base model's configuration files are read, its weights are not.

    Raises:
        FileNotFoundError: the base model is not there.
        ValueError: a layer of TARGET_MODULES does not exist.
    """
    generation, tuning = cfg.GENERATION, cfg.GENERATION.FINE_TUNING
    folder = find_base_folder(
        generation.BASE_MODEL, revision=generation.REVISION, download=generation.DOWNLOAD
    )
    unet = unet_without_weights(folder)
    if tuning.METHOD == "lora":
        layers = adapted_layers(unet, tuning.TARGET_MODULES).values()
        numbers = tuning.RANK * sum(layer.in_features + layer.out_features for layer in layers)
        return numbers * getattr(torch, tuning.ADAPTER_DTYPE).itemsize
    parts = [unet]
    if tuning.TEXT_ENCODER:
        config = CLIPTextConfig.from_pretrained(folder / "text_encoder", local_files_only=True)
        with torch.device("meta"):
            parts.append(CLIPTextModel(config))
    return sum(_numbers(part) for part in parts) * torch.float32.itemsize


def unet_without_weights(folder: Path) -> UNet2DConditionModel:
    """Build the U-Net of a base model's folder on torch's meta device, where it needs no memory."""
    with torch.device("meta"):
        return UNet2DConditionModel.from_config(read_object(folder / "unet" / "config.json"))


def _numbers(part: nn.Module) -> int:
    return sum(math.prod(parameter.shape) for parameter in part.parameters())
