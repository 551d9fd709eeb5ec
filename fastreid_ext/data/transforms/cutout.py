"""Cutout: a rectangle of a training image is painted over.

[0] DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout",
    2017, https://arxiv.org/abs/1708.04552. As used with Batch DropBlock and unlike [0], the
    rectangle lies wholly inside the image and comes with a probability.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from fastreid_ext.data.transforms.rectangles import Patch, paint_patch

# (top, left) in pixels.
Corner = tuple[int, int]


class Cutout:
    """Paint over a rectangle of fixed size at a uniformly sampled place.

    Samples from torch's global generator, which ``PersonDataset`` seeds for each image of a batch.

    Example:
        >>> cutout = Cutout(probability=1.0, size=(32, 16), fill=(0, 0, 0))
        >>> (cutout(torch.ones(3, 64, 32)) == 0).sum().item()
        1536

    Args:
        probability: probability that an image is cut, in [0, 1].
        size: rows and columns of the rectangle in pixels.
        fill: colour, one value per channel, in the units of the image.
    """

    def __init__(self, *, probability: float, size: tuple[int, int], fill: Sequence[float]) -> None:
        self.probability = probability
        self.size = size
        self.fill = tuple(fill)

    def __call__(self, image: Tensor) -> Tensor:
        """Cut a (C, H, W) image with the probability; the input is not written to."""
        corner = self.sample(*image.shape[-2:])
        return image if corner is None else self.apply(image, corner)

    def sample(
        self, height: int, width: int, generator: torch.Generator | None = None
    ) -> Corner | None:
        """Sample where an image of that size is cut; None where it is not.

        Args:
            height: rows of the image, in pixels.
            width: columns of the image, in pixels.
            generator: source of the random numbers; None = torch's global one.

        Raises:
            ValueError: the rectangle does not fit into the image.
        """
        rows, columns = self.size
        if rows > height or columns > width:
            raise ValueError(
                f"expected an image of at least {rows} x {columns} for Cut-out, got {height} x "
                f"{width}; lower INPUT.CUTOUT.SIZE"
            )
        if torch.rand((), generator=generator) >= self.probability:
            return None
        top = int(torch.randint(height - rows + 1, (), generator=generator))
        return top, int(torch.randint(width - columns + 1, (), generator=generator))

    def apply(self, image: Tensor, corner: Corner) -> Tensor:
        """Paint the rectangle with that top left corner into a copy of the image."""
        cut = image.clone()
        paint_patch(cut, Patch(*corner, *self.size), self.fill)
        return cut

    def __repr__(self) -> str:
        return f"Cutout(probability={self.probability:g}, size={self.size}, fill={self.fill})"
