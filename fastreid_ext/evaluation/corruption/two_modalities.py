"""Corrupted test sets of two modalities: which images are corrupted, and how infrared ones are.

There are two protocols:

- "-C" corrupts visible images alone, be they queries or gallery [0];
- "-C*" corrupts both modalities [1]. An infrared image that the index gives ``saturate`` stays
  clean, so that "none" takes the place of saturate among the twenty; its noise is the same in all
  three channels, as a camera of one channel makes it. That this is what [1] calls noise aware of
  the modality is our reading.

Both take the index of one modality, whose seeds and severities they share, and corrupt images at
the size of the network, after the resize, as the code of [0] does for two modalities.

[0] Chen et al., "Benchmarks for Corruption Invariant Person Re-identification", NeurIPS 2021
[1] Josi et al., "Multimodal Data Augmentation for Visual-Infrared Person ReID with Corrupted Data",
    WACV Workshops 2023
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from fastreid.config import CfgNode
from numpy.typing import NDArray

from fastreid_ext.corruptions.cpu.corrupt import MINIMUM_SIDE
from fastreid_ext.corruptions.record import Corruption
from fastreid_ext.data.transforms.fastreid_steps import build_decoded_steps
from fastreid_ext.data.visible_infrared import visible_infrared_test
from fastreid_ext.evaluation.corruption.index import Side

# Corruption that needs colours, in whose place an infrared image stays clean.
NEEDS_COLOURS = "saturate"
NOISES = ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise")
ASKED = ("query", "gallery", "both", "visible")  # sides that a caller may name
Asked = Literal["query", "gallery", "both", "visible", ""]


def corrupted_side(data_set: str, asked: Asked) -> Side:
    """Decide which side of a test set is corrupted.

    Args:
        data_set: registered name of the test set.
        asked: "query", "gallery", "both", or "visible", the side of the visible images; "" =
            "visible" for a set of two modalities and "both" for others.

    Raises:
        ValueError: "visible" is asked of a set of one modality.
    """
    rule = visible_infrared_test(data_set)
    if asked not in ("", "visible"):
        return asked
    if rule is not None:
        return "query" if rule.direction == "visible_to_infrared" else "gallery"
    if asked:
        raise ValueError(
            f"expected query, gallery or both of {data_set}, which has one modality, got "
            f"{asked!r}; leave --corrupt out to corrupt both"
        )
    return "both"


def suffix_of(data_set: str, corrupted: str) -> str:
    """Name the protocol: "-C*" where infrared images are corrupted too, else "-C"."""
    if visible_infrared_test(data_set) is None:
        return "-C"
    return "-C" if corrupted == corrupted_side(data_set, "visible") else "-C*"


def resize_before(cfg: CfgNode, data_set: str) -> Callable[[Any], NDArray[np.uint8]] | None:
    """Build the resize to network size that comes before corruption; None for one modality.

    Raises:
        ValueError: the network's images are too small for corruptions.
    """
    if visible_infrared_test(data_set) is None:
        return None
    size = list(cfg.INPUT.SIZE_TEST)
    if min(size) < MINIMUM_SIDE:
        raise ValueError(
            f"expected INPUT.SIZE_TEST of at least {MINIMUM_SIDE} pixels on each side, as images "
            f"of two modalities are corrupted at that size, got {size}; enlarge it"
        )
    return Steps(build_decoded_steps(cfg, is_train=False))


class Steps:
    """Functions one after the other; a class, so that loader processes can have it.

    Args:
        steps: functions from an image to an image.
    """

    def __init__(self, steps: Sequence[Callable[[Any], Any]]) -> None:
        self.steps = tuple(steps)

    def __call__(self, image: Any) -> Any:
        """Apply all functions."""
        for step in self.steps:
            image = step(image)
        return image


def infrared_corruption(corruption: Corruption | None) -> Corruption | None:
    """Leave an infrared image clean under the corruption that needs colours.

    Example:
        >>> str(infrared_corruption(Corruption("fog", 3, 7)))
        'fog:3:7'
        >>> infrared_corruption(Corruption("saturate", 3, 7)) is None
        True
    """
    if corruption is None or corruption.name == NEEDS_COLOURS:
        return None
    return corruption


def with_equal_noise(
    image: NDArray[np.uint8], corrupted: NDArray[np.uint8], corruption: Corruption | None
) -> NDArray[np.uint8]:
    """Give all channels the noise of the first, if the corruption is a noise on a grey image.

    Args:
        image: (H, W, 3) uint8 infrared image before the corruption.
        corrupted: (H, W, 3) uint8 image after it.
        corruption: corruption that was applied; None for none.
    """
    if corruption is None or corruption.name not in NOISES:
        return corrupted
    is_grey = (image == image[..., :1]).all()
    return corrupted[..., :1].repeat(3, axis=2) if is_grey else corrupted
