"""The transforms of a configuration: fastreid's list, with ours put in at named places."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from fastreid.config import CfgNode
from fastreid.data.transforms import AugMix as HostAugMix
from fastreid.data.transforms import ToTensor
from fastreid.data.transforms import build_transforms as host_transforms
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.transforms import Compose

from fastreid_ext.corruptions.cpu import enlarged
from fastreid_ext.corruptions.record import BETWEEN_VIEWS, RandomCorruption, record
from fastreid_ext.data.transforms.fast_path import fast_back, fast_front, fast_whole
from fastreid_ext.data.transforms.from_config import (
    build_channel_steps,
    build_corruption,
    build_cutout,
    build_pixel_steps,
    build_views,
)
from fastreid_ext.data.transforms.multi_view import Parts, Recorded
from fastreid_ext.data.transforms.on_batch import records_corruptions

Array = NDArray[np.uint8]
ArrayStep = Callable[[Array, np.random.Generator], Array]


def build_transforms(cfg: CfgNode, *, is_train: bool) -> Callable[[Any], Any]:
    """Return what maps a decoded RGB image to what a sample holds.

    That is a float tensor (3, H, W) in [0, 255]; (V, 3, H, W) with ``INPUT.VIEWS``; with
    corruptions a dict of it as ``images`` and of ``corruptions``, the record of what was drawn.

    fastreid's order is kept: auto-augmentation, resize, crop, padding, flip, colour jitter, affine,
    AugMix, *to tensor*, random erasing, random patch. Ours stand at these places of training:

    - before everything: corruption at native size (``CORRUPTION.WHERE`` native);
    - between affine and *to tensor*, at network size: grey scale, RandAugment, AugMix (fastreid's
      or ours), soft erasing, self-patch mixing, corruption (``WHERE`` resized); then what the
      recipe of views does;
    - directly after *to tensor*: Cut-out;
    - at the end: channel augmentation, in the order of its ``MODES``;
    - on the whole batch (:mod:`~fastreid_ext.data.transforms.on_batch`): corruption (``WHERE``
      device), Mixup, CutMix.

    Without any of ours the list is fastreid's own. Normalisation is the model's first step, so the
    value 0 of a normalised image is the colour ``MODEL.PIXEL_MEAN`` here.

    With ``INPUT.FAST_PATH`` fastreid's steps are replaced by compiled ones and the tensors are
    uint8, until the loader has them on the device; see
    :mod:`~fastreid_ext.data.transforms.fast_path`.
    """
    is_fast = cfg.INPUT.FAST_PATH.ENABLED
    if is_fast and not (is_train and _has_own_steps(cfg)):
        return fast_whole(cfg, is_train=is_train)
    if not is_train:
        return Compose(host_transforms(cfg, is_train=False).transforms)
    steps = list(host_transforms(cfg, is_train=True).transforms)
    after = next(i for i, step in enumerate(steps) if isinstance(step, ToTensor)) + 1
    steps[after:after] = build_cutout(cfg)
    if not _has_own_steps(cfg):
        return Compose(steps)
    before = [step for step in steps[: after - 1] if not isinstance(step, HostAugMix)]
    behind = steps[after - 1 :]
    if is_fast:
        before = [fast_front(cfg, is_train=True)]
        behind = [fast_back(cfg)]
    return TrainingTransform(
        _parts(cfg, before, behind), build_views(cfg), is_recorded=records_corruptions(cfg)
    )


def _parts(cfg: CfgNode, before: Sequence[Callable], behind: Sequence[Callable]) -> Parts:
    keys = cfg.INPUT.CORRUPTION
    corruption = build_corruption(cfg) if keys.ENABLED else None
    is_native = keys.WHERE == "native"
    return Parts(
        front=Front(
            before,
            corruption if is_native else None,
            takes_arrays=cfg.INPUT.FAST_PATH.ENABLED,
        ),
        pixels=PixelSteps(
            build_pixel_steps(cfg),
            None if is_native else corruption,
            is_applied=keys.WHERE == "resized",
        ),
        back=Back(behind, build_channel_steps(cfg)),
    )


class TrainingTransform:
    """Front, pixel steps and back, once or by a recipe of views.

    All that is ours is drawn from one numpy generator, made for each image from torch's global one,
    which ``PersonDataset`` seeds for each draw of an image; fastreid's steps draw from the
    process-wide generators.

    Args:
        parts: what is done.
        views: recipe of :mod:`~fastreid_ext.data.transforms.multi_view`; None for one view.
        is_recorded: return a dict with ``corruptions``.
    """

    def __init__(self, parts: Parts, views: Callable | None, *, is_recorded: bool) -> None:
        self.parts = parts
        self.views = views
        self.is_recorded = is_recorded

    def __call__(self, image: Any) -> Tensor | dict[str, Any]:
        """Return the images of a sample, or a dict of them and of the record."""
        rng = np.random.default_rng(int(torch.randint(2**63 - 1, ())))
        if self.views is None:
            array, text = self.parts.pass_through(image, rng)
            images = self.parts.back(array, rng)
        else:
            views = self.views(image, rng, self.parts)
            images = torch.stack([self.parts.back(array, rng) for array, _ in views])
            text = BETWEEN_VIEWS.join(text for _, text in views)
        return {"images": images, "corruptions": text} if self.is_recorded else images

    def __repr__(self) -> str:
        parts = (self.parts.front, self.parts.pixels, self.parts.back)
        lines = [f"    {part!r}" for part in parts]
        lines += [f"    views: {self.views!r}"] if self.views else []
        return "\n".join(["TrainingTransform(", *lines, ")"])


class Front:
    """Decoded image to array at network size: perhaps a corruption, then fastreid's steps.

    Args:
        steps: map PIL images to PIL images, or arrays to arrays.
        corruption: at native size.
        takes_arrays: the first step takes an array.
    """

    def __init__(
        self,
        steps: Sequence[Callable],
        corruption: RandomCorruption | None,
        *,
        takes_arrays: bool = False,
    ) -> None:
        self.steps = tuple(steps)
        self.corruption = corruption
        self.takes_arrays = takes_arrays

    def __call__(self, image: Any, rng: np.random.Generator) -> Recorded:
        """Return the array and the record of the corruption."""
        text = ""
        if self.corruption is not None:
            drawn = self.corruption.sample(rng)
            text = record(drawn)
            if drawn:
                image = self.corruption.apply(enlarged(np.asarray(image)), drawn)
                image = image if self.takes_arrays else Image.fromarray(image)
        for step in self.steps:
            image = step(image)
        return image if isinstance(image, np.ndarray) else np.array(image), text

    def __repr__(self) -> str:
        first = [self.corruption] if self.corruption else []
        return f"Front{(*first, *self.steps)}"


class PixelSteps:
    """Array to array, at network size.

    Args:
        steps: draw from a generator and apply.
        corruption: the last step.
        is_applied: False only records what is drawn, for a later step on the device.
    """

    def __init__(
        self, steps: Sequence[ArrayStep], corruption: RandomCorruption | None, *, is_applied: bool
    ) -> None:
        self.steps = tuple(steps)
        self.corruption = corruption
        self.is_applied = is_applied

    def __call__(self, image: Array, rng: np.random.Generator) -> Recorded:
        """Return the array and the record of the corruption."""
        for step in self.steps:
            image = step(image, rng)
        if self.corruption is None:
            return image, ""
        drawn = self.corruption.sample(rng)
        return self.corruption.apply(image, drawn) if self.is_applied else image, record(drawn)

    def __repr__(self) -> str:
        last = [self.corruption] if self.corruption else []
        return f"PixelSteps{(*self.steps, *last)}"


class Back:
    """Array to tensor: *to tensor*, Cut-out, fastreid's erasing, channel augmentation.

    Args:
        steps: of which the first makes a tensor.
        channel: draw from a generator and apply.
    """

    def __init__(self, steps: Sequence[Callable], channel: Sequence[Callable]) -> None:
        self.steps = tuple(steps)
        self.channel = tuple(channel)

    def __call__(self, image: Array, rng: np.random.Generator) -> Tensor:
        """Return the tensor (3, H, W)."""
        tensor: Any = image
        for step in self.steps:
            tensor = step(tensor)
        for step in self.channel:
            tensor = step(tensor, rng)
        return tensor.contiguous()

    def __repr__(self) -> str:
        return f"Back{(*self.steps, *self.channel)}"


def _has_own_steps(cfg: CfgNode) -> bool:
    inputs = cfg.INPUT
    names = ("CORRUPTION", "SOFT_ERASING", "PATCH_MIXING", "CHANNEL", "GRAYSCALE", "RANDAUGMENT")
    has_augmix = inputs.AUGMIX.ENABLED and inputs.AUGMIX.METHOD != "fastreid"
    return bool(inputs.VIEWS.RECIPE) or has_augmix or any(inputs[name].ENABLED for name in names)
