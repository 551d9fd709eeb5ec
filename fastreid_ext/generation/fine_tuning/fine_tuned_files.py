"""Files of a fine-tuned identity: write them, and estimate their size beforehand.

:mod:`fastreid_ext.diffusion.adapter_files` lists the files of the folder.
"""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from fastreid.config import CfgNode
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from fastreid_ext.diffusion.adapted_layers import adapted_layers
from fastreid_ext.diffusion.adapter_files import TEXT_ENCODER, UNET, write_adapter, write_training
from fastreid_ext.diffusion.pipeline_folder import find_base_folder
from fastreid_ext.diffusion.stable_diffusion import StableDiffusion
from fastreid_ext.diffusion.weight_files import read_object
from fastreid_ext.generation.fine_tuning.settings import FineTuned, FineTuningSettings
from fastreid_ext.generation.fine_tuning.trained_token import token_name, write_embedding

_FORMAT = {"format": "pt"}  # transformers refuses safetensors without it


def write_fine_tuned(
    folder: Path,
    result: FineTuned,
    base: StableDiffusion,
    settings: FineTuningSettings,
    *,
    with_modules: bool = True,
) -> None:
    """Write all files of an identity, ``training.json`` last.

    Args:
        folder: existing folder, which :func:`fastreid_ext.atomic.whole_folder` moves into place.
        result: weights fine-tuned on the identity.
        base: Stable Diffusion model that was fine-tuned.
        settings: settings by which the model was fine-tuned.
        with_modules: whether to write the whole modules of METHOD full; adapters are always
            written.
    """
    if result.adapter is not None:
        dtype = getattr(torch, settings.adapter_dtype)
        write_adapter(
            folder,
            {name: value.to(dtype) for name, value in result.adapter.items()},
            rank=settings.rank,
            alpha=settings.alpha,
            targets=settings.target_modules,
        )
    if result.unet is not None and with_modules:
        base.unet.save_config(folder / UNET)
        weights = folder / UNET / "diffusion_pytorch_model.safetensors"
        save_file(result.unet, weights, metadata=_FORMAT)
    if result.text_encoder is not None and with_modules:
        base.text_encoder.config.save_pretrained(folder / TEXT_ENCODER)
        weights = folder / TEXT_ENCODER / "model.safetensors"
        save_file(result.text_encoder, weights, metadata=_FORMAT)
    if result.embedding is not None:
        write_embedding(folder, token_name(result.name), result.embedding)
    write_training(folder, _facts(result, base, settings))


def fine_tuned_bytes(cfg: CfgNode) -> int:
    """Estimate the disk space of an identity's weights from configurations alone.

    An adapter has r (in + out) numbers per adapted layer; METHOD full keeps every weight of the
    U-Net, and of the text encoder where it is trained, in float32.

    Args:
        cfg: ``GENERATION`` is read, and the configuration files of the base model.

    Returns:
        Bytes of the weights of one identity.

    Raises:
        FileNotFoundError: the base model is not there.
        ValueError: a layer of TARGET_MODULES does not exist.
    """
    generation = cfg.GENERATION
    tuning = generation.FINE_TUNING
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
    return sum(_parameter_count(part) for part in parts) * torch.float32.itemsize


def unet_without_weights(folder: Path) -> UNet2DConditionModel:
    """Build the U-Net of a base model's folder on torch's meta device, where it needs no memory."""
    with torch.device("meta"):
        return UNet2DConditionModel.from_config(read_object(folder / "unet" / "config.json"))


def _facts(
    result: FineTuned, base: StableDiffusion, settings: FineTuningSettings
) -> Mapping[str, object]:
    task = result.task
    references = task.reference_latents
    return {
        "name": result.name,
        "base": base.name,
        "dtype": str(base.dtype).removeprefix("torch."),
        "prompt": task.prompt,
        "reference_prompt": task.reference_prompt,
        "images": len(task.images),
        "reference_images": 0 if references is None else len(references[0]),
        "seed": task.seed,
        "settings": dataclasses.asdict(settings),
        "seconds": round(result.seconds, 3),
        "together": result.together,
        "losses": [round(loss, 5) for loss in result.losses],
    }


def _parameter_count(part: nn.Module) -> int:
    return sum(math.prod(parameter.shape) for parameter in part.parameters())
