"""Views of ICE: two augmented views of an image and one that is only resized.

[0] Chen et al., "ICE: Inter-instance Contrastive Encoding for Unsupervised Person
    Re-identification", ICCV 2021, https://arxiv.org/abs/2103.16364
"""

from typing import Any

import numpy as np

from fastreid_ext.data.transforms.multi_view import Parts, Recorded
from fastreid_ext.data.transforms.one_pass import Geometry


class StrongWeakViews:
    """Two passes through all transforms, and the resized image alone, without erasing.

    Example:
        >>> def keep(image, rng):
        ...     return image, ""  # and no record of corruptions
        >>> parts = Parts(decoded=keep, image=keep, tensor=keep)
        >>> image = np.zeros((90, 40, 3), np.uint8)
        >>> views = StrongWeakViews((64, 32))(image, np.random.default_rng(0), parts)
        >>> [array.shape for array, _ in views]
        [(90, 40, 3), (90, 40, 3), (64, 32, 3)]

    Args:
        size: height and width of the weak view, those of the network's input.

    Attributes:
        count: number of views, 3.
        unchanged: number of last views that become tensors without further transforms, 1.
    """

    count = 3
    unchanged = 1

    def __init__(self, size: tuple[int, int]) -> None:
        self._resize = Geometry(size)

    def __call__(self, image: Any, rng: np.random.Generator, parts: Parts) -> list[Recorded]:
        """Make the two strong views of a decoded image, then the weak one."""
        strong = parts.passes(image, rng, 2, same=False)
        return [*strong, (self._resize(image), "")]

    def __repr__(self) -> str:
        return f"StrongWeakViews({self._resize.size})"
