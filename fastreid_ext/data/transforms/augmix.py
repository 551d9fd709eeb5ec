"""AugMix: an image is mixed with a weighted sum of chains of simple operations on it.

``mixed = (1 - m) image + m sum_i w_i chain_i(image)`` with w ~ Dirichlet(alpha, ..., alpha) and
m ~ Beta(alpha, alpha); each chain is one to three operations, none of which is among the
corruptions of ImageNet-C [0]. Each operation equals Pillow's bit by bit. The sum is in float32 and
rounded to the nearest grey level; summed in float64, few values differ, and by one grey level.

The paper keeps the sum as floats, and ``fastreid``'s AugMix truncates it; that one also has other
defaults (alpha 0.1, one operation in a chain, severity 1).

[0] Hendrycks et al., "AugMix: A Simple Data Processing Method to Improve Robustness and
    Uncertainty", ICLR 2020, https://arxiv.org/abs/1912.02781
"""

import dataclasses
import functools

import numpy as np
from numpy.typing import NDArray

from fastreid_ext.data.transforms.augmix_kernels import weighted_mean
from fastreid_ext.data.transforms.augmix_operations import OPERATION_NAMES, Operation, operated


@dataclasses.dataclass(frozen=True)
class MixPlan:
    """Everything that is sampled for one image.

    Attributes:
        chains: operations of each chain, in their order.
        weights: one weight for each chain; they sum to 1.
        share: share of the sum of chains in the result, in [0, 1]; ``m`` of [0].
    """

    chains: tuple[tuple[Operation, ...], ...]
    weights: tuple[float, ...]
    share: float


class AugMix:
    """Sample and apply mixtures. Images are (H, W, 3) uint8 RGB in [0, 255].

    Example:
        >>> augmix = AugMix(severity=3, width=3)
        >>> mixed = augmix(np.full((64, 32, 3), 100, np.uint8), np.random.default_rng(0))
        >>> mixed.shape, mixed.dtype
        ((64, 32, 3), dtype('uint8'))

    Args:
        probability: probability that an image is mixed, in [0, 1].
        severity: upper end of the level of an operation, which is sampled from [0.1, severity]; up
            to 10, where a rotation is by 30 degrees.
        width: number of chains of operations.
        depth: operations in a chain; -1 samples 1, 2 or 3 for each.
        alpha: parameter of the Dirichlet and the Beta distribution, > 0.
    """

    def __init__(
        self,
        *,
        probability: float = 1.0,
        severity: float = 3,
        width: int = 3,
        depth: int = -1,
        alpha: float = 1.0,
    ) -> None:
        self.probability = probability
        self.severity = severity
        self.width = width
        self.depth = depth
        self.alpha = alpha

    def __call__(self, image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """Mix an image with the probability; the input is not written to."""
        plan = self.sample(rng)
        return image if plan is None else self.apply(image, plan)

    def sample(self, rng: np.random.Generator) -> MixPlan | None:
        """Sample the plan of one image; None where it stays unchanged."""
        if rng.random() >= self.probability:
            return None
        weights = tuple(rng.dirichlet([self.alpha] * self.width).tolist())
        share = float(rng.beta(self.alpha, self.alpha))
        chains = tuple(self._chain(rng) for _ in range(self.width))
        return MixPlan(chains, weights, share)

    def _chain(self, rng: np.random.Generator) -> tuple[Operation, ...]:
        depth = self.depth if self.depth > 0 else int(rng.integers(1, 4))
        kinds = rng.integers(len(OPERATION_NAMES), size=depth).tolist()
        levels = rng.uniform(0.1, self.severity, size=depth).tolist()
        signs = (2 * rng.integers(2, size=depth) - 1).tolist()
        steps = zip(kinds, levels, signs, strict=True)
        return tuple(Operation(OPERATION_NAMES[kind], level, sign) for kind, level, sign in steps)

    @staticmethod
    def apply(image: NDArray[np.uint8], plan: MixPlan) -> NDArray[np.uint8]:
        """Compute the mixture of a plan, a new array."""
        if not (image.flags.c_contiguous and image.flags.writeable):
            image = np.array(image, order="C")  # one layout, so that each kernel is compiled once
        changed = [functools.reduce(operated, chain, image) for chain in plan.chains]
        weights = [plan.share * weight for weight in plan.weights]
        return weighted_mean([image, *changed], [1 - plan.share, *weights])

    def __repr__(self) -> str:
        return (
            f"AugMix(probability={self.probability:g}, severity={self.severity:g}, "
            f"width={self.width}, depth={self.depth}, alpha={self.alpha:g})"
        )
