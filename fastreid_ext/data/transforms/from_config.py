"""Our transforms built from a configuration."""

from collections.abc import Callable
from typing import Any

import numpy as np
from fastreid.config import CfgNode
from fastreid.data.transforms import AugMix as HostAugMix
from numpy.typing import NDArray
from PIL import Image

from fastreid_ext.corruptions.cpu import COMMON_CORRUPTIONS
from fastreid_ext.corruptions.record import RandomCorruption
from fastreid_ext.data.transforms.augmix import AugMix
from fastreid_ext.data.transforms.blur import RandomBlur
from fastreid_ext.data.transforms.caj_views import CajViews
from fastreid_ext.data.transforms.channel import AdaptiveGray, ChannelErasing, ChannelExchange
from fastreid_ext.data.transforms.cutout import Cutout
from fastreid_ext.data.transforms.dapg_views import DapgViews
from fastreid_ext.data.transforms.grayscale import RandomGrayscale
from fastreid_ext.data.transforms.multi_view import (
    CilViews,
    CorruptedViews,
    IndependentViews,
)
from fastreid_ext.data.transforms.patch_mixing import PatchMixing
from fastreid_ext.data.transforms.pose_views import PoseViews
from fastreid_ext.data.transforms.rand_augment import RandAugment, TimmRandAugment
from fastreid_ext.data.transforms.soft_erasing import SoftErasing
from fastreid_ext.data.transforms.strong_weak_views import StrongWeakViews

# Recipes of INPUT.VIEWS and the number of views of each in its paper.
_VIEW_COUNTS = {
    "independent": 2,
    "corrupted": 3,
    "cil": 3,
    "dapg": 4,
    "caj": 2,
    "strong_weak": 3,
    "pose": 2,
}
# Recipes whose views have resizing, crop, flip and jitter of their own in their papers.
_SEPARATE_CROPS = ("dapg", "caj")
RECIPES = tuple(_VIEW_COUNTS)
CORRUPTING = ("corrupted", "dapg")  # recipes that corrupt some of the views
AUGMIX_METHODS = ("fastreid", "paper")
CHANNEL_MODES = ("erasing", "exchange", "exchange_or_luminance", "adaptive_gray")
CROPS = ("shared", "separate")  # choices of INPUT.VIEWS.CROP
ANCHORS = ("corrupted", "clean")  # choices of INPUT.VIEWS.ANCHOR
PLACES = ("native", "resized", "device")  # choices of INPUT.CORRUPTION.WHERE
# Colour of channel erasing after normalisation, for a mean and a standard deviation of the image.
_ERASED_COLOUR = (0.4914, 0.4822, 0.4465)


def build_corruption(cfg: CfgNode) -> RandomCorruption:
    """Build the corruption of ``INPUT.CORRUPTION``, whether it is enabled or not."""
    keys = cfg.INPUT.CORRUPTION
    # A recipe of views decides which views are corrupted.
    return RandomCorruption(
        names=keys.NAMES or COMMON_CORRUPTIONS,
        severities=keys.SEVERITIES,
        probability=keys.PROB if keys.ENABLED else 1.0,
        count=keys.COUNT,
        reference=keys.REFERENCE,
    )


def build_augmix(cfg: CfgNode, probability: float) -> AugMix:
    """Build our AugMix with the keys of ``INPUT.AUGMIX``."""
    keys = cfg.INPUT.AUGMIX
    return AugMix(
        probability=probability,
        severity=keys.SEVERITY,
        width=keys.WIDTH,
        depth=keys.DEPTH,
        alpha=keys.ALPHA,
    )


def build_cutout(cfg: CfgNode) -> list[Cutout]:
    """Build the Cutout of ``INPUT.CUTOUT``; [] where it is not enabled."""
    cutout = cfg.INPUT.CUTOUT
    if not cutout.ENABLED:
        return []
    rows, columns = cutout.SIZE
    return [Cutout(probability=cutout.PROB, size=(rows, columns), fill=cfg.MODEL.PIXEL_MEAN)]


def build_erasing(cfg: CfgNode) -> SoftErasing:
    """Build the erasing of ``INPUT.SOFT_ERASING``."""
    colours = {"mean": cfg.MODEL.PIXEL_MEAN, "std": cfg.MODEL.PIXEL_STD}
    return SoftErasing(**_patch_keys(cfg.INPUT.SOFT_ERASING), **colours)


def build_mixing(cfg: CfgNode) -> PatchMixing:
    """Build the mixing of ``INPUT.PATCH_MIXING``."""
    return PatchMixing(**_patch_keys(cfg.INPUT.PATCH_MIXING))


def _patch_keys(keys: CfgNode) -> dict:
    return {
        "probability": keys.PROB,
        "beta": tuple(keys.BETA),
        "area": tuple(keys.AREA),
        "aspect": keys.ASPECT,
    }


def build_pixel_steps(cfg: CfgNode) -> list[Callable]:
    """Build the transforms of arrays at network size but for corruption, in their order."""
    inputs = cfg.INPUT
    steps = []
    if inputs.GRAYSCALE.ENABLED:
        steps.append(RandomGrayscale(probability=inputs.GRAYSCALE.PROB))
    if inputs.BLUR.ENABLED:
        steps.append(RandomBlur(probability=inputs.BLUR.PROB, sigma=inputs.BLUR.SIGMA))
    if inputs.RANDAUGMENT.ENABLED:
        steps.append(_rand_augment(cfg))
    if inputs.AUGMIX.ENABLED:
        steps.append(_augmix_step(cfg))
    if inputs.SOFT_ERASING.ENABLED:
        steps.append(build_erasing(cfg))
    if inputs.PATCH_MIXING.ENABLED:
        steps.append(build_mixing(cfg))
    return steps


def _rand_augment(cfg: CfgNode) -> Callable:
    keys = cfg.INPUT.RANDAUGMENT
    if keys.TIMM:
        return TimmRandAugment(keys.TIMM, fill=cfg.MODEL.PIXEL_MEAN)
    return RandAugment(operations=keys.OPERATIONS, magnitude=keys.MAGNITUDE)


def _augmix_step(cfg: CfgNode) -> Callable:
    keys = cfg.INPUT.AUGMIX
    if keys.METHOD != "fastreid":
        return build_augmix(cfg, keys.PROB)
    return OnPillow(HostAugMix(prob=keys.PROB))


class OnPillow:
    """A transform of PIL images as a step on arrays; it samples from the process-wide generators.

    Example:
        >>> mirror = OnPillow(lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
        >>> mirror(np.array([[[1, 1, 1], [2, 2, 2]]], np.uint8))[0, :, 0].tolist()
        [2, 1]

    Args:
        step: transform from PIL images to PIL images or arrays.
    """

    def __init__(self, step: Callable[[Image.Image], Any]) -> None:
        self.step = step

    def __call__(
        self, image: NDArray[np.uint8] | Image.Image, rng: np.random.Generator | None = None
    ) -> NDArray[np.uint8]:
        """Transform an image to an array (H, W, 3); the generator is not used."""
        is_array = isinstance(image, np.ndarray)
        return np.array(self.step(Image.fromarray(image) if is_array else image))

    def __repr__(self) -> str:
        return f"OnPillow({self.step!r})"


def build_channel_steps(cfg: CfgNode) -> tuple[list[Callable], list[Callable]]:
    """Build the operations of ``INPUT.CHANNEL`` on tensors, whether it is enabled or not.

    Returns:
        Operations on visible images, and those on infrared ones.
    """
    keys = cfg.INPUT.CHANNEL
    colour = [
        mean + std * value
        for mean, std, value in zip(
            cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD, _ERASED_COLOUR, strict=True
        )
    ]
    made = {
        "erasing": lambda: ChannelErasing(probability=keys.ERASING_PROB, fill=colour),
        "exchange": lambda: ChannelExchange(probability=keys.PROB),
        "exchange_or_luminance": lambda: ChannelExchange(
            probability=keys.PROB, with_luminance=True
        ),
        "adaptive_gray": lambda: AdaptiveGray(probability=keys.PROB),
    }
    return (
        [made[mode]() for mode in keys.MODES],
        [made[mode]() for mode in keys.INFRARED_MODES],
    )


def view_count(cfg: CfgNode) -> int:
    """Compute the number of views of each image; 1 without a recipe."""
    views = cfg.INPUT.VIEWS
    return (views.COUNT or _VIEW_COUNTS[views.RECIPE]) if views.RECIPE else 1


def build_views(cfg: CfgNode) -> Callable | None:
    """Build the recipe of ``INPUT.VIEWS``; None for one view."""
    keys = cfg.INPUT.VIEWS
    same = keys.CROP == "shared" if keys.CROP else keys.RECIPE not in _SEPARATE_CROPS
    if keys.RECIPE == "independent":
        return IndependentViews(count=view_count(cfg))
    if keys.RECIPE == "corrupted":
        return CorruptedViews(
            count=view_count(cfg),
            same_crop=same,
            corruption=build_corruption(cfg),
            is_applied=cfg.INPUT.CORRUPTION.WHERE == "resized",
        )
    if keys.RECIPE == "cil":
        return CilViews(
            count=view_count(cfg),
            same_crop=same,
            erasing=build_erasing(cfg),
            mixing=build_mixing(cfg),
            augmix=build_augmix(cfg, 1.0),
            erased=keys.ERASED,
        )
    if keys.RECIPE == "caj":
        visible, infrared = build_channel_steps(cfg)
        return CajViews(same_crop=same, visible=visible, infrared=infrared)
    if keys.RECIPE == "strong_weak":
        height, width = cfg.INPUT.SIZE_TRAIN
        return StrongWeakViews((int(height), int(width)))
    if keys.RECIPE == "pose":
        return PoseViews(channel=build_channel_steps(cfg)[0])
    if keys.RECIPE == "dapg":
        return DapgViews(
            same_crop=same,
            corruption=build_corruption(cfg),
            clean_anchor=keys.ANCHOR == "clean",
            is_applied=cfg.INPUT.CORRUPTION.WHERE == "resized",
        )
    return None
