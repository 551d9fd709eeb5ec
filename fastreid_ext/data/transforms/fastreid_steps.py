"""fastreid's transforms of a configuration, compiled where possible, with equal results.

:func:`build_plain_transform` builds the whole transform of a configuration that has fastreid's
transforms only; :func:`build_decoded_steps` and :func:`build_tensor_steps` the steps before and
after those on arrays at network size. They use the random numbers of fastreid's transforms, in the
same order, and resize with Pillow's pixels.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from fastreid.config import CfgNode
from fastreid.data.transforms import AugMix, ToTensor
from fastreid.data.transforms import build_transforms as host_transforms
from numpy.typing import NDArray
from torch import Tensor
from torchvision import transforms as tv

from fastreid_ext.data.transforms.from_config import OnPillow, build_cutout
from fastreid_ext.data.transforms.one_pass import (
    Decoded,
    Geometry,
    OnePass,
    ResizeOnly,
    StepByStep,
    channels_first,
)
from fastreid_ext.data.transforms.painting import CutoutPainter, ErasingPainter, Painter
from fastreid_ext.data.transforms.rectangles import Patch, paint_patch

_GEOMETRY = (tv.Resize, tv.Pad, tv.RandomCrop, tv.RandomHorizontalFlip)
# Keys of fastreid's transforms that have no compiled form.
_UNCOMPILED = ("AUTOAUG", "CJ", "AFFINE", "AUGMIX", "RPT")


def build_plain_transform(cfg: CfgNode, *, is_train: bool) -> Callable[[Decoded], Any]:
    """Build fastreid's transforms of a configuration, and Cutout; none of our others.

    Auto-augmentation, colour jitter, affine, AugMix, fastreid's crop and random patch run as in
    fastreid, on PIL images, between compiled steps.
    """
    geometry = _geometry(cfg, is_train=is_train)
    decoded = build_decoded_steps(cfg, is_train=is_train)
    if not is_train:
        return StepByStep(decoded) if geometry is None else ResizeOnly(geometry.size)
    if geometry is not None and not any(cfg.INPUT[name].ENABLED for name in _UNCOMPILED):
        return OnePass(geometry, build_painters(cfg))
    steps = host_transforms(cfg, is_train=True).transforms
    augmix = [OnPillow(step) for step in steps if isinstance(step, AugMix)]
    if cfg.INPUT.RPT.ENABLED:
        return tv.Compose([*decoded, *augmix, build_tensor_steps(cfg, is_float=True)])
    return StepByStep([*decoded, *augmix], build_painters(cfg))


def build_decoded_steps(
    cfg: CfgNode, *, is_train: bool
) -> list[Callable[[Decoded], NDArray[np.uint8]]]:
    """Build fastreid's steps before the tensor but AugMix: decoded image to array (H, W, 3).

    They sample from the process-wide generators.
    """
    steps = host_transforms(cfg, is_train=is_train).transforms
    place_of_tensor = next(i for i, step in enumerate(steps) if isinstance(step, ToTensor))
    steps = [step for step in steps[:place_of_tensor] if not isinstance(step, AugMix)]
    geometry = _geometry(cfg, is_train=is_train)
    if geometry is None:
        return [OnPillow(step) for step in steps] or [np.asarray]
    compiled: list[Callable] = []
    for step in steps:
        if not isinstance(step, _GEOMETRY):
            compiled.append(OnPillow(step))
        elif geometry not in compiled:
            compiled.append(geometry)
    return compiled


def build_tensor_steps(cfg: CfgNode, *, is_float: bool = False) -> "TensorSteps":
    """Build fastreid's training steps from the tensor on, and Cutout; see :class:`TensorSteps`."""
    has_patches = cfg.INPUT.RPT.ENABLED
    patches = host_transforms(cfg, is_train=True).transforms[-1:] if has_patches else []
    return TensorSteps(build_painters(cfg), patches, is_float=is_float)


class TensorSteps:
    """Steps from the tensor on: array (H, W, 3) to tensor (3, H, W) in [0, 255].

    They sample from the process-wide generators.

    Example:
        >>> steps = TensorSteps([ErasingPainter(probability=0.5, fill=(124, 116, 104))], [])
        >>> steps(np.zeros((64, 32, 3), np.uint8)).shape
        torch.Size([3, 64, 32])

    Args:
        painters: samplers of rectangles and their colours, in their order.
        patches: fastreid's random patch, or an empty list.
        is_float: True for float32; False for uint8, which rounds the colours of painters.
    """

    def __init__(
        self, painters: Sequence[Painter], patches: Sequence[Callable], *, is_float: bool = False
    ) -> None:
        self.painters = tuple(painters)
        self.patches = tuple(patches)
        self.is_float = is_float

    def __call__(self, array: NDArray[np.uint8]) -> Tensor:
        """Convert and paint an image; the input is not written to."""
        image = channels_first(array)
        image = image.float() if self.is_float else image
        for painter in self.painters:
            rectangle = painter.sample(*image.shape[1:], torch.default_generator)
            paint_patch(image, Patch(*rectangle), painter.fill)
        for patch in self.patches:
            image = patch(image)
        return image

    def __repr__(self) -> str:
        return f"TensorSteps({self.painters}, {self.patches}, is_float={self.is_float})"


def build_painters(cfg: CfgNode) -> list[Painter]:
    """Build the painters of Cutout and random erasing, in the order of their steps."""
    erasing = cfg.INPUT.REA
    painters: list[Painter] = [CutoutPainter(cutout) for cutout in build_cutout(cfg)]
    if erasing.ENABLED:
        painters.append(ErasingPainter(probability=erasing.PROB, fill=erasing.VALUE))
    return painters


def _geometry(cfg: CfgNode, *, is_train: bool) -> Geometry | None:
    """Build the geometry; None where fastreid's crop or a size of one number needs another."""
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
