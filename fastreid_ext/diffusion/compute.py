"""Settings of the U-Net and the VAE that change speed and memory but not results."""

import dataclasses

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from fastreid.config import CfgNode


@dataclasses.dataclass(frozen=True, kw_only=True)
class ComputeSettings:
    """Settings of ``GENERATION.COMPUTE``, where the comments of the keys explain each."""

    channels_last: bool = False
    compile: str = ""
    tf32: bool = False
    attention_slicing: bool = False
    vae_slicing: bool = False
    vae_tiling: bool = False

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "ComputeSettings":
        """Read ``GENERATION.COMPUTE``."""
        return cls(**{key.lower(): value for key, value in cfg.GENERATION.COMPUTE.items()})


def set_up(unet: UNet2DConditionModel, vae: AutoencoderKL, compute: ComputeSettings) -> None:
    """Apply settings to a U-Net and a VAE in place.

    TF32 is a setting of the whole process: it is switched on here and never off.
    """
    if compute.tf32:
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
    if compute.channels_last:
        unet.to(memory_format=torch.channels_last)
        vae.to(memory_format=torch.channels_last)
    if compute.attention_slicing:
        unet.set_attention_slice("auto")
    if compute.vae_slicing:
        vae.enable_slicing()
    if compute.vae_tiling:
        vae.enable_tiling()
    if compute.compile:
        # Adapters are hooks that come and go; without these guards torch would go on computing
        # with those that were there at the first call, or without any.
        torch._dynamo.config.skip_nnmodule_hook_guards = False
        unet.compile(backend=compute.compile)
