"""Inputs and results of fine-tuning: settings, one task per identity, its result or failure."""

import dataclasses
from collections.abc import Sequence

import torch
from fastreid.config import CfgNode
from torch import Tensor

from fastreid_ext.diffusion.stable_diffusion import StableDiffusion
from fastreid_ext.generation.runs.settings import read_settings


@dataclasses.dataclass(frozen=True, kw_only=True)
class FineTuningSettings:
    """Settings of ``GENERATION.FINE_TUNING``, where the comments of the keys explain each.

    Attributes:
        token: word from which the embedding of an identity's own token ``<name>`` starts; "" trains
            no token.
    """

    method: str = "lora"
    rank: int = 8
    alpha: float = 8.0
    target_modules: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")
    text_encoder: bool = False
    steps: int = 1000
    batch_size: int = 1
    gradient_accumulation: int = 1
    base_lr: float = 1e-4
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    prior_weight: float = 1.0
    loss_on: str = "prediction"
    max_sample_weight: float = 5.0
    gradient_checkpointing: bool = False
    token: str = ""
    adapter_dtype: str = "float32"

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "FineTuningSettings":
        """Read ``GENERATION.FINE_TUNING`` and ``GENERATION.PROMPT``."""
        tuning = cfg.GENERATION.FINE_TUNING
        prompt = cfg.GENERATION.PROMPT
        token = prompt.TOKEN if prompt.TRAIN_TOKEN else ""
        return read_settings(cls, tuning, alpha=float(tuning.ALPHA), token=token)

    @property
    def micro_batches(self) -> int:
        """Number of micro-batches in the whole fine-tuning of an identity."""
        return self.steps * self.gradient_accumulation


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FineTuneTask:
    """An identity to fine-tune the model on.

    Attributes:
        name: name of the identity and of its folder.
        images: (N, 3, H, W) uint8 RGB at ``GENERATION.SIZE``.
        prompt: text with the identity token.
        reference_prompt: the same text without the token.
        reference_latents: mean and standard deviation, each (R, c, h, w), of the latents of the
            :class:`.sampling.reference_set.ReferenceSet`; None turns prior preservation off.
        seed: seed of all random numbers of this identity.
    """

    name: str
    images: Tensor
    prompt: str
    reference_prompt: str = ""
    reference_latents: tuple[Tensor, Tensor] | None = None
    seed: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FineTuned:
    """Weights fine-tuned on one identity.

    Attributes:
        task: task that was carried out.
        losses: loss of each step, eq. 1 of :mod:`.prior_preservation`.
        seconds: time of the whole group that was trained together.
        together: number of identities in that group.
        adapter: tensors on the CPU under peft's names; None with method full.
        unet: float32 weights of the U-Net on the CPU; None with method lora.
        text_encoder: float32 weights of the text encoder on the CPU; None if it was not trained.
        embedding: (C,) embedding of the token ``<name>``; None if it was not trained.
    """

    task: FineTuneTask
    losses: list[float]
    seconds: float
    together: int = 1
    adapter: dict[str, Tensor] | None = None
    unet: dict[str, Tensor] | None = None
    text_encoder: dict[str, Tensor] | None = None
    embedding: Tensor | None = None

    @property
    def name(self) -> str:
        """Name of the identity."""
        return self.task.name


@dataclasses.dataclass(frozen=True)
class Failure:
    """An identity whose fine-tuning failed.

    Attributes:
        name: name of the identity and of its folder.
        step: number of the failing step, from 1.
        reason: cause and remedy in plain words.
    """

    name: str
    step: int
    reason: str


def check_tasks(base: StableDiffusion, tasks: Sequence[FineTuneTask]) -> None:
    """Validate tasks against the model.

    Raises:
        ValueError: float16, tasks that share a name, images that are missing or of several sizes,
            or reference latents of another size.
    """
    if base.dtype == torch.float16:
        raise ValueError(
            "expected GENERATION.DTYPE bfloat16 or float32 for fine-tuning, got float16, in which "
            "small gradients become 0; bfloat16 costs the same"
        )
    names = [task.name for task in tasks]
    if not tasks or len(set(names)) < len(names):
        raise ValueError(f"expected tasks with a name each, got {names or 'none'}")
    sizes = {tuple(task.images.shape[1:]) for task in tasks}
    if len(sizes) > 1 or any(not len(task.images) for task in tasks):
        raise ValueError(
            f"expected at least one image (3, H, W) of each identity, all of one size, got sizes "
            f"{sorted(sizes)} and {[len(task.images) for task in tasks]} images; resize them to "
            "GENERATION.SIZE"
        )
    shape = base.latent_shape(tasks[0].images.shape[2:])
    for task in tasks:
        parts = task.reference_latents or ()
        wrong = [tuple(part.shape) for part in parts if part.shape[1:] != shape or not len(part)]
        if wrong:
            raise ValueError(
                f"expected reference latents (R, {', '.join(map(str, shape))}) for {task.name}, "
                f"got {wrong[0]}; make the reference set again at this GENERATION.SIZE"
            )
