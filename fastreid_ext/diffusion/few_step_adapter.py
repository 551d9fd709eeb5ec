"""Base model that samples in few steps: a LoRA such as LCM-LoRA, merged into its U-Net.

The adapters of the identities are added to the merged U-Net as to any other. Choose
SAMPLING.SCHEDULER, STEPS and GUIDANCE_SCALE as the adapter's authors say (LCM-LoRA: LCMScheduler,
4 to 8 steps, guidance 1 to 2).
"""

import copy
import dataclasses
from pathlib import Path

from diffusers import StableDiffusionPipeline

from fastreid_ext.diffusion.compute import set_up
from fastreid_ext.diffusion.stable_diffusion import StableDiffusion
from fastreid_ext.hub import hub_folder
from fastreid_ext.manifest import sha256_of

_USUAL = "pytorch_lora_weights.safetensors"
_KEY = "GENERATION.SAMPLING.FEW_STEP_ADAPTER"


def with_few_step_adapter(
    base: StableDiffusion, source: str, *, download: bool = False
) -> StableDiffusion:
    """Merge an adapter into a copy of the U-Net.

    Args:
        base: Stable Diffusion, which stays unchanged; all parts but the U-Net are shared.
        source: hub id or folder of a LoRA of the U-Net, safetensors in any layout of diffusers.
        download: whether the network may be used; otherwise only the hub's cache is searched.

    Raises:
        FileNotFoundError: the adapter is neither here nor in the hub's cache.
        ValueError: the file is not a LoRA of this model's U-Net alone.
    """
    path = find_few_step_adapter(source, download)
    weights, alphas, metadata = StableDiffusionPipeline.lora_state_dict(
        str(path.parent),
        weight_name=path.name,
        use_safetensors=True,
        local_files_only=True,
        unet_config=base.unet.config,
        return_lora_metadata=True,
    )
    if other := sorted({key.split(".")[0] for key in weights} - {"unet"}):
        raise ValueError(
            f"expected a LoRA of the U-Net alone in {path} ({_KEY}), got weights of "
            f"{', '.join(other)} too; choose one made for fewer steps, such as LCM-LoRA"
        )
    unet = copy.deepcopy(base.unet)
    try:
        StableDiffusionPipeline.load_lora_into_unet(weights, alphas, unet, metadata=metadata)
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"{path} ({_KEY}) does not fit the U-Net of {base.name}: {error}; choose an adapter "
            "made for this model"
        ) from error
    unet.fuse_lora()
    unet.unload_lora()
    unet.requires_grad_(False)
    set_up(unet, base.vae, base.compute)  # a copy is not compiled
    name = Path(source).name if Path(source).expanduser().exists() else source
    return dataclasses.replace(base, unet=unet, name=f"{base.name}+{name}@{sha256_of(path)[:12]}")


def find_few_step_adapter(source: str, download: bool = False) -> Path:
    """Find the file of an adapter; see :func:`with_few_step_adapter`."""
    folder = Path(source).expanduser()
    if not folder.is_dir():
        folder = hub_folder(source, key=_KEY, wanted=[_USUAL], download=download)
    files = sorted(folder.glob("*.safetensors"))
    if len(files) == 1 or folder / _USUAL in files:
        return files[0] if len(files) == 1 else folder / _USUAL
    raise FileNotFoundError(
        f"expected {_USUAL}, or one file of another name, in {folder} ({_KEY}), got "
        f"{[path.name for path in files] or 'no safetensors'}; put one LoRA in a folder of its own"
    )
