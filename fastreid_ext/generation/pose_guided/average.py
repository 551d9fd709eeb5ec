"""Exponential average of trained weights."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class AverageOfWeights:
    """Average of a module's trained parameters, decay * average + (1 - decay) * weights.

    The decay of the first steps is smaller, (1 + step) / (10 + step), so that the average does not
    keep the weights of the start.

    Args:
        module: module whose trained parameters are averaged.
        decay: decay in [0, 1); 0 keeps no average.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._trained = {n: p for n, p in module.named_parameters() if p.requires_grad}
        self._decay = decay
        self._values: dict[str, Tensor] = {}
        if decay:
            self._values = {name: p.detach().clone() for name, p in self._trained.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after a step, counted from 0."""
        decay = min(self._decay, (1 + step) / (10 + step))
        for name, average in self._values.items():
            average.lerp_(self._trained[name].detach(), 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the average into the module for the time of the block."""
        kept = {name: self._trained[name].detach().clone() for name in self._values}
        self._copy(self._values)
        try:
            yield
        finally:
            self._copy(kept)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the averages by name."""
        return dict(self._values)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take the averages of a checkpoint."""
        for name, value in self._values.items():
            value.copy_(state[name])

    @torch.no_grad()
    def _copy(self, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            self._trained[name].copy_(value)
