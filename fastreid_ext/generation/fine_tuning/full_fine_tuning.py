"""Fine-tune the whole U-Net on an identity, as the paper does, and the text encoder on request.

The trained weights are float32 during training, while the forward passes compute in the base
model's dtype (autocast). A copy of the original weights stays on the CPU and is restored for the
next identity.
"""

import contextlib
import itertools
import math
import time
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from fastreid_ext.diffusion.stable_diffusion import StableDiffusion
from fastreid_ext.generation.fine_tuning.dreambooth import (
    REPORT_EVERY,
    IdentityLosses,
    OnStep,
    checkpointing,
    not_finite_reason,
)
from fastreid_ext.generation.fine_tuning.prompt_rows import PromptRows
from fastreid_ext.generation.fine_tuning.settings import (
    Failure,
    FineTuned,
    FineTuneTask,
    FineTuningSettings,
    check_tasks,
)
from fastreid_ext.generation.fine_tuning.training_rows import MicroBatch, TrainingRows


class FullFineTuner:
    """Fine-tuning of one identity after the other, without reading the base model again.

    Args:
        base: frozen Stable Diffusion; its weights are restored bit by bit after each identity.
        settings: settings of the fine-tuning, with ``method`` "full".
    """

    def __init__(self, base: StableDiffusion, settings: FineTuningSettings) -> None:
        self._base = base
        self._settings = settings
        self._trained: list[nn.Module] = [base.unet]
        if settings.text_encoder:
            self._trained.append(base.text_encoder)
        self._originals = [_on_cpu(part) for part in self._trained]

    def fine_tune(self, task: FineTuneTask, on_step: OnStep | None = None) -> FineTuned | Failure:
        """Fine-tune the model on one identity and restore it.

        Args:
            task: images and prompts of the identity.
            on_step: function called every :data:`.dreambooth.REPORT_EVERY` steps.

        Raises:
            ValueError: task or settings do not fit the model.
        """
        check_tasks(self._base, [task])
        began = time.perf_counter()
        rows = TrainingRows(self._base, [task], self._settings)
        with self._in_training():
            run = _Run(self._base, task, rows, self._settings, self._parameters())
            losses, failure = run.train(on_step)
            if failure:
                return Failure(task.name, failure[0], not_finite_reason(*failure, self._settings))
            weights = [_on_cpu(part) for part in self._trained]
        return FineTuned(
            task=task,
            losses=losses,
            seconds=time.perf_counter() - began,
            unet=weights[0],
            text_encoder=weights[1] if len(weights) > 1 else None,
            embedding=run.prompts.vector(0),
        )

    def _parameters(self) -> list[nn.Parameter]:
        return [parameter for part in self._trained for parameter in part.parameters()]

    @contextlib.contextmanager
    def _in_training(self) -> Iterator[None]:
        """Bring the parts to float32 with gradients, and restore them afterwards."""
        for part in self._trained:
            part.float().requires_grad_(True)
        try:
            with checkpointing(self._base, self._settings):
                yield
        finally:
            for part, state in zip(self._trained, self._originals, strict=True):
                part.zero_grad(set_to_none=True)
                part.requires_grad_(False).to(self._base.dtype)
                part.load_state_dict(state)


class _Run:
    """Training of one identity."""

    def __init__(
        self,
        base: StableDiffusion,
        task: FineTuneTask,
        rows: TrainingRows,
        settings: FineTuningSettings,
        weights: list[nn.Parameter],
    ) -> None:
        self._settings = settings
        self._rows = rows
        self._weights = weights
        self._device = base.device
        self._autocast = {"dtype": base.dtype, "enabled": base.dtype != torch.float32}
        self._losses = IdentityLosses(base, rows, settings, count=1)
        self.prompts = PromptRows(
            base,
            [task],
            rows,
            token=settings.token,
            trains_encoder=settings.text_encoder,
        )

    def train(self, on_step: OnStep | None) -> tuple[list[float], tuple[int, str] | None]:
        """Train, and return the losses of the steps, and step and name of a diverged quantity."""
        settings = self._settings
        tokens = [] if self.prompts.vectors is None else [self.prompts.vectors]
        optimizer = torch.optim.AdamW(
            [{"params": self._weights}, {"params": tokens, "weight_decay": 0.0}],
            lr=settings.base_lr,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        max_norm = settings.max_grad_norm or math.inf
        batches = self._rows.micro_batches(settings.micro_batches, len(self._losses.schedule))
        found = torch.zeros(settings.steps, 2, device=self._device)  # loss and norm of each step
        for step in range(1, settings.steps + 1):
            own = itertools.islice(batches, settings.gradient_accumulation)
            found[step - 1, 0] = torch.stack([self._backward(batch) for batch in own]).sum()
            found[step - 1, 1] = nn.utils.clip_grad_norm_([*self._weights, *tokens], max_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if step % REPORT_EVERY == 0 or step == settings.steps:
                losses = found[:step, 0].tolist()
                if failure := _first_not_finite(found[:step]):
                    return losses[: failure[0] - 1], failure
                if on_step is not None:
                    recent = losses[(step - 1) // REPORT_EVERY * REPORT_EVERY :]
                    on_step(step, [sum(recent) / len(recent)])
        return losses, None

    def _backward(self, batch: MicroBatch) -> Tensor:
        with torch.autocast(self._device.type, **self._autocast):
            row_losses = self._losses.of_rows(batch, self.prompts.context())
        loss = self._losses.of_identities(row_losses).sum()
        loss.backward()
        return loss.detach()


def _first_not_finite(found: Tensor) -> tuple[int, str] | None:
    """Find the first number of (steps, 2) that is not finite: its step, from 1, and its name."""
    wrong = (~found.isfinite()).nonzero().tolist()  # sorted
    if not wrong:
        return None
    step, column = wrong[0]
    return step + 1, ("loss", "gradient")[column]


def _on_cpu(part: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in part.state_dict().items()}
