"""Which part of the U-Net is trained: the modes of DCAC's ablation of fine-tuning strategies.

Parameters are counted for Stable Diffusion 1.5: 859.52 M in the U-Net, of which "partial1" trains
512.86 M, "partial2" 609.90 M and "lora" of rank 8 adds 2.49 M.
"""

import torch
from diffusers import UNet2DConditionModel
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from torch import nn

_UP = ("time_embedding", "up_blocks", "conv_norm_out", "conv_out")
# Trained parts of the U-Net by mode; "" is the whole.
_TRAINED = {
    "frozen": (),
    "lora": (),
    "partial1": _UP,
    "partial2": (*_UP, "mid_block"),
    "full": ("",),
    "scratch": ("",),
}
MODES = tuple(_TRAINED)
# Linear layers with an adapter, in diffusers' names: self- and cross-attention, and the first layer
# of the feed-forward network; not its second.
LORA_TARGETS = ("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj")
_LORA_ALPHA = 1.0  # the adapter's output is multiplied by alpha / rank


def train_parts(unet: UNet2DConditionModel, mode: str, *, rank: int) -> None:
    """Freeze a U-Net but for the part of a mode, in place.

    Trained parameters become float32 and contiguous, as fastreid's flat buffers need them.

    Args:
        unet: U-Net in the dtype of its frozen weights.
        mode: name in :data:`MODES`; "lora" adds adapters through peft.
        rank: rank of the adapters, at least 1; used by "lora" alone.
    """
    unet.requires_grad_(False)
    if mode == "lora":
        unet.add_adapter(
            LoraConfig(r=rank, lora_alpha=_LORA_ALPHA, target_modules=list(LORA_TARGETS))
        )
        _leave_casts_to_autocast(unet)
    for name in _TRAINED[mode]:
        unet.get_submodule(name).requires_grad_(True)
    _fit_for_flat_buffers(unet)


def _leave_casts_to_autocast(unet: nn.Module) -> None:
    """Keep adapters from casting their input to float32, which autocast would cast back.

    Half-precision weights compute under autocast (:class:`.branch.DiffusionBranch`). The casts
    change no value, but copy every input of an adapter, and the copies are kept for the backward
    pass.
    """
    for module in unet.modules():
        if isinstance(module, LoraLayer):
            module.cast_input_dtype_enabled = False


def _fit_for_flat_buffers(unet: nn.Module) -> None:
    for parameter in unet.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.float32).contiguous()
