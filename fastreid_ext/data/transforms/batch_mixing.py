"""Mixup and CutMix: images of a batch are mixed with one another, and so are their targets.

The loss of a mixed image is ``weight loss(own target) + (1 - weight) loss(partner's target)``.

Letters: B batch, H height, W width.

[0] Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018,
    https://arxiv.org/abs/1710.09412
[1] Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable
    Features", ICCV 2019, https://arxiv.org/abs/1905.04899
"""

import dataclasses
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

Batch = dict[str, Any]
# Separates these random numbers from others of the same seeds.
_STREAM = 0x6D6978


@dataclasses.dataclass(frozen=True)
class Mixture:
    """Random numbers of one batch.

    Attributes:
        partners: (B,) row that each row is mixed with, a permutation.
        weight: share of the own image in [0, 1]; lambda of both papers.
        box: rows and columns that the partner fills (CutMix); None: the whole image (Mixup).
    """

    partners: tuple[int, ...]
    weight: float
    box: tuple[slice, slice] | None = None


class Mixup:
    """Mixup: ``weight own + (1 - weight) partner`` with weight ~ Beta(alpha, alpha).

    Example:
        >>> mixture = Mixup(alpha=0.2).sample(np.random.default_rng(0), (4, 3, 64, 32))
        >>> mixed_images(torch.rand(4, 3, 64, 32), mixture).shape
        torch.Size([4, 3, 64, 32])

    Args:
        alpha: parameter of the Beta distribution, > 0; small values leave one image almost alone.
    """

    def __init__(self, *, alpha: float) -> None:
        self.alpha = alpha

    def sample(self, rng: np.random.Generator, shape: torch.Size) -> Mixture:
        """Sample the mixture of a batch of shape (B, 3, H, W)."""
        weight = float(rng.beta(self.alpha, self.alpha))
        return Mixture(tuple(rng.permutation(shape[0]).tolist()), weight)


class CutMix:
    """CutMix: a rectangle of the partner is pasted, its area 1 - weight before the border cuts it.

    Example:
        >>> mixture = CutMix(alpha=1.0).sample(np.random.default_rng(0), (4, 3, 64, 32))
        >>> mixed_images(torch.rand(4, 3, 64, 32), mixture).shape
        torch.Size([4, 3, 64, 32])

    Args:
        alpha: parameter of Beta(alpha, alpha), > 0; 1 in [1].
    """

    def __init__(self, *, alpha: float) -> None:
        self.alpha = alpha

    def sample(self, rng: np.random.Generator, shape: torch.Size) -> Mixture:
        """Sample the mixture of a batch of shape (B, 3, H, W); the weight is that of the box."""
        height, width = shape[-2:]
        side = math.sqrt(1 - rng.beta(self.alpha, self.alpha))  # as a share of each side
        rows = _interval(int(rng.integers(height)), int(height * side), height)
        columns = _interval(int(rng.integers(width)), int(width * side), width)
        pasted = (rows.stop - rows.start) * (columns.stop - columns.start)
        partners = tuple(rng.permutation(shape[0]).tolist())
        return Mixture(partners, 1 - pasted / (height * width), (rows, columns))


def _interval(centre: int, length: int, end: int) -> slice:
    return slice(max(centre - length // 2, 0), min(centre + length // 2, end))


def mixed_images(images: Tensor, mixture: Mixture) -> Tensor:
    """Mix copies of float images (B, 3, H, W)."""
    partners = images[torch.tensor(mixture.partners, device=images.device)]
    if mixture.box is None:
        return torch.lerp(partners, images, mixture.weight)
    rows, columns = mixture.box
    pasted = images.clone()
    pasted[:, :, rows, columns] = partners[:, :, rows, columns]
    return pasted


class MixBatch:
    """Batch step: Mixup, CutMix or neither, sampled for each batch.

    A mixed batch has ``mix``: the partners' ``targets`` (B,) and the ``weight`` of the own image.

    Example:
        >>> mix = MixBatch([(Mixup(alpha=0.2), 1.0)])
        >>> batch = {"images": torch.rand(2, 3, 64, 32), "targets": torch.tensor([0, 1])}
        >>> sorted(mix(batch | {"seeds": [3, 4]})["mix"])
        ['targets', 'weight']

    Args:
        methods: methods to choose from, each with its probability; the sum is at most 1.
    """

    def __init__(self, methods: list[tuple[Mixup | CutMix, float]]) -> None:
        self.methods = methods

    def __call__(self, batch: Batch) -> Batch:
        """Mix the images of a batch; the random numbers depend on its ``seeds`` alone."""
        rng = np.random.default_rng([_STREAM, *torch.as_tensor(batch["seeds"]).tolist()])
        mixture = self.sample(rng, batch["images"].shape)
        if mixture is None:
            return batch
        partners = torch.tensor(mixture.partners, device=batch["targets"].device)
        mix = {"targets": batch["targets"][partners], "weight": mixture.weight}
        return {**batch, "images": mixed_images(batch["images"], mixture), "mix": mix}

    def sample(self, rng: np.random.Generator, shape: torch.Size) -> Mixture | None:
        """Sample the mixture of a batch of shape (B, 3, H, W); None for no mixture."""
        chosen = rng.random()
        for method, probability in self.methods:
            if chosen < probability:
                return method.sample(rng, shape)
            chosen -= probability
        return None
