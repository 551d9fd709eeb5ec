"""Handle NaN and infinite losses: skip a bounded number of steps, then stop.

A skipped step leaves no trace in the model: the optimizer is not called, and every buffer (running
statistics of batch normalisation, which the forward pass has already updated with the bad batch)
is put back. What a model itself writes into its *parameters* during forward (MoCo's momentum
encoder) stays. The iteration counts: learning-rate schedules and the sampler move on.
"""

import dataclasses
import logging
import math
from typing import Any

import torch
from fastreid.utils import comm
from torch import nn

logger = logging.getLogger(__name__)


@dataclasses.dataclass
class NonFiniteLossPolicy:
    """Bound on the steps of one run, resumes included, that may be skipped.

    Attributes:
        model: the model whose buffers are kept; the same object is trained.
        max_skipped: steps that may be skipped in the whole run; 0 = stop at the first.
        skipped: steps skipped so far, kept in checkpoints.
    """

    model: nn.Module
    max_skipped: int
    skipped: int = 0
    _kept: list[torch.Tensor] = dataclasses.field(default_factory=list, repr=False)

    def before_forward(self) -> None:
        """Remember the buffers. Costs nothing where no step may be skipped."""
        if self.max_skipped:
            self._kept = [buffer.clone() for buffer in self.model.buffers()]

    def handle(self, iteration: int, losses: dict[str, float], batch: dict[str, Any]) -> None:
        """Count, log and undo a step whose loss is not finite on at least one process.

        Every process must call this for the same step: all log, count and raise alike.

        Args:
            iteration: iteration of the step, from 0.
            losses: this process's loss terms, scaled as in the total.
            batch: this process's batch, with ``img_paths``.

        Raises:
            FloatingPointError: more than ``max_skipped`` steps have been skipped.
        """
        reports = comm.all_gather(describe(losses, batch))
        words = f"loss is NaN or infinite at iteration {iteration}\n" + "\n".join(
            f"  process {rank}: {report}" for rank, report in enumerate(reports) if report
        )
        if self.skipped >= self.max_skipped:
            raise FloatingPointError(
                f"{words}\nSOLVER.NON_FINITE.MAX_SKIPPED allows {self.max_skipped} skipped steps; "
                "look at these images, lower SOLVER.BASE_LR, or allow more"
            )
        self.skipped += 1
        for buffer, kept in zip(self.model.buffers(), self._kept, strict=True):
            buffer.copy_(kept)
        if comm.is_main_process():
            logger.warning(
                "%s\nstep skipped (%d of %d allowed), weights and buffers are as before it",
                words,
                self.skipped,
                self.max_skipped,
            )


def is_finite(losses: dict[str, float]) -> bool:
    """Whether every loss term is a finite number."""
    return all(math.isfinite(value) for value in losses.values())


def describe(losses: dict[str, float], batch: dict[str, Any]) -> str:
    """Name the loss terms and images of a batch in one paragraph; "" if its loss is finite."""
    if is_finite(losses):
        return ""
    terms = ", ".join(f"{name} = {value:g}" for name, value in losses.items())
    paths: list[str] = []
    bad_pixels: list[str] = []
    for part in _batches_in(batch):
        paths += part["img_paths"]
        bad_pixels += [
            path
            for path, image in zip(part["img_paths"], part["images"], strict=False)
            if not torch.isfinite(image).all()
        ]
    pixels = f"; pixels are not finite in: {', '.join(bad_pixels)}" if bad_pixels else ""
    return f"{terms}{pixels}; images of the batch: {', '.join(paths)}"


def _batches_in(batch: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the batch, or those of several loaders in it."""
    if "img_paths" in batch:
        return [batch]
    return [part for part in batch.values() if isinstance(part, dict) and "img_paths" in part]
