"""Rectangles of one colour, sampled image by image and painted on a batch.

Random erasing and Cutout paint the mean colour, which is no whole number; a batch of uint8 images
gets it after its conversion to float, on its device.

Letters: B images, P rectangles of each, H height, W width.
"""

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from fastreid_ext.data.transforms.cutout import Cutout
from fastreid_ext.data.transforms.rectangles import Patch, paint_patch

# Top, left, rows and columns in pixels; 0 rows paint nothing.
Rectangle = tuple[int, int, int, int]
NOTHING: Rectangle = (0, 0, 0, 0)
# Ranges of the area and of rows / columns, those of torchvision's RandomErasing.
_SCALE = (0.02, 0.33)
_RATIO = (0.3, 3.3)
_ATTEMPTS = 10


class Painter(Protocol):
    """Sampler of rectangles; ``fill`` is their colour, a value in [0, 255] for each channel."""

    fill: Sequence[float]

    def sample(self, height: int, width: int, generator: torch.Generator) -> Rectangle:
        """Sample a rectangle in an image of H x W."""


class ErasingPainter:
    """The rectangle of torchvision's ``RandomErasing``, from the same random numbers.

    Example:
        >>> painter = ErasingPainter(probability=1.0, fill=(124, 116, 104))
        >>> len(painter.sample(256, 128, torch.Generator().manual_seed(0)))
        4

    Args:
        probability: probability that an image is erased, in [0, 1].
        fill: colour, one value per channel or one for all, in [0, 255].
    """

    def __init__(self, *, probability: float, fill: Sequence[float]) -> None:
        self.probability = probability
        self.fill = tuple(fill) if len(fill) > 1 else tuple(fill) * 3
        low, high = torch.log(torch.tensor(_RATIO)).tolist()
        self._log_ratio = low, high

    def sample(self, height: int, width: int, generator: torch.Generator) -> Rectangle:
        """Sample a rectangle; one that is too large is sampled again, ten times at most."""
        if not happens(self.probability, generator):
            return NOTHING
        for _ in range(_ATTEMPTS):
            area = height * width * _uniform(*_SCALE, generator).item()
            ratio = _uniform(*self._log_ratio, generator).exp_().item()
            rows = round(math.sqrt(area * ratio))
            columns = round(math.sqrt(area / ratio))
            if rows < height and columns < width:
                top = torch.randint(height - rows + 1, (1,), generator=generator).item()
                left = torch.randint(width - columns + 1, (1,), generator=generator).item()
                return top, left, rows, columns
        return NOTHING


def happens(probability: float, generator: torch.Generator) -> bool:
    """Sample an event of a probability in [0, 1].

    The same as ``torch.rand(1, generator=generator) < probability`` in a third of the time: a
    comparison of tensors costs more than the number. Tensors compare in float32, so this does.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> sum(happens(0.25, generator) for _ in range(1000))
        251
    """
    return torch.rand(1, generator=generator).item() < float(np.float32(probability))


def _uniform(low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.empty(1).uniform_(low, high, generator=generator)


class CutoutPainter:
    """The rectangle of :class:`Cutout`.

    Example:
        >>> cutout = Cutout(probability=1.0, size=(64, 32), fill=(124, 116, 104))
        >>> CutoutPainter(cutout).sample(256, 128, torch.Generator().manual_seed(0))[2:]
        (64, 32)
    """

    def __init__(self, cutout: Cutout) -> None:
        self.cutout = cutout
        self.fill = cutout.fill

    def sample(self, height: int, width: int, generator: torch.Generator) -> Rectangle:
        """Sample a rectangle in an image of H x W."""
        corner = self.cutout.sample(height, width, generator)
        return NOTHING if corner is None else (*corner, *self.cutout.size)


class PaintRectangles:
    """Batch step: paint ``painted`` (B, P, 4) on ``images`` (B, 3, H, W), which become float32.

    Example:
        >>> paint = PaintRectangles([(124, 116, 104)])
        >>> images = torch.zeros(1, 3, 64, 32, dtype=torch.uint8)
        >>> batch = paint({"images": images, "painted": torch.tensor([[[0, 0, 8, 8]]])})
        >>> batch["images"].amax().item()
        124.0

    Args:
        fills: P colours in [0, 255], three values each; later rectangles cover earlier ones.
    """

    def __init__(self, fills: Sequence[Sequence[float]]) -> None:
        self.fills = tuple(map(tuple, fills))

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Paint and drop ``painted``; return a batch without it unchanged."""
        if "painted" not in batch:
            return batch
        batch = dict(batch)
        images = batch["images"].float()
        rectangles = batch.pop("painted")
        paint = _paint_together if images.is_cuda else _paint_one_by_one
        for place, fill in enumerate(self.fills):
            paint(images, rectangles[:, place], fill)
        return {**batch, "images": images}


def _paint_one_by_one(images: Tensor, rectangles: Tensor, fill: Sequence[float]) -> None:
    for image, rectangle in zip(images, rectangles.tolist(), strict=True):
        if rectangle != [*NOTHING]:
            paint_patch(image, Patch(*rectangle), fill)


def _paint_together(images: Tensor, rectangles: Tensor, fill: Sequence[float]) -> None:
    """Paint without waiting for the device to say where."""
    inside = _inside(rectangles, *images.shape[2:])
    for channel, value in enumerate(fill):
        images[:, channel].masked_fill_(inside, value)


def _inside(rectangles: Tensor, height: int, width: int) -> Tensor:
    """Compute the pixels (B, H, W) inside of rectangles (B, 4), bool."""
    top, left, rows, columns = rectangles.long()[..., None].unbind(1)  # (B, 1) each
    y = torch.arange(height, device=rectangles.device)
    x = torch.arange(width, device=rectangles.device)
    in_rows = (y >= top) & (y < top + rows)
    in_columns = (x >= left) & (x < left + columns)
    return in_rows[:, :, None] & in_columns[:, None, :]
