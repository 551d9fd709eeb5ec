"""Fine-tune on several identities at once: an adapter each, on the one frozen U-Net.

DreamBooth [0] with low-rank adapters. The rows of all identities lie in one batch and their losses
are summed; gradient, clipping, AdamW and random numbers are per identity, so each is fine-tuned as
if it were alone.

Letters: K identities, B rows of a micro-batch.

[0] Ruiz et al., "DreamBooth: Fine Tuning Text-to-Image Diffusion Models for Subject-Driven
    Generation", CVPR 2023, https://arxiv.org/abs/2208.12242
"""

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from fastreid_ext.diffusion.noising import NoiseSchedule, denoising_loss
from fastreid_ext.diffusion.stable_diffusion import StableDiffusion
from fastreid_ext.generation.fine_tuning.gradient_guard import GradientGuard
from fastreid_ext.generation.fine_tuning.lora_bank import LoraBank
from fastreid_ext.generation.fine_tuning.prior_preservation import prior_preservation_loss
from fastreid_ext.generation.fine_tuning.prompt_rows import PromptRows
from fastreid_ext.generation.fine_tuning.settings import (
    Failure,
    FineTuned,
    FineTuneTask,
    FineTuningSettings,
    check_tasks,
)
from fastreid_ext.generation.fine_tuning.training_rows import MicroBatch, TrainingRows

# Steps between two readings of the losses, for which the host waits for the device.
REPORT_EVERY = 50

# Called with the number of steps done and the mean losses of the identities since the last call.
OnStep = Callable[[int, list[float]], None]


def fine_tune(
    base: StableDiffusion,
    tasks: Sequence[FineTuneTask],
    settings: FineTuningSettings,
    on_step: OnStep | None = None,
) -> list[FineTuned | Failure]:
    """Train an adapter for each task and leave the U-Net unchanged.

    Args:
        base: frozen Stable Diffusion in float32 or bfloat16.
        tasks: identities with images of one size.
        settings: settings of all tasks, with ``method`` "lora".
        on_step: function called every :data:`REPORT_EVERY` steps.

    Returns:
        One result per task, in their order. An identity whose loss or gradient is not finite is a
        failure and does not affect the others.

    Raises:
        ValueError: tasks or settings do not fit the model.
    """
    check_tasks(base, tasks)
    began = time.perf_counter()
    with contextlib.ExitStack() as stack:
        group = _Group(base, tasks, settings)
        stack.callback(group.bank.remove)
        stack.enter_context(checkpointing(base, settings))
        losses = group.train(on_step)
        failures = group.guard.failures()
        seconds = time.perf_counter() - began
        return [
            Failure(task.name, failures[k][0], not_finite_reason(*failures[k], settings))
            if k in failures
            else FineTuned(
                task=task,
                losses=losses[:, k].tolist(),
                seconds=seconds,
                together=len(tasks),
                adapter=group.bank.state_of(k),
                embedding=group.prompts.vector(k),
            )
            for k, task in enumerate(tasks)
        ]


class IdentityLosses:
    """Prior-preserving denoising loss of each identity in a micro-batch.

    Args:
        base: Stable Diffusion whose U-Net predicts.
        rows: rows of which each micro-batch consists.
        settings: settings of the fine-tuning; weights and the kind of loss are read.
        count: number K of identities trained together.

    Attributes:
        schedule: noise schedule that the model was trained with.
    """

    def __init__(
        self, base: StableDiffusion, rows: TrainingRows, settings: FineTuningSettings, count: int
    ) -> None:
        self._base = base
        self._settings = settings
        self._count = count
        self._identity_index = torch.tensor(rows.identity_index, device=base.device)
        self._is_prior = torch.tensor(rows.is_prior, device=base.device)
        self.schedule = NoiseSchedule.from_scheduler(base.scheduler.config, base.device)

    def of_rows(self, batch: MicroBatch, context: Tensor) -> Tensor:
        """Compute the (B,) losses of the rows with prompts ``context`` (B, L, C)."""
        return denoising_loss(
            self._base.unet,
            self.schedule,
            batch.clean,
            batch.noise,
            batch.steps,
            context,
            loss_on=self._settings.loss_on,
            max_sample_weight=self._settings.max_sample_weight,
        )

    def of_identities(self, row_losses: Tensor) -> Tensor:
        """Sum (B,) row losses to the (K,) losses of eq. 1, divided by the accumulated batches."""
        losses = prior_preservation_loss(
            row_losses,
            self._identity_index,
            self._is_prior,
            prior_weight=self._settings.prior_weight,
            count=self._count,
        )
        return losses / self._settings.gradient_accumulation


class _Group:
    """Identities that are trained together."""

    def __init__(
        self, base: StableDiffusion, tasks: Sequence[FineTuneTask], settings: FineTuningSettings
    ) -> None:
        self._settings = settings
        self._count = len(tasks)
        self._device = base.device
        self._rows = TrainingRows(base, tasks, settings)
        self._losses = IdentityLosses(base, self._rows, settings, self._count)
        self.prompts = PromptRows(base, tasks, self._rows, token=settings.token)
        self.guard = GradientGuard(self._count, settings.max_grad_norm, base.device)
        self.bank = LoraBank(
            base.unet,
            count=self._count,
            rank=settings.rank,
            alpha=settings.alpha,
            target_modules=settings.target_modules,
        )
        for k, generator in enumerate(self._rows.generators):
            self.bank.reset(k, generator)

    def train(self, on_step: OnStep | None) -> Tensor:
        """Train, and return the losses (steps, K) on the CPU; fewer steps if all have failed."""
        settings = self._settings
        parameters = [p for p in (self.bank.weights, self.prompts.vectors) if p is not None]
        optimizer = self._optimizer()
        batches = self._rows.micro_batches(settings.micro_batches, len(self._losses.schedule))
        losses = torch.zeros(settings.steps, self._count, device=self._device)
        reported = 0
        for step in range(1, settings.steps + 1):
            for batch in itertools.islice(batches, settings.gradient_accumulation):
                losses[step - 1] += self._backward(batch)
            self.guard.check(step, losses[step - 1], parameters)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if step % REPORT_EVERY == 0 or step == settings.steps:
                if on_step is not None:
                    on_step(step, losses[reported:step].mean(dim=0).tolist())
                reported = step
                if len(self.guard.failures()) == self._count:
                    break
        return losses[:reported].cpu()

    def _backward(self, batch: MicroBatch) -> Tensor:
        """Add the gradients of a micro-batch and return its share of the loss (K,)."""
        self.bank.select(self._rows.identity_index)
        losses = self._losses.of_identities(self._losses.of_rows(batch, self.prompts.context()))
        losses.sum().backward()
        return losses.detach()

    def _optimizer(self) -> torch.optim.Optimizer:
        groups = [{"params": [self.bank.weights]}]
        if self.prompts.vectors is not None:  # 0 is no better place for a word than another
            groups.append({"params": [self.prompts.vectors], "weight_decay": 0.0})
        return torch.optim.AdamW(
            groups,
            lr=self._settings.base_lr,
            weight_decay=self._settings.weight_decay,
            fused=True,
        )


@contextlib.contextmanager
def checkpointing(base: StableDiffusion, settings: FineTuningSettings) -> Iterator[None]:
    """Switch gradient checkpointing of the U-Net on within the block if the settings ask for it."""
    if not settings.gradient_checkpointing:
        yield
        return
    base.unet.enable_gradient_checkpointing()
    try:
        yield
    finally:
        base.unet.disable_gradient_checkpointing()


def not_finite_reason(step: int, quantity: str, settings: FineTuningSettings) -> str:
    """Describe an identity whose loss or gradient became infinite or NaN."""
    return (
        f"the {quantity} was not finite at step {step} of {settings.steps}; lower "
        f"GENERATION.FINE_TUNING.BASE_LR ({settings.base_lr:g}), look at the identity's images, "
        "and run again with --retry failed"
    )
