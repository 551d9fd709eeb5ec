"""Several views of one decoded image, stacked to (V, 3, H, W).

A recipe takes the decoded image, a generator and the three :class:`Parts` of a transform, and
returns the views as arrays at network size, each with the record of its corruptions:

- :class:`IndependentViews`: every view is a pass of its own through the whole list [0].
- :class:`CorruptedViews`: the first view is clean, the others are corrupted copies.
- :class:`CilViews`: the first view is clean, the others go through soft erasing, self-patch mixing
  and AugMix [1]; all views of an infrared image are clean.
- ``DapgViews``, in ``dapg_views``: ever more corruptions, and a mixture.

Letters: V views, H height, W width.

[0] Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020
[1] Chen et al., "Benchmarks for Corruption Invariant Person Re-identification", NeurIPS 2021
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fastreid_ext.corruptions.record import BETWEEN_CORRUPTIONS, RandomCorruption, record
from fastreid_ext.data.transforms.augmix import AugMix
from fastreid_ext.data.transforms.patch_mixing import PatchMixing
from fastreid_ext.data.transforms.soft_erasing import SoftErasing
from fastreid_ext.data.visible_infrared import INFRARED, VISIBLE

ERASINGS = ("each", "shared", "all")  # choices of CilViews
# An image (H, W, 3) uint8 and the record of its corruptions.
Recorded = tuple[NDArray[np.uint8], str]


@dataclasses.dataclass(frozen=True)
class Parts:
    """The three parts of a training transform.

    Attributes:
        decoded: transforms of a decoded image, PIL or (h, w, 3) uint8, to an array at network size.
        image: transforms of an array at network size to an array of that size.
        tensor: transforms of an array at network size to a tensor (3, H, W).
    """

    decoded: Callable[[Any, np.random.Generator], Recorded]
    image: Callable[[NDArray[np.uint8], np.random.Generator], Recorded]
    tensor: Callable[[NDArray[np.uint8], np.random.Generator], Tensor]

    def pass_through(self, image: Any, rng: np.random.Generator) -> Recorded:
        """Resize a decoded image to network size and transform it there."""
        array, before = self.decoded(image, rng)
        array, after = self.image(array, rng)
        return array, joined(before, after)

    def passes(self, image: Any, rng: np.random.Generator, count: int, *, same: bool) -> list:
        """Make ``count`` passes, or with ``same`` one pass for all."""
        if same:
            return [self.pass_through(image, rng)] * count
        return [self.pass_through(image, rng) for _ in range(count)]


class IndependentViews:
    """Views that are each a pass of its own through all transforms.

    Example:
        >>> def keep(image, rng):
        ...     return image, ""  # and no record of corruptions
        >>> parts = Parts(decoded=keep, image=keep, tensor=keep)
        >>> image = np.zeros((64, 32, 3), np.uint8)
        >>> len(IndependentViews(count=2)(image, np.random.default_rng(0), parts))
        2

    Args:
        count: number of views V.
    """

    def __init__(self, *, count: int) -> None:
        self.count = count

    def __call__(self, image: Any, rng: np.random.Generator, parts: Parts) -> list[Recorded]:
        """Make V views of a decoded image."""
        return parts.passes(image, rng, self.count, same=False)

    def __repr__(self) -> str:
        return f"IndependentViews(count={self.count})"


class CorruptedViews:
    """A clean view and V - 1 corrupted ones.

    Example:
        >>> def keep(image, rng):
        ...     return image, ""  # and no record of corruptions
        >>> parts = Parts(decoded=keep, image=keep, tensor=keep)
        >>> corruption = RandomCorruption(names=["contrast"])
        >>> views = CorruptedViews(count=2, same_crop=True, corruption=corruption)
        >>> image = np.full((64, 32, 3), 100, np.uint8)
        >>> (_, clean), (_, corrupted) = views(image, np.random.default_rng(0), parts)
        >>> clean, corrupted.split(":")[0]
        ('', 'contrast')

    Args:
        count: number of views V.
        same_crop: corrupt the clean view itself, not a crop of its own.
        corruption: random corruption of each view but the first.
        is_applied: False only records the corruptions, for a later step on the device.
    """

    def __init__(
        self, *, count: int, same_crop: bool, corruption: RandomCorruption, is_applied: bool = True
    ) -> None:
        self.count = count
        self.same_crop = same_crop
        self.corruption = corruption
        self.is_applied = is_applied

    def __call__(self, image: Any, rng: np.random.Generator, parts: Parts) -> list[Recorded]:
        """Make the clean view, then the others."""
        clean, *others = parts.passes(image, rng, self.count, same=self.same_crop)
        views = [clean]
        for array, before in others:
            chain = self.corruption.sample(rng)
            corrupted = self.corruption.apply(array, chain) if self.is_applied else array
            views.append((corrupted, joined(before, record(chain))))
        return views

    def __repr__(self) -> str:
        return (
            f"CorruptedViews(count={self.count}, same_crop={self.same_crop}, {self.corruption}, "
            f"is_applied={self.is_applied})"
        )


class CilViews:
    """A clean view and V - 1 with soft erasing, self-patch mixing and AugMix, in this order.

    An infrared image is repeated V times, as in the code of [1] for two modalities.

    Example:
        >>> def keep(image, rng):
        ...     return image, ""  # and no record of corruptions
        >>> parts = Parts(decoded=keep, image=keep, tensor=keep)
        >>> erasing = SoftErasing(mean=(124, 116, 104), std=(58, 57, 57))
        >>> steps = {"erasing": erasing, "mixing": PatchMixing(), "augmix": AugMix()}
        >>> image = np.full((64, 32, 3), 100, np.uint8)
        >>> len(CilViews(count=3, same_crop=True, **steps)(image, np.random.default_rng(0), parts))
        3

    Args:
        count: number of views V; 3 in [1].
        same_crop: make all views of one crop, as in [1].
        erasing: soft random erasing of each further view.
        mixing: self-patch mixing of each further view.
        augmix: AugMix of each further view.
        erased: "each" further view samples its own erasing and mixing; "shared": they are sampled
            once for all further views; "all": the clean view has them too, as in the code of [1].
    """

    takes_modality = True

    def __init__(
        self,
        *,
        count: int,
        same_crop: bool,
        erasing: SoftErasing,
        mixing: PatchMixing,
        augmix: AugMix,
        erased: str = "each",
    ) -> None:
        if erased not in ERASINGS:
            raise ValueError(
                f"expected erased {', '.join(ERASINGS)}, got {erased!r}; see INPUT.VIEWS.ERASED"
            )
        self.count = count
        self.same_crop = same_crop
        self.erasing = erasing
        self.mixing = mixing
        self.augmix = augmix
        self.erased = erased

    def __call__(
        self, image: Any, rng: np.random.Generator, parts: Parts, modality: int = VISIBLE
    ) -> list[Recorded]:
        """Make the clean view, then the others, of an image of a modality."""
        if modality == INFRARED:
            return parts.passes(image, rng, self.count, same=True)
        (first, before), *others = parts.passes(image, rng, self.count, same=self.same_crop)
        if self.erased != "each":
            # Sampled once: every view gets the rectangles that the first one would get.
            erase = self._sampled_once(rng, first)
            if self.erased == "all":
                first = erase(first)
        else:

            def erase(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
                return self.mixing(self.erasing(array, rng), rng)

        views = [(first, before)]
        views += [(self.augmix(erase(array), rng), text) for array, text in others]
        return views

    def _sampled_once(
        self, rng: np.random.Generator, like: NDArray[np.uint8]
    ) -> Callable[[NDArray[np.uint8]], NDArray[np.uint8]]:
        erasure = self.erasing.sample(rng, *like.shape[:2])
        mixture = self.mixing.sample(rng, *like.shape[:2])

        def erase(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
            if erasure is not None:
                array = self.erasing.apply(array, erasure)
            return array if mixture is None else self.mixing.apply(array, mixture)

        return erase

    def __repr__(self) -> str:
        return (
            f"CilViews(count={self.count}, same_crop={self.same_crop}, {self.erasing}, "
            f"{self.mixing}, {self.augmix}, erased={self.erased})"
        )


def joined(*records: str) -> str:
    """Join the records of corruptions that follow one another.

    Example:
        >>> joined("", "fog:3:7", "snow:1:8")
        'fog:3:7+snow:1:8'
    """
    return BETWEEN_CORRUPTIONS.join(text for text in records if text)
