"""The four views of DAPG's contrastive stage: ever more corruptions, and a mixture.

Of three views v0, v1, v2 of an image and three kinds of corruption n1, n2, n3, sampled without
replacement: q = n1(v0), k1 = n2(n1(v1)), k2 = n3(n2(n1(v2))), and
k3 = (1 - m) v0 + m (w1 q + w2 k1 + w3 k2) with w ~ Dirichlet(1, 1, 1) and m ~ Beta(1, 1), the
mixture of AugMix. The paper leaves open what exactly is mixed and whether v0, v1, v2 are one crop.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastreid_ext.corruptions.record import (
    BETWEEN_VIEWS,
    Corruption,
    RandomCorruption,
    parse_record,
    record,
)
from fastreid_ext.data.transforms.augmix_kernels import weighted_mean
from fastreid_ext.data.transforms.multi_view import Parts, Recorded, joined


@dataclasses.dataclass(frozen=True)
class DapgPlan:
    """Everything that is sampled for the four views of an image.

    Attributes:
        chains: one (none for a clean anchor), two and three corruptions for q, k1 and k2. The kinds
            are n1; n1, n2; n1, n2, n3; severities and seeds are sampled for each application.
        weights: weights of q, k1 and k2 in the mixture; they sum to 1.
        share: share of the mixture in k3, in [0, 1]; the rest is the clean view.
    """

    chains: tuple[tuple[Corruption, ...], ...]
    weights: tuple[float, float, float]
    share: float

    def records(self) -> list[str]:
        """Write the records of q, k1, k2 and k3; that of k3 is ``mix:w1:w2:w3:m``."""
        mixed = ":".join(["mix", *map(repr, (*self.weights, self.share))])
        return [*map(record, self.chains), mixed]

    @classmethod
    def parse(cls, records: Sequence[str]) -> "DapgPlan":
        """Parse a plan that :meth:`records` wrote.

        Raises:
            ValueError: these are not the four records of an image.
        """
        *chains, mixed = records
        word, *numbers = mixed.split(":")
        if len(chains) != 3 or word != "mix" or len(numbers) != 4:
            raise ValueError(
                f"expected the records of q, k1, k2 and k3, the last as mix:w1:w2:w3:m, got "
                f"{list(records)}; split 'corruptions' of a sample at '|'"
            )
        *weights, share = map(float, numbers)
        return cls(tuple(map(parse_record, chains)), tuple(weights), share)


class DapgViews:
    """The views q, k1, k2, k3 as uint8 arrays at network size.

    Example:
        >>> views = DapgViews(
        ...     same_crop=True, corruption=RandomCorruption(names=("fog", "contrast", "pixelate"))
        ... )
        >>> [len(chain) for chain in views.sample(np.random.default_rng(0)).chains]
        [1, 2, 3]

    Args:
        same_crop: True for one crop, v0 = v1 = v2; False for a crop each.
        corruption: kinds and severities to sample from; its probability and count are not used.
        clean_anchor: leave q uncorrupted, so that q = v0; the other views keep their chains.
        is_applied: False gives v0, v1, v2 with the four records, for
            :class:`~fastreid_ext.data.transforms.dapg_on_device.DapgOnDevice`.
    """

    count = 4

    def __init__(
        self,
        *,
        same_crop: bool,
        corruption: RandomCorruption,
        clean_anchor: bool = False,
        is_applied: bool = True,
    ) -> None:
        if len(corruption.names) < 3:
            raise ValueError(
                f"expected at least 3 kinds of corruptions, got {len(corruption.names)}; name "
                "more in INPUT.CORRUPTION.NAMES"
            )
        self.same_crop = same_crop
        self.corruption = corruption
        self.lengths = (0 if clean_anchor else 1, 2, 3)
        self.is_applied = is_applied

    def __call__(self, image: Any, rng: np.random.Generator, parts: Parts) -> list[Recorded]:
        """Make the views of a decoded image, each with its record."""
        passed = parts.passes(image, rng, 3, same=self.same_crop)
        plan = self.sample(rng)
        clean = [array for array, _ in passed]
        texts = plan.records()
        if not self.is_applied:
            # Three images and four records: the last image carries the record of k3 too.
            return list(zip(clean, [*texts[:2], BETWEEN_VIEWS.join(texts[2:])], strict=True))
        before = [text for _, text in passed]
        texts = map(joined, [*before, before[0]], texts)
        return list(zip(self.apply(clean, plan), texts, strict=True))

    def sample(self, rng: np.random.Generator) -> DapgPlan:
        """Sample kinds, severities, seeds and weights."""
        kinds = [one.name for one in self.corruption.sample_chain(rng, 3)]
        chains = tuple(
            tuple(self.corruption.sample_of_kind(rng, kind) for kind in kinds[:length])
            for length in self.lengths
        )
        return DapgPlan(chains, tuple(rng.dirichlet([1, 1, 1]).tolist()), float(rng.beta(1, 1)))

    def apply(self, views: list[NDArray[np.uint8]], plan: DapgPlan) -> list[NDArray[np.uint8]]:
        """Compute q, k1, k2, k3 of v0, v1, v2; new arrays."""
        noisy = [
            self.corruption.apply(view, chain)
            for view, chain in zip(views, plan.chains, strict=True)
        ]
        weights = [1 - plan.share, *(plan.share * weight for weight in plan.weights)]
        return [*noisy, weighted_mean([views[0], *noisy], weights)]

    def __repr__(self) -> str:
        return (
            f"DapgViews(same_crop={self.same_crop}, {self.corruption}, lengths={self.lengths}, "
            f"is_applied={self.is_applied})"
        )
