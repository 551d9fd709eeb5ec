"""Learn an identity by the whole U-Net, as the paper does, and by the text encoder if wanted.

The weights that are trained are in float32 meanwhile, and the passes compute in the base model's
type (autocast). A copy of the untouched weights stays on the CPU, and is put back for the next
identity.
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
    LOOK_EVERY,
    OnStep,
    checkpointing,
    not_finite,
)
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


class FullFineTuner:
    """Learns identities one after the other; the base model is never read from the disk again.

    Args:
        base: the frozen model; after each identity it is what it was, bit by bit.
        settings: ``method`` "full".
    """

    def __init__(self, base: StableDiffusion, settings: FineTuningSettings) -> None:
        self._base, self._settings = base, settings
        self._trained = [base.unet, *([base.text_encoder] if settings.text_encoder else [])]
        self._untouched = [_on_cpu(part) for part in self._trained]

    def learn(self, task: FineTuneTask, on_step: OnStep | None = None) -> FineTuned | Failure:
        """Learn an identity.

        Args:
            task: of it.
            on_step: told every :data:`.tuning.dreambooth.LOOK_EVERY` steps.

        Raises:
            ValueError: task or settings do not go with the model.
        """
        check_tasks(self._base, [task], self._settings)
        began = time.perf_counter()
        rows = TrainingRows(self._base, [task], self._settings)
        with self._in_training():
            run = _Run(self._base, task, rows, self._settings, self._parameters())
            losses, failure = run.train(on_step)
            if failure:
                return Failure(task.name, failure[0], not_finite(*failure, self._settings))
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
        """Bring the parts to float32 with gradients, and afterwards back to what they were."""
        for part in self._trained:
            part.float().requires_grad_(True)
        try:
            with checkpointing(self._base, self._settings):
                yield
        finally:
            for part, state in zip(self._trained, self._untouched, strict=True):
                part.zero_grad(set_to_none=True)
                part.requires_grad_(False).to(self._base.dtype)
                part.load_state_dict(state)


class _Run:
    """One identity that is being learned."""

    def __init__(
        self,
        base: StableDiffusion,
        task: FineTuneTask,
        rows: TrainingRows,
        settings: FineTuningSettings,
        weights: list[nn.Parameter],
    ) -> None:
        self._settings, self._rows, self._weights = settings, rows, weights
        self._noising = Noising(base, settings)
        self._cast = {"dtype": base.dtype, "enabled": base.dtype != torch.float32}
        self._device = base.device
        self._owners = torch.tensor(rows.owners, device=base.device)
        self._is_prior = torch.tensor(rows.is_prior, device=base.device)
        self.prompts = PromptRows(
            base,
            [task],
            rows,
            token=settings.token,
            trains_encoder=settings.text_encoder,
        )

    def train(self, on_step: OnStep | None) -> tuple[list[float], tuple[int, str] | None]:
        """Return the losses of the steps, and step and name of what was not finite."""
        settings = self._settings
        words = [] if self.prompts.vectors is None else [self.prompts.vectors]
        optimizer = torch.optim.AdamW(
            [{"params": self._weights}, {"params": words, "weight_decay": 0.0}],
            lr=settings.base_lr,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        largest = settings.max_grad_norm or math.inf
        passes = self._rows.passes(
            settings.steps * settings.gradient_accumulation, self._noising.steps
        )
        found = torch.zeros(settings.steps, 2, device=self._device)  # loss and norm of each step
        for step in range(1, settings.steps + 1):
            taken = itertools.islice(passes, settings.gradient_accumulation)
            found[step - 1, 0] = torch.stack([self._backward(one) for one in taken]).sum()
            found[step - 1, 1] = nn.utils.clip_grad_norm_([*self._weights, *words], largest)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if step % LOOK_EVERY == 0 or step == settings.steps:
                losses = found[:step, 0].tolist()
                if failure := _first_not_finite(found[:step]):
                    return losses[: failure[0] - 1], failure
                if on_step is not None:
                    recent = losses[(step - 1) // LOOK_EVERY * LOOK_EVERY :]
                    on_step(step, [sum(recent) / len(recent)])
        return losses, None

    def _backward(self, taken: Pass) -> Tensor:
        with torch.autocast(self._device.type, **self._cast):
            errors = self._noising.errors(taken, self.prompts.context())
        losses = prior_preservation_loss(
            errors,
            self._owners,
            self._is_prior,
            prior_weight=self._settings.prior_weight,
            count=1,
        )
        loss = losses.sum() / self._settings.gradient_accumulation
        loss.backward()
        return loss.detach()


def _first_not_finite(found: Tensor) -> tuple[int, str] | None:
    """Return step, from 1, and name of the first number of (steps, 2) that is not finite."""
    wrong = (~found.isfinite()).nonzero().tolist()  # sorted
    return (wrong[0][0] + 1, ("loss", "gradient")[wrong[0][1]]) if wrong else None


def _on_cpu(part: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in part.state_dict().items()}
