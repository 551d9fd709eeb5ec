"""Clip the gradient of each identity by itself, and stop identities that diverge.

Letters: K identities.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class GradientGuard:
    """Per-identity gradient guard: clips each gradient, and zeroes those that are not finite.

    It never waits for the device; only :meth:`failures` does.

    Args:
        count: number K of identities trained together.
        max_norm: largest norm of an identity's gradient over all its parameters; 0 means no limit.
        device: device on which the parameters lie.
    """

    def __init__(self, count: int, max_norm: float, device: torch.device) -> None:
        self._max_norm = max_norm
        self._alive = torch.ones(count, dtype=torch.bool, device=device)
        self._failed_at = torch.zeros(count, dtype=torch.long, device=device)
        self._by_loss = torch.zeros(count, dtype=torch.bool, device=device)

    @torch.no_grad()
    def check(self, step: int, losses: Tensor, parameters: Sequence[nn.Parameter]) -> None:
        """Check the losses of a step and clip the gradients in place.

        The gradient of an identity that failed is 0 from then on.

        Args:
            step: number of the step, from 1.
            losses: (K,) losses of the identities.
            parameters: parameters (K, ...) with gradients.
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
        """Map each failed identity to its step and to "loss" or "gradient", whichever diverged."""
        steps = self._failed_at.tolist()
        by_loss = self._by_loss.tolist()
        return {
            k: (step, "loss" if loss else "gradient")
            for k, (step, loss) in enumerate(zip(steps, by_loss, strict=True))
            if step
        }
