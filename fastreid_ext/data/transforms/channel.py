"""Channel augmentation: a visible image is made to look as if it had been taken in one band.

The operations follow [1], in the order given by the caller; its visible stream is erasing, then
exchange, its infrared stream adaptive grey. There they come after normalisation. Here they act on
grey levels before it, so three equal channels stay equal on the screen and differ by the means
after normalisation, like those of a grey image; the colour of erasing is that of [1] after
normalisation.

[0] Ye et al., "Channel Augmented Joint Learning for Visible-Infrared Recognition", ICCV 2021
[1] ICCV21_CAJ in https://github.com/mangye16/Cross-Modal-Re-ID-baseline
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastreid_ext.data.transforms.rectangles import (
    Patch,
    paint_patch,
    place_patch,
    sample_patch_size,
)

# Function from a tensor (3, H, W) in [0, 255] and a generator to a tensor of that kind.
ChannelStep = Callable[[Tensor, np.random.Generator], Tensor]
_LUMINANCE = (0.2989, 0.5870, 0.1140)
# Outcomes of the channel operations besides the channels 0, 1, 2.
LUMINANCE = 3
UNCHANGED = 4


class ChannelExchange:
    """Copy one channel to all three. Images are (3, H, W) tensors in [0, 255], uint8 or float.

    Example:
        >>> exchange = ChannelExchange(probability=1.0)
        >>> image = exchange(255 * torch.rand(3, 64, 32), np.random.default_rng(0))
        >>> torch.equal(image[0], image[2])
        True

    Args:
        probability: probability that an image is changed, in [0, 1].
        with_luminance: let the luminance be a fourth, equally likely outcome (``gray=3`` of [1]).
    """

    def __init__(self, *, probability: float, with_luminance: bool = False) -> None:
        self.probability = probability
        self.outcomes = 4 if with_luminance else 3

    def __call__(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """Change an image with the probability; the input is not written to."""
        return with_channel(image, self.sample(rng))

    def sample(self, rng: np.random.Generator) -> int:
        """Sample a channel 0, 1, 2, ``LUMINANCE`` or ``UNCHANGED``."""
        if rng.random() >= self.probability:
            return UNCHANGED
        return int(rng.integers(self.outcomes))

    def __repr__(self) -> str:
        return f"ChannelExchange(probability={self.probability:g}, outcomes={self.outcomes})"


class AdaptiveGray:
    """Four equally likely outcomes: one of the channels, or luminance in half of the cases.

    Example:
        >>> grey = AdaptiveGray(probability=1.0)
        >>> grey(255 * torch.rand(3, 64, 32), np.random.default_rng(0)).shape
        torch.Size([3, 64, 32])

    Args:
        probability: probability that an outcome is sampled for an image, in [0, 1].
    """

    def __init__(self, *, probability: float = 1.0) -> None:
        self.probability = probability

    def __call__(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """Change an image with the probability; the input is not written to."""
        return with_channel(image, self.sample(rng))

    def sample(self, rng: np.random.Generator) -> int:
        """Sample a channel 0, 1, 2, ``LUMINANCE`` or ``UNCHANGED``."""
        if rng.random() >= self.probability:
            return UNCHANGED
        outcome = int(rng.integers(4))
        if outcome == LUMINANCE and rng.random() >= 0.5:
            return UNCHANGED
        return outcome

    def __repr__(self) -> str:
        return f"AdaptiveGray(probability={self.probability:g})"


class ChannelErasing:
    """Paint a rectangle in one colour, with the parameters of [1].

    Example:
        >>> erasing = ChannelErasing(probability=1.0, fill=(120, 110, 100))
        >>> erasing(torch.zeros(3, 64, 32), np.random.default_rng(0)).amax().item()
        120.0

    Args:
        probability: probability that an image is erased, in [0, 1].
        fill: colour, a grey level in [0, 255] for each channel.
        area: least and largest area as shares of the image.
        aspect: least ratio of height to width; the largest is its inverse.
    """

    def __init__(
        self,
        *,
        probability: float = 0.5,
        fill: Sequence[float],
        area: tuple[float, float] = (0.02, 0.4),
        aspect: float = 0.3,
    ) -> None:
        self.probability = probability
        self.fill = tuple(fill)
        self.area = area
        self.aspect = aspect

    def __call__(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """Erase a rectangle with the probability; the input is not written to."""
        patch = self.sample(rng, *image.shape[-2:])
        return image if patch is None else self.apply(image, patch)

    def sample(self, rng: np.random.Generator, height: int, width: int) -> Patch | None:
        """Sample the rectangle in an image of that size; None for no rectangle."""
        if rng.random() >= self.probability:
            return None
        size = sample_patch_size(rng, height, width, self.area, self.aspect)
        return None if size is None else place_patch(rng, height, width, size)

    def apply(self, image: Tensor, patch: Patch) -> Tensor:
        """Paint the rectangle into a copy of the image."""
        erased = image.clone()
        paint_patch(erased, patch, self.fill)
        return erased

    def __repr__(self) -> str:
        fill = tuple(round(value, 1) for value in self.fill)
        return f"ChannelErasing(probability={self.probability:g}, fill={fill})"


def with_channel(image: Tensor, outcome: int) -> Tensor:
    """Copy one channel or the luminance to all channels; return the input itself if unchanged.

    Args:
        image: (3, H, W) tensor in [0, 255], uint8 or float.
        outcome: channel 0, 1, 2, ``LUMINANCE`` or ``UNCHANGED``.
    """
    if outcome == UNCHANGED:
        return image
    if outcome != LUMINANCE:
        return image[outcome].expand_as(image).clone()
    weights = torch.tensor(_LUMINANCE, dtype=torch.float32)
    grey = torch.tensordot(weights, image.float(), dims=1)
    if not image.is_floating_point():
        grey = grey.round()
    return grey.to(image.dtype).expand_as(image).clone()


def on_array(
    steps: Sequence[ChannelStep], image: NDArray[np.uint8], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Apply channel operations to an array, in their order; the input is not written to.

    Args:
        steps: operations on tensors (3, H, W), such as those of this module.
        image: (H, W, 3) uint8 RGB image.
        rng: generator from which the operations sample.
    """
    tensor = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    for step in steps:
        tensor = step(tensor, rng)
    return np.ascontiguousarray(tensor.numpy().transpose(1, 2, 0))
