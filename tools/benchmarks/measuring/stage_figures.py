"""Measurement of a stage that reads images and returns captions or scores."""

import dataclasses
from collections.abc import Callable

import torch

from measuring.device_use import busy, forget_peak, peak_bytes
from measuring.timing import seconds


@dataclasses.dataclass(frozen=True)
class StageFigures:
    """How fast a stage is.

    Attributes:
        images: worked on in the timed run.
        seconds: with files and everything; on the CPU those of the process, of one core.
        peak_bytes: most memory: of the device, or of this process on the CPU.
        busy: share of the time in which the device computes; None on the CPU.
    """

    images: int
    seconds: float
    peak_bytes: int
    busy: float | None

    @property
    def images_per_second(self) -> float:
        """With everything."""
        return self.images / self.seconds


def measure_stage(device: torch.device, run: Callable[[], object], images: int) -> StageFigures:
    """Time ``run``, which works on ``images`` images and has been warmed up."""
    forget_peak(device)
    took = seconds(run, str(device))
    return StageFigures(images, took, peak_bytes(device), busy(device, run))
