"""Rectangles in an image: sampled, painted in one colour, mixed with other pixels.

Letters: H height, W width of an image, h, w of a rectangle.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

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


class PatchTransform:
    """Sampling that transforms of a random rectangle share: whether, of what size, and where.

    Subclasses have ``sample(rng, height, width)``, which returns None where an image stays
    unchanged, and ``apply(image, sampled)``.

    Example:
        >>> transform = PatchTransform(probability=1.0, area=(0.25, 0.25), aspect=1.0)
        >>> patch = transform.sample_patch(np.random.default_rng(0), height=8, width=8)
        >>> patch.height, patch.width
        (4, 4)

    Args:
        probability: probability that an image is changed, in [0, 1].
        beta: the two parameters of the Beta distribution of the weight of the other pixels.
        area: least and largest area as shares of the image.
        aspect: least ratio of height to width; the largest is its inverse.
    """

    def __init__(
        self,
        *,
        probability: float = 0.5,
        beta: tuple[float, float] = (0.5, 1.0),
        area: tuple[float, float] = (0.02, 0.4),
        aspect: float = 0.3,
    ) -> None:
        self.probability = probability
        self.beta = beta
        self.area = area
        self.aspect = aspect

    def __call__(self, image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """Change a rectangle with the probability; the input is not written to."""
        sampled = self.sample(rng, *image.shape[:2])
        return image if sampled is None else self.apply(image, sampled)

    def sample(self, rng: np.random.Generator, height: int, width: int) -> Any:
        """Sample what :meth:`apply` does to an image of that size; None for nothing."""
        raise NotImplementedError

    def apply(self, image: NDArray[np.uint8], sampled: Any) -> NDArray[np.uint8]:
        """Change a copy of an image (H, W, 3) as sampled."""
        raise NotImplementedError

    def sample_patch(self, rng: np.random.Generator, height: int, width: int) -> Patch | None:
        """Sample the rectangle in an image of that size; None where the image stays unchanged."""
        if rng.random() >= self.probability:
            return None
        size = sample_patch_size(rng, height, width, self.area, self.aspect)
        return None if size is None else place_patch(rng, height, width, size)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(probability={self.probability:g}, beta={self.beta}, "
            f"area={self.area}, aspect={self.aspect:g})"
        )


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
