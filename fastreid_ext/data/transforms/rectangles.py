"""Rectangles in an image: sampled, painted in one colour, mixed with other pixels.

Letters: H height, W width of an image, h, w of a rectangle.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_ATTEMPTS = 100


@dataclasses.dataclass(frozen=True)
class Patch:
    """A rectangle: first row and column, height and width in pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Build the slices of rows and columns that index an image."""
        rows = slice(self.top, self.top + self.height)
        return rows, slice(self.left, self.left + self.width)


def sample_patch_size(
    rng: np.random.Generator, height: int, width: int, area: tuple[float, float], aspect: float
) -> tuple[int, int] | None:
    """Sample height and width of a rectangle smaller than the image; None if none was found."""
    for _ in range(_ATTEMPTS):
        pixels = rng.uniform(*area) * height * width
        ratio = rng.uniform(aspect, 1 / aspect)
        rows = round(math.sqrt(pixels * ratio))
        columns = round(math.sqrt(pixels / ratio))
        if 0 < rows < height and 0 < columns < width:
            return rows, columns
    return None


def place_patch(rng: np.random.Generator, height: int, width: int, size: tuple[int, int]) -> Patch:
    """Sample where a rectangle of that size lies, uniformly inside the image."""
    rows, columns = size
    top = int(rng.integers(height - rows + 1))
    return Patch(top, int(rng.integers(width - columns + 1)), rows, columns)


def with_mixed_patch(
    image: NDArray[np.uint8], patch: Patch, other: NDArray, weight: float
) -> NDArray[np.uint8]:
    """Mix a patch of a copy of the image: ``(1 - weight) own + weight other``, rounded.

    Example:
        >>> image = np.zeros((4, 4, 3), np.uint8)
        >>> mixed = with_mixed_patch(image, Patch(0, 0, 2, 2), np.full((2, 2, 3), 200), weight=0.5)
        >>> mixed[0, :, 0].tolist()
        [100, 100, 0, 0]

    Args:
        image: (H, W, 3) uint8 RGB; not written to.
        patch: rectangle of h x w pixels inside the image.
        other: (h, w, 3) pixels to mix in, any values in [0, 255].
        weight: share of ``other``, in [0, 1].
    """
    mixed = image.copy()
    own = image[patch.slices].astype(np.float32)
    own += np.float32(weight) * (other - own)
    mixed[patch.slices] = np.rint(own).astype(np.uint8)
    return mixed


def paint_patch(image: Tensor, patch: Patch, fill: Sequence[float]) -> None:
    """Paint a patch of an image in one colour, in place.

    Example:
        >>> image = torch.zeros(3, 4, 4)
        >>> paint_patch(image, Patch(0, 0, 2, 2), fill=(124.0, 116.0, 104.0))
        >>> image[0, 0].tolist()
        [124.0, 124.0, 0.0, 0.0]

    Args:
        image: (3, H, W) float or uint8 tensor in [0, 255]; uint8 gets the nearest grey levels.
        patch: rectangle inside the image.
        fill: colour, one value in [0, 255] for each channel.
    """
    colour = torch.tensor(fill)
    if not image.is_floating_point():
        colour = colour.round()
    rows, columns = patch.slices
    image[:, rows, columns] = colour.to(image.dtype)[:, None, None]
