"""What fine-tuning is given and gives back: settings, a task per identity, and what came of it."""

import dataclasses

import torch
from fastreid.config import CfgNode
from torch import Tensor

from fastreid_ext.diffusion.stable_diffusion import StableDiffusion


@dataclasses.dataclass(frozen=True, kw_only=True)
class FineTuningSettings:
    """How identities are learned; the comments of ``GENERATION.FINE_TUNING`` say what is what.

    Attributes:
        token: word of the prompts' identity token; "" if its embedding is not trained. A task's
            own token is ``<name>``.
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
        tuning, prompt = cfg.GENERATION.FINE_TUNING, cfg.GENERATION.PROMPT
        return cls(
            method=tuning.METHOD,
            rank=tuning.RANK,
            alpha=float(tuning.ALPHA),
            target_modules=tuple(tuning.TARGET_MODULES),
            text_encoder=tuning.TEXT_ENCODER,
            steps=tuning.STEPS,
            batch_size=tuning.BATCH_SIZE,
            gradient_accumulation=tuning.GRADIENT_ACCUMULATION,
            base_lr=tuning.BASE_LR,
            weight_decay=tuning.WEIGHT_DECAY,
            max_grad_norm=tuning.MAX_GRAD_NORM,
            prior_weight=tuning.PRIOR_WEIGHT,
            loss_on=tuning.LOSS_ON,
            max_sample_weight=tuning.MAX_SAMPLE_WEIGHT,
            gradient_checkpointing=tuning.GRADIENT_CHECKPOINTING,
            token=prompt.TOKEN if prompt.TRAIN_TOKEN else "",
            adapter_dtype=tuning.ADAPTER_DTYPE,
        )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FineTuneTask:
    """An identity to learn.

    Attributes:
        name: of the identity.
        images: (N, 3, H, W) uint8 RGB at ``GENERATION.SIZE``.
        prompt: with the identity token.
        reference_prompt: without it.
        reference_latents: mean and standard deviation (R, c, h, w) of the latents of the reference
            set, as :class:`.drawing.reference_set.ReferenceSet` has them; None = no prior
            preservation.
        seed: of all random numbers of this identity.
    """

    name: str
    images: Tensor
    prompt: str
    reference_prompt: str = ""
    reference_latents: tuple[Tensor, Tensor] | None = None
    seed: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FineTuned:
    """An identity that was learned.

    Attributes:
        task: the task.
        losses: of each step, eq. 1 of :mod:`.prior_preservation`.
        seconds: of the group that it was learned in.
        together: identities in that group.
        adapter: peft's names -> tensors on the CPU; None with method full.
        unet: weights in float32 on the CPU, with method full.
        text_encoder: likewise, if it was trained.
        embedding: (C,) of the token ``<name>``, if it was trained.
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
        """Of the identity."""
        return self.task.name


@dataclasses.dataclass(frozen=True)
class Failure:
    """An identity that could not be learned.

    Attributes:
        name: of the identity.
        step: at which, from 1.
        reason: in words a person can act on.
    """

    name: str
    step: int
    reason: str


def check_tasks(
    base: StableDiffusion, tasks: list[FineTuneTask], settings: FineTuningSettings
) -> None:
    """Raise ValueError for what no identity can be learned with."""
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
