"""Learn several identities at once: an adapter each, on the one frozen U-Net.

DreamBooth [0] with low-rank adapters. The identities' rows lie in one batch, the losses are summed,
and everything else (gradient, clipping, AdamW, random numbers) is per identity, so each learns what
it would learn alone.

Letters: K identities, B rows of a pass.

[0] Ruiz et al., "DreamBooth: Fine Tuning Text-to-Image Diffusion Models for Subject-Driven
    Generation", CVPR 2023, https://arxiv.org/abs/2208.12242
"""

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from fastreid_ext.diffusion.stable_diffusion import StableDiffusion
from fastreid_ext.generation.fine_tuning.finite_guard import FiniteGuard
from fastreid_ext.generation.fine_tuning.lora_bank import LoraBank
from fastreid_ext.generation.fine_tuning.noising import Noising
from fastreid_ext.generation.fine_tuning.prior_preservation import prior_preservation_loss
from fastreid_ext.generation.fine_tuning.prompt_rows import PromptRows
from fastreid_ext.generation.fine_tuning.settings import (
    Failure,
    FineTuned,
    FineTuneTask,
    FineTuningSettings,
    check_tasks,
)
from fastreid_ext.generation.fine_tuning.training_rows import Pass, TrainingRows

# Steps between two looks at the losses, for which the host waits for the device.
LOOK_EVERY = 50

# Told the number of steps done and the mean losses of the identities since it was last told.
OnStep = Callable[[int, list[float]], None]


def fine_tune(
    base: StableDiffusion,
    tasks: Sequence[FineTuneTask],
    settings: FineTuningSettings,
    on_step: OnStep | None = None,
) -> list[FineTuned | Failure]:
    """Train an adapter for each task; the U-Net is afterwards what it was.

    Args:
        base: the frozen model.
        tasks: identities with images of one size.
        settings: of all of them, ``method`` "lora".
        on_step: told every :data:`LOOK_EVERY` steps.

    Returns:
        One for each task, in their order. An identity whose loss or gradient is not finite is a
        failure; the others do not notice.

    Raises:
        ValueError: the tasks or settings do not go with the model.
    """
    check_tasks(base, list(tasks), settings)
    began = time.perf_counter()
    with contextlib.ExitStack() as stack:
        group = _Group(base, tasks, settings)
        stack.callback(group.bank.remove)
        stack.enter_context(checkpointing(base, settings))
        losses = group.train(on_step)
        failures = group.guard.failures()
        seconds = time.perf_counter() - began
        return [
            Failure(task.name, failures[k][0], not_finite(*failures[k], settings))
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


class _Group:
    """Identities that are trained together."""

    def __init__(
        self, base: StableDiffusion, tasks: Sequence[FineTuneTask], settings: FineTuningSettings
    ) -> None:
        self._settings, self._count = settings, len(tasks)
        self._rows = TrainingRows(base, tasks, settings)
        self._owners = torch.tensor(self._rows.owners, device=base.device)
        self._is_prior = torch.tensor(self._rows.is_prior, device=base.device)
        self._noising = Noising(base, settings)
        self.prompts = PromptRows(base, tasks, self._rows, token=settings.token)
        self.guard = FiniteGuard(self._count, settings.max_grad_norm, base.device)
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
        """Return the losses (steps, K) on the CPU; fewer steps if all identities failed."""
        settings, told = self._settings, 0
        parameters = [p for p in (self.bank.weights, self.prompts.vectors) if p is not None]
        optimizer = self._optimizer()
        passes = self._rows.passes(
            settings.steps * settings.gradient_accumulation, self._noising.steps
        )
        losses = torch.zeros(settings.steps, self._count, device=self._owners.device)
        for step in range(1, settings.steps + 1):
            for taken in itertools.islice(passes, settings.gradient_accumulation):
                losses[step - 1] += self._backward(taken)
            self.guard.check(step, losses[step - 1], parameters)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if step % LOOK_EVERY == 0 or step == settings.steps:
                if on_step is not None:
                    on_step(step, losses[told:step].mean(dim=0).tolist())
                told = step
                if len(self.guard.failures()) == self._count:
                    break
        return losses[:told].cpu()

    def _backward(self, taken: Pass) -> Tensor:
        """Add the gradients of a pass and return the share of the loss (K,)."""
        self.bank.select(self._rows.owners)
        errors = self._noising.errors(taken, self.prompts.context())
        losses = prior_preservation_loss(
            errors,
            self._owners,
            self._is_prior,
            prior_weight=self._settings.prior_weight,
            count=self._count,
        )
        losses = losses / self._settings.gradient_accumulation
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
    """Let the U-Net compute activations twice within the block, if the settings say so."""
    if not settings.gradient_checkpointing:
        yield
        return
    base.unet.enable_gradient_checkpointing()
    try:
        yield
    finally:
        base.unet.disable_gradient_checkpointing()


def not_finite(step: int, what: str, settings: FineTuningSettings) -> str:
    """Return the reason of an identity whose loss or gradient became infinite or no number."""
    return (
        f"the {what} was not finite at step {step} of {settings.steps}; lower "
        f"GENERATION.FINE_TUNING.BASE_LR ({settings.base_lr:g}), look at the identity's images, "
        "and run again with --retry failed"
    )
