"""Write what was learned of an identity; :mod:`.adapter_files` says which files."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from fastreid_ext.diffusion.adapter_files import TEXT_ENCODER, UNET, write_adapter, write_training
from fastreid_ext.diffusion.stable_diffusion import StableDiffusion
from fastreid_ext.generation.fine_tuning.settings import FineTuned, FineTuningSettings
from fastreid_ext.generation.fine_tuning.trained_token import token_name, write_embedding


def write_tuned(
    folder: Path,
    tuned: FineTuned,
    base: StableDiffusion,
    settings: FineTuningSettings,
    *,
    with_modules: bool = True,
) -> None:
    """Write all files of an identity, ``training.json`` last.

    Args:
        folder: an existing one; make it whole with :func:`.job.disk.whole_folder`.
        tuned: the identity.
        base: the model it was learned on.
        settings: settings of the fine-tuning.
        with_modules: whether whole modules, as METHOD full has them, are written; adapters are
            always.
    """
    if tuned.adapter is not None:
        write_adapter(
            folder,
            _stored(tuned.adapter, settings.adapter_dtype),
            rank=settings.rank,
            alpha=settings.alpha,
            targets=settings.target_modules,
        )
    format_of_torch = {"format": "pt"}  # transformers wants to be told
    if tuned.unet is not None and with_modules:
        base.unet.save_config(folder / UNET)
        weights = folder / UNET / "diffusion_pytorch_model.safetensors"
        save_file(tuned.unet, weights, metadata=format_of_torch)
    if tuned.text_encoder is not None and with_modules:
        base.text_encoder.config.save_pretrained(folder / TEXT_ENCODER)
        weights = folder / TEXT_ENCODER / "model.safetensors"
        save_file(tuned.text_encoder, weights, metadata=format_of_torch)
    if tuned.embedding is not None:
        write_embedding(folder, token_name(tuned.name), tuned.embedding)
    write_training(folder, _facts(tuned, base, settings))


def _stored(adapter: Mapping[str, Tensor], dtype: str) -> dict[str, Tensor]:
    return {name: value.to(getattr(torch, dtype)) for name, value in adapter.items()}


def _facts(
    tuned: FineTuned, base: StableDiffusion, settings: FineTuningSettings
) -> dict[str, object]:
    task = tuned.task
    references = task.reference_latents
    return {
        "name": tuned.name,
        "base": base.name,
        "dtype": str(base.dtype).removeprefix("torch."),
        "prompt": task.prompt,
        "reference_prompt": task.reference_prompt,
        "images": len(task.images),
        "reference_images": 0 if references is None else len(references[0]),
        "seed": task.seed,
        "settings": dataclasses.asdict(settings),
        "seconds": round(tuned.seconds, 3),
        "together": tuned.together,
        "losses": [round(loss, 5) for loss in tuned.losses],
    }
