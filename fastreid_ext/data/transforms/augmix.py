"""AugMix: an image is mixed with a weighted sum of chains of simple operations on it.

``mixed = (1 - m) image + m sum_i w_i chain_i(image)`` with w ~ Dirichlet(alpha, ..., alpha) and
m ~ Beta(alpha, alpha); each chain is one to three operations, none of which is among the
corruptions of ImageNet-C [0]. A plan of all that is drawn is applied in one of two ways:

- ``exact``: Pillow's operations, and the sum in float64.
- ``fast``: compiled operations, and the sum in float32. Each operation equals Pillow's bit by bit;
  only the rounding of the sum may differ, by one grey level.

Both round to the nearest grey level. The paper keeps the sum as floats, and ``fastreid``'s AugMix
truncates it; that one also has other defaults (alpha 0.1, one operation in a chain, severity 1).

[0] Hendrycks et al., "AugMix: A Simple Data Processing Method to Improve Robustness and
    Uncertainty", ICLR 2020, https://arxiv.org/abs/1912.02781
"""

import dataclasses

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fastreid_ext.data.transforms.augmix_fast import apply_fast
from fastreid_ext.data.transforms.augmix_pil import PIL_OPERATIONS, Operation

METHODS = ("exact", "fast")
OPERATION_NAMES = tuple(PIL_OPERATIONS)


@dataclasses.dataclass(frozen=True)
class MixPlan:
    """All that is drawn for one image.

    Attributes:
        chains: the operations of each chain, in their order.
        weights: of the chains; they sum to 1.
        share: of the sum of chains in the result, in [0, 1]; ``m`` of [0].
    """

    chains: tuple[tuple[Operation, ...], ...]
    weights: tuple[float, ...]
    share: float


class AugMix:
    """Draw and apply mixtures. Images are (H, W, 3) uint8 RGB in [0, 255].

    Args:
        probability: of an image to be mixed, in [0, 1].
        severity: upper end of the level of an operation, which is drawn from [0.1, severity]; up
            to 10, where a rotation is by 30 degrees.
        width: number of chains.
        depth: operations in a chain; -1 draws 1, 2 or 3 for each.
        alpha: parameter of both distributions.
        method: "exact" or "fast".
    """

    def __init__(
        self,
        *,
        probability: float = 1.0,
        severity: float = 3,
        width: int = 3,
        depth: int = -1,
        alpha: float = 1.0,
        method: str = "fast",
    ) -> None:
        if method not in METHODS:
            raise ValueError(f"expected method {' or '.join(METHODS)}, got {method!r}; see augmix")
        self.probability = probability
        self.severity = severity
        self.width = width
        self.depth = depth
        self.alpha = alpha
        self.method = method

    def __call__(self, image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """Return the image, perhaps mixed; the input is not written to."""
        plan = self.sample(rng)
        return image if plan is None else self.apply(image, plan)

    def sample(self, rng: np.random.Generator) -> MixPlan | None:
        """Draw the plan of one image; None where it stays as it is."""
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
        drawn = zip(kinds, levels, signs, strict=True)
        return tuple(Operation(OPERATION_NAMES[kind], level, sign) for kind, level, sign in drawn)

    def apply(self, image: NDArray[np.uint8], plan: MixPlan) -> NDArray[np.uint8]:
        """Return the mixture of a plan, a new array."""
        if self.method == "exact":
            return apply_exactly(image, plan)
        return apply_fast(image, plan.chains, plan.weights, plan.share)

    def __repr__(self) -> str:
        return (
            f"AugMix(probability={self.probability:g}, severity={self.severity:g}, "
            f"width={self.width}, depth={self.depth}, alpha={self.alpha:g}, method={self.method})"
        )


def apply_exactly(image: NDArray[np.uint8], plan: MixPlan) -> NDArray[np.uint8]:
    """Apply a plan with Pillow's operations."""
    own = Image.fromarray(image)
    mixed = (1 - plan.share) * image
    for chain, weight in zip(plan.chains, plan.weights, strict=True):
        changed = own
        for operation in chain:
            changed = PIL_OPERATIONS[operation.name](changed, operation)
        mixed += plan.share * weight * np.asarray(changed, np.float64)
    return np.rint(np.clip(mixed, 0, 255)).astype(np.uint8)
