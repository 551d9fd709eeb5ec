"""Put the weights of METHOD full in the place of the base model's, and name them by a digest."""

import copy
import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPTextModel

from fastreid_ext.diffusion.adapter_files import TEXT_ENCODER, UNET
from fastreid_ext.diffusion.stable_diffusion import StableDiffusion
from fastreid_ext.generation.fine_tuning.settings import FineTuned

States = Mapping[str, Mapping[str, Tensor]]  # part of the model -> names and weights


def with_weights_in_memory(base: StableDiffusion, tuned: FineTuned) -> tuple[StableDiffusion, str]:
    """Copy the fine-tuned parts of a model and fill the copies.

    Args:
        base: model with the remaining parts, which stays as it is.
        tuned: result of fine-tuning an identity, on the CPU.

    Returns:
        The model of the identity, and the digest of its weights, see :func:`digest_of`.
    """
    parts = {UNET: tuned.unet, TEXT_ENCODER: tuned.text_encoder}
    states = {part: state for part, state in parts.items() if state is not None}
    modules = {}
    for part, state in states.items():
        module = copy.deepcopy(getattr(base, part))
        module.load_state_dict(state)
        modules[part] = module
    return dataclasses.replace(base, **modules), digest_of(states)


def with_weights_of_folder(base: StableDiffusion, folder: Path) -> tuple[StableDiffusion, str]:
    """Load the fine-tuned parts of a model from an identity's folder.

    Args:
        base: model with the remaining parts, which stays as it is.
        folder: folder of the identity, with ``unet/`` and, if it was trained, ``text_encoder/``.

    Returns:
        The model of the identity, and the digest of its weights, see :func:`digest_of`.

    Raises:
        FileNotFoundError: the folder has no U-Net.
    """
    if not (folder / UNET).is_dir():
        raise FileNotFoundError(
            f"expected weights of the whole U-Net in {folder / UNET}, got none; make them with "
            "tools/generate_persons.py fine-tune, or keep them with FINE_TUNING.KEEP_FULL_WEIGHTS"
        )
    modules = {}
    states: dict[str, dict[str, Tensor]] = {}
    for part, kind in ((UNET, UNet2DConditionModel), (TEXT_ENCODER, CLIPTextModel)):
        if not (folder / part).is_dir():
            continue
        module = kind.from_pretrained(
            folder, subfolder=part, torch_dtype=base.dtype, use_safetensors=True
        )
        modules[part] = module.to(base.device).eval().requires_grad_(False)
        for file in sorted((folder / part).glob("*.safetensors")):
            states.setdefault(part, {}).update(load_file(file))
    return dataclasses.replace(base, **modules), digest_of(states)


def digest_of(states: States) -> str:
    """Compute a SHA-256 of weights, equal whether they come from memory or from files.

    Args:
        states: names and weights on the CPU by part of the model.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for part in sorted(states):
        for name, value in sorted(states[part].items()):
            digest.update(f"{part}.{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
