"""Rectangles of one colour, drawn image by image and painted on a batch.

Random erasing and Cut-out paint the mean colour, which is no whole number; a batch of uint8 images
gets it when it has become float, on its device.

Letters: B images, P rectangles of each, H height, W width.
"""

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from fastreid_ext.data.transforms.cutout import Cutout

# Top, left, rows and columns in pixels; no rows: nothing is painted.
Rectangle = tuple[int, int, int, int]
NOTHING: Rectangle = (0, 0, 0, 0)
# Of the area and of rows / columns, as torchvision's RandomErasing has them.
_SCALE = (0.02, 0.33)
_RATIO = (0.3, 3.3)
_ATTEMPTS = 10


class Painter(Protocol):
    """Draws a rectangle for an image of H x W; ``fill`` is its colour in [0, 255]."""

    fill: Sequence[float]

    def sample(self, height: int, width: int, generator: torch.Generator) -> Rectangle:
        """Draw a rectangle."""


class ErasingPainter:
    """The rectangle of torchvision's ``RandomErasing``, from the same random numbers.

    Args:
        probability: of an image to be erased, in [0, 1].
        fill: colour, one value per channel or one for all, in [0, 255].
    """

    def __init__(self, *, probability: float, fill: Sequence[float]) -> None:
        self.probability = probability
        self.fill = tuple(fill) if len(fill) > 1 else tuple(fill) * 3
        low, high = torch.log(torch.tensor(_RATIO)).tolist()
        self._log_ratio = low, high

    def sample(self, height: int, width: int, generator: torch.Generator) -> Rectangle:
        """Draw a rectangle; one that is too large is drawn again, ten times at most."""
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
    """
    return torch.rand(1, generator=generator).item() < float(np.float32(probability))


def _uniform(low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.empty(1).uniform_(low, high, generator=generator)


class CutoutPainter:
    """The rectangle of :class:`Cutout`."""

    def __init__(self, cutout: Cutout) -> None:
        self.cutout = cutout
        self.fill = cutout.fill

    def sample(self, height: int, width: int, generator: torch.Generator) -> Rectangle:
        """Draw a rectangle."""
        corner = self.cutout.sample(height, width, generator)
        return NOTHING if corner is None else (*corner, *self.cutout.size)


class PaintRectangles:
    """Batch step: paint ``painted`` (B, P, 4) on ``images`` (B, 3, H, W), which become float32.

    Args:
        fills: P colours in [0, 255], three values each; later rectangles cover earlier ones.
    """

    def __init__(self, fills: Sequence[Sequence[float]]) -> None:
        self.fills = tuple(map(tuple, fills))

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return a batch without ``painted``; one that has none is returned as it is."""
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
    colour = torch.tensor(fill)[:, None, None]
    for image, (top, left, rows, columns) in zip(images, rectangles.tolist(), strict=True):
        if rows:
            image[:, top : top + rows, left : left + columns] = colour


def _paint_together(images: Tensor, rectangles: Tensor, fill: Sequence[float]) -> None:
    """Paint without waiting for the device to say where."""
    inside = _inside(rectangles, *images.shape[2:])
    for channel, value in enumerate(fill):
        images[:, channel].masked_fill_(inside, value)


def _inside(rectangles: Tensor, height: int, width: int) -> Tensor:
    """Return the pixels (B, H, W) inside of rectangles (B, 4), bool."""
    top, left, rows, columns = rectangles.long()[..., None].unbind(1)  # (B, 1) each
    y = torch.arange(height, device=rectangles.device)
    x = torch.arange(width, device=rectangles.device)
    in_rows = (y >= top) & (y < top + rows)
    in_columns = (x >= left) & (x < left + columns)
    return in_rows[:, :, None] & in_columns[:, None, :]


def paint_rounded(image: Tensor, rectangle: Rectangle, fill: Sequence[float]) -> None:
    """Paint a rectangle into a uint8 image (3, H, W), in place, in the nearest grey levels."""
    top, left, rows, columns = rectangle
    colour = torch.tensor(fill).round().to(torch.uint8)[:, None, None]
    image[:, top : top + rows, left : left + columns] = colour
