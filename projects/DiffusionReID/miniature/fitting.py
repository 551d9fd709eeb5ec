"""The loop that trains each miniature model: resumable, and equal whether interrupted or not.

The randomness of a step is a function of (seed, stage, step) alone.
"""

import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from fastreid_ext.atomic import atomic_write
from fastreid_ext.generation.runs.seeds import seed_of

_LOGGER = logging.getLogger(__name__)

LossOf = Callable[[np.random.Generator], Tensor]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long and how fast a model is trained, with AdamW and a cosine after a linear warm-up."""

    steps: int
    batch_size: int
    rate: float  # the highest learning rate
    weight_decay: float = 0.01
    warm_up: int = 100  # steps
    clip_gradients: float = 1.0  # largest norm
    average: float = 0.0  # decay of the moving average of the weights, which is the result; 0: none
    checkpoint_every: int = 200  # steps
    log_every: int = 100  # steps

    def rate_at(self, step: int) -> float:
        """Compute the learning rate of a step, counted from 0."""
        if step < self.warm_up:
            return self.rate * (step + 1) / self.warm_up
        progress = (step - self.warm_up) / max(self.steps - self.warm_up, 1)
        return self.rate * 0.5 * (1 + math.cos(math.pi * progress))


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a training is kept while it runs.

    Attributes:
        stage: name of the model, for messages and seeds.
        checkpoint: file, written every now and then, read at the start, removed at the end.
        seed: seed of all random numbers.
        data: words that tell the training data apart from others.
    """

    stage: str
    checkpoint: Path
    seed: int = 0
    data: str = ""


def fit(model: nn.Module, loss_of: LossOf, schedule: Schedule, progress: Progress) -> list[float]:
    """Train ``model`` in place; what an earlier call left is continued.

    Args:
        model: on its device. Only its parameters that require a gradient are trained.
        loss_of: function that samples a batch with the given generator and computes its loss.
        schedule: learning rates and number of steps.
        progress: files and seed of the training.

    Returns:
        The loss of each step.

    Raises:
        FloatingPointError: a loss is not finite.
        ValueError: the checkpoint is damaged or of another training.
    """
    run = _Run(model, schedule, progress)
    run.resume()
    model.train()
    start = time.monotonic()
    first = len(run.losses)
    for step in range(first, schedule.steps):
        run.advance(step, loss_of)
        done = step + 1
        if done % schedule.log_every == 0 or done == schedule.steps:
            left = (time.monotonic() - start) / (done - first) * (schedule.steps - done)
            recent = np.mean(run.losses[-schedule.log_every :])
            _LOGGER.info(
                "%s: step %d of %d, loss %.4f, %.0f s left",
                *(progress.stage, done, schedule.steps, recent, left),
            )
        if done % schedule.checkpoint_every == 0 and done < schedule.steps:
            run.save()
    run.finish()
    return run.losses


class _Run:
    """Model, optimizer and average of one training, and their checkpoint."""

    def __init__(self, model: nn.Module, schedule: Schedule, progress: Progress) -> None:
        self.model = model
        self.schedule = schedule
        self.progress = progress
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.device = self.parameters[0].device
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=schedule.rate, weight_decay=schedule.weight_decay
        )
        self.average = (
            EMAModel(self.parameters, decay=schedule.average) if schedule.average else None
        )
        self.losses: list[float] = []

    def advance(self, step: int, loss_of: LossOf) -> None:
        """Do one step of the optimizer."""
        rng = np.random.default_rng(seed_of(self.progress.seed, self.progress.stage, step))
        loss = loss_of(rng)
        value = loss.item()
        if not math.isfinite(value):
            raise FloatingPointError(
                f"expected a finite loss, got {value} in step {step} of the {self.progress.stage}; "
                f"lower its rate of {self.schedule.rate}, and delete {self.progress.checkpoint}"
            )
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, self.schedule.clip_gradients)
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate_at(step)
        self.optimizer.step()
        if self.average:
            self.average.step(self.parameters)
        self.losses.append(value)

    def save(self) -> None:
        """Write the checkpoint."""
        state: dict[str, Any] = {
            "settings": self._settings(),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict() if self.average else None,
            "losses": self.losses,
        }
        self.progress.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(self.progress.checkpoint) as file:
            torch.save(state, file)

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one."""
        if not self.progress.checkpoint.exists():
            return
        state = _read(self.progress.checkpoint)
        if state["settings"] != self._settings():
            raise ValueError(
                f"{self.progress.checkpoint}: expected a checkpoint of {self._settings()}, got "
                f"one of {state['settings']}; delete it to begin again, or give the same settings"
            )
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average:
            self.average.load_state_dict(state["average"])
            self.average.to(self.device)
        self.losses = state["losses"]
        _LOGGER.info("%s: goes on after step %d", self.progress.stage, len(self.losses))

    def finish(self) -> None:
        """Give the model its final weights and drop the checkpoint."""
        if self.average:
            self.average.copy_to(self.parameters)
        self.model.eval()
        self.progress.checkpoint.unlink(missing_ok=True)

    def _settings(self) -> str:
        seen = {"stage": self.progress.stage, "seed": self.progress.seed}
        return json.dumps({**seen, "data": self.progress.data, **asdict(self.schedule)})


def _read(checkpoint: Path) -> dict[str, Any]:
    """Read a checkpoint; whatever is wrong with the file, torch's errors differ by its damage."""
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(
            f"{checkpoint}: expected a checkpoint of a training, got a damaged file "
            f"({type(error).__name__}); delete it to begin that stage again"
        ) from error
    return state
