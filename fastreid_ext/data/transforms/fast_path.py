"""fastreid's transforms in one pass from decoded pixels to a uint8 tensor, with equal results.

:func:`fast_whole` stands for the whole list of a configuration that has fastreid's transforms
only; :func:`fast_front` and :func:`fast_back` for the steps before and behind those on arrays at
network size. They draw the same numbers as fastreid's, in the same order, so that a run sees the
same images on either path: resized as Pillow does it, and what random erasing and Cut-out paint is
painted on the device, where images are float and the colours need not be rounded.
"""

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from fastreid.config import CfgNode
from fastreid.data.transforms import AugMix, ToTensor
from fastreid.data.transforms import build_transforms as host_transforms
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision import transforms as tv

from fastreid_ext.data.transforms.from_config import build_cutout
from fastreid_ext.data.transforms.one_pass import Decoded, FastTransform, Geometry, ResizeOnly
from fastreid_ext.data.transforms.painting import (
    CutoutPainter,
    ErasingPainter,
    Painter,
    PaintRectangles,
    paint_rounded,
)

_GEOMETRY = (tv.Resize, tv.Pad, tv.RandomCrop, tv.RandomHorizontalFlip)


class OnPillow:
    """A step for PIL images in a list for arrays.

    Args:
        step: maps PIL images to PIL images or arrays.
    """

    def __init__(self, step: Callable[[Image.Image], Any]) -> None:
        self.step = step

    def __call__(self, image: Decoded) -> NDArray[np.uint8]:
        """Return an array (H, W, 3); the input is not written to."""
        is_array = isinstance(image, np.ndarray)
        return np.array(self.step(Image.fromarray(image) if is_array else image))

    def __repr__(self) -> str:
        return f"OnPillow({self.step!r})"


def fast_whole(cfg: CfgNode, *, is_train: bool) -> Callable[[Decoded], Any]:
    """Return fastreid's transforms of a configuration, and Cut-out; none of our others.

    Auto-augmentation, colour jitter, affine, AugMix, fastreid's crop and random patch are not in
    the fast pass. They do their work as before, on PIL images and float tensors, between fast
    steps; the results are the same.
    """
    geometry = _geometry(cfg, is_train=is_train)
    if geometry is not None and not is_train:
        return ResizeOnly(geometry.size)
    slow = ("AUTOAUG", "CJ", "AFFINE", "AUGMIX", "RPT")
    if geometry is not None and not any(cfg.INPUT[name].ENABLED for name in slow):
        return FastTransform(geometry, _painters(cfg))
    steps = host_transforms(cfg, is_train=is_train).transforms
    to_tensor = _place_of_tensor(steps)
    augmix = [OnPillow(step) for step in steps[:to_tensor] if isinstance(step, AugMix)]
    front = fast_front(cfg, is_train=is_train)
    cutout = build_cutout(cfg) if is_train else []
    return tv.Compose([front, *augmix, steps[to_tensor], *cutout, *steps[to_tensor + 1 :]])


def fast_front(cfg: CfgNode, *, is_train: bool) -> Callable[[Decoded], NDArray[np.uint8]]:
    """Return fastreid's steps before the tensor but AugMix: decoded image to array (H, W, 3).

    They draw from the process-wide generators.
    """
    steps = host_transforms(cfg, is_train=is_train).transforms
    steps = [step for step in steps[: _place_of_tensor(steps)] if not isinstance(step, AugMix)]
    geometry = _geometry(cfg, is_train=is_train)
    if geometry is None:
        return tv.Compose([OnPillow(step) for step in steps] or [np.asarray])
    fast: list[Callable] = []
    for step in steps:
        if not isinstance(step, _GEOMETRY):
            fast.append(OnPillow(step))
        elif geometry not in fast:
            fast.append(geometry)
    return tv.Compose(fast)


def fast_back(cfg: CfgNode) -> "FastBack":
    """Return fastreid's training steps from the tensor on, and Cut-out; see :class:`FastBack`."""
    has_patches = cfg.INPUT.RPT.ENABLED
    patches = host_transforms(cfg, is_train=True).transforms[-1:] if has_patches else []
    return FastBack(_painters(cfg), patches)


class FastBack:
    """Steps from the tensor on: array (H, W, 3) to uint8 tensor (3, H, W).

    The colours of erasing and Cut-out are rounded. Samples from the process-wide generators.

    Args:
        painters: sample rectangles and give their colours.
        patches: fastreid's random patch, or nothing.
    """

    def __init__(self, painters: Sequence[Painter], patches: Sequence[Callable]) -> None:
        self.painters = painters
        self.patches = patches

    def __call__(self, array: NDArray[np.uint8]) -> Tensor:
        """Return the painted image; the input is not written to."""
        image = torch.from_numpy(np.stack(cv2.split(array)))
        for painter in self.painters:
            drawn = painter.sample(*image.shape[1:], torch.default_generator)
            paint_rounded(image, drawn, painter.fill)
        for patch in self.patches:
            image = patch(image)
        return image


def paint_steps(cfg: CfgNode, *, is_train: bool) -> list[PaintRectangles]:
    """Return the batch step that belongs to :func:`fast_whole`; the first of all."""
    painters = _painters(cfg) if is_train and cfg.INPUT.FAST_PATH.ENABLED else []
    return [PaintRectangles([painter.fill for painter in painters])] if painters else []


def _geometry(cfg: CfgNode, *, is_train: bool) -> Geometry | None:
    """Return the geometry; None where fastreid's crop or a size of one number makes it another."""
    inputs = cfg.INPUT
    size = inputs.SIZE_TRAIN if is_train else inputs.SIZE_TEST
    if inputs.CROP.ENABLED or len(size) != 2 or min(size) <= 0:
        return None
    size = int(size[0]), int(size[1])
    if not is_train:
        return Geometry(size)
    return Geometry(
        size,
        padding=inputs.PADDING.SIZE if inputs.PADDING.ENABLED else 0,
        padding_mode=inputs.PADDING.MODE,
        flip_probability=inputs.FLIP.PROB if inputs.FLIP.ENABLED else None,
    )


def _painters(cfg: CfgNode) -> list[Painter]:
    erasing = cfg.INPUT.REA
    painters: list[Painter] = [CutoutPainter(cutout) for cutout in build_cutout(cfg)]
    if erasing.ENABLED:
        painters.append(ErasingPainter(probability=erasing.PROB, fill=erasing.VALUE))
    return painters


def _place_of_tensor(steps: Sequence[Callable]) -> int:
    return next(place for place, step in enumerate(steps) if isinstance(step, ToTensor))
