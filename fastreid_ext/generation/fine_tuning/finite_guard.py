"""Gradients of several identities in one tensor: clipped each by itself, and kept apart.

Letters: K identities.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class FiniteGuard:
    """Clips each identity's gradient and stops those whose loss or gradient is not finite.

    It never waits for the device; :meth:`failures` does.

    Args:
        count: K.
        max_norm: largest norm of an identity's gradient over all its parameters; 0 = any.
        device: of the parameters.
    """

    def __init__(self, count: int, max_norm: float, device: torch.device) -> None:
        self._max_norm = max_norm
        self._alive = torch.ones(count, dtype=torch.bool, device=device)
        self._failed_at = torch.zeros(count, dtype=torch.long, device=device)
        self._by_loss = torch.zeros(count, dtype=torch.bool, device=device)

    @torch.no_grad()
    def check(self, step: int, losses: Tensor, parameters: Sequence[nn.Parameter]) -> None:
        """Look at a step's losses (K,) and clip the gradients (K, ...) in place.

        The gradient of an identity that failed is 0 from then on.

        Args:
            step: number of the step, from 1.
            losses: of the identities.
            parameters: with gradients; the first dimension is K.
        """
        squares = [p.grad.flatten(1).square().sum(dim=1) for p in parameters]
        norms = torch.stack(squares).sum(dim=0).sqrt()
        has_loss = losses.isfinite()
        failed = self._alive & ~(has_loss & norms.isfinite())
        self._failed_at.masked_fill_(failed, step)
        self._by_loss |= failed & ~has_loss
        self._alive &= ~failed
        factor = torch.ones_like(norms)
        if self._max_norm > 0:  # as torch.nn.utils.clip_grad_norm_ does
            factor = (self._max_norm / (norms + 1e-6)).clamp(max=1)
        for p in parameters:
            per_identity = (-1, *[1] * (p.ndim - 1))
            p.grad.mul_(factor.view(per_identity))
            p.grad.masked_fill_(~self._alive.view(per_identity), 0)  # a product would leave nan

    def failures(self) -> dict[int, tuple[int, str]]:
        """Return number of an identity -> the step at which it failed and what was not finite."""
        steps, by_loss = self._failed_at.tolist(), self._by_loss.tolist()
        return {
            k: (step, "loss" if loss else "gradient")
            for k, (step, loss) in enumerate(zip(steps, by_loss, strict=True))
            if step
        }
