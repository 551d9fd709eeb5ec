"""Two views of a person in two poses: stage 2 of DAPG.

The anchor is a pass of the image through the transforms of training, the positive one of a
pose-changed image of it (:mod:`fastreid_ext.data.positives`), after which the channel augmentation
of CAJ acts on the positive. The letter says "channel enhancement" of the generated image; that this
is CAJ's is a guess.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastreid_ext.data.transforms.channel import ChannelStep, on_array
from fastreid_ext.data.transforms.multi_view import Parts, Recorded


class PoseViews:
    """The views of an image and of a pose-changed image, as uint8 arrays at network size.

    Example:
        >>> from fastreid_ext.data.transforms.channel import ChannelExchange
        >>> def keep(image, rng):
        ...     return image, ""  # and no record of corruptions
        >>> parts = Parts(decoded=keep, image=keep, tensor=keep)
        >>> colours = np.zeros((64, 32, 3), np.uint8) + np.array([1, 2, 3], np.uint8)
        >>> views = PoseViews(channel=[ChannelExchange(probability=1.0)])
        >>> (_, _), (positive, _) = views(colours, np.random.default_rng(0), parts, colours)
        >>> len(np.unique(positive))  # one channel for all three
        1

    Args:
        channel: steps from a tensor (3, H, W) and a generator to a tensor, on the positive alone.
    """

    count = 2
    takes_positive = True

    def __init__(self, *, channel: Sequence[ChannelStep]) -> None:
        self.channel = tuple(channel)

    def __call__(
        self, image: Any, rng: np.random.Generator, parts: Parts, positive: Any
    ) -> list[Recorded]:
        """Make both views of a decoded image and its decoded positive."""
        changed, text = parts.pass_through(positive, rng)
        augmented = on_array(self.channel, changed, rng)
        return [parts.pass_through(image, rng), (augmented, text)]

    def __repr__(self) -> str:
        return f"PoseViews(channel={list(self.channel)})"
