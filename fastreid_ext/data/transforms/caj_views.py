"""Streams of CAJ: a visible image in its colours and in one band, an infrared image once.

A visible image is shown twice, each time with a crop, a flip and an erasing of its own; the second
also has its channels exchanged. An infrared image is shown once, with adaptive grey after erasing.
The views of a sample are as many for both modalities, so an infrared image is repeated here;
:func:`~fastreid_ext.data.transforms.on_batch.infrared_once` leaves the repetition out of the batch.

[0] Ye et al., "Channel Augmented Joint Learning for Visible-Infrared Recognition", ICCV 2021
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastreid_ext.data.transforms.channel import ChannelErasing, ChannelStep, on_array
from fastreid_ext.data.transforms.multi_view import Parts, Recorded
from fastreid_ext.data.visible_infrared import INFRARED


class CajViews:
    """Two streams of a visible image, and one stream, twice, of an infrared image.

    Example:
        >>> from fastreid_ext.data.transforms.channel import ChannelExchange
        >>> def keep(image, rng):
        ...     return image, ""  # and no record of corruptions
        >>> parts = Parts(decoded=keep, image=keep, tensor=keep)
        >>> colours = np.zeros((64, 32, 3), np.uint8) + np.array([1, 2, 3], np.uint8)
        >>> exchange = ChannelExchange(probability=1.0)
        >>> streams = CajViews(same_crop=False, visible=[exchange], infrared=[])
        >>> visible = streams(colours, np.random.default_rng(0), parts, 0)
        >>> [len(np.unique(array)) for array, _ in visible]  # the second has one channel thrice
        [3, 1]

    Args:
        same_crop: make both streams of one crop; [0] crops and flips each on its own.
        visible: operations on the second stream of a visible image; the first has the erasing
            among them alone.
        infrared: operations on the stream of an infrared image.
    """

    count = 2
    takes_modality = True

    def __init__(
        self, *, same_crop: bool, visible: Sequence[ChannelStep], infrared: Sequence[ChannelStep]
    ) -> None:
        self.same_crop = same_crop
        erasings = [step for step in visible if isinstance(step, ChannelErasing)]
        self.visible = (tuple(erasings), tuple(visible))
        self.infrared = tuple(infrared)

    def __call__(
        self, image: Any, rng: np.random.Generator, parts: Parts, modality: int
    ) -> list[Recorded]:
        """Make both views of a decoded image of a modality, 0 visible and 1 infrared."""
        if modality == INFRARED:
            array, text = parts.pass_through(image, rng)
            return [(on_array(self.infrared, array, rng), text)] * self.count
        passed = parts.passes(image, rng, self.count, same=self.same_crop)
        return [
            (on_array(steps, array, rng), text)
            for steps, (array, text) in zip(self.visible, passed, strict=True)
        ]

    def __repr__(self) -> str:
        return (
            f"CajViews(same_crop={self.same_crop}, visible={list(self.visible[1])}, "
            f"infrared={list(self.infrared)})"
        )
