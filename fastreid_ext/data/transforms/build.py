"""The transforms of a configuration: fastreid's list, with ours at named places."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from fastreid.config import CfgNode
from numpy.typing import NDArray
from torch import Tensor

from fastreid_ext.corruptions.cpu import enlarged
from fastreid_ext.corruptions.record import BETWEEN_VIEWS, RandomCorruption, record
from fastreid_ext.data.dataset import Origin
from fastreid_ext.data.transforms.fastreid_steps import (
    build_decoded_steps,
    build_plain_transform,
    build_tensor_steps,
)
from fastreid_ext.data.transforms.from_config import (
    build_channel_steps,
    build_corruption,
    build_pixel_steps,
    build_views,
)
from fastreid_ext.data.transforms.multi_view import Parts, Recorded
from fastreid_ext.data.transforms.on_batch import records_corruptions
from fastreid_ext.data.transforms.one_pass import channels_first
from fastreid_ext.data.visible_infrared import VISIBLE

_VISIBLE = Origin(domain=0, modality=VISIBLE)
Array = NDArray[np.uint8]
ArrayStep = Callable[[Array, np.random.Generator], Array]


def build_transforms(cfg: CfgNode, *, is_train: bool) -> Callable[[Any], Any]:
    """Build the transform from a decoded RGB image to the images of a sample.

    Those are a uint8 tensor (3, H, W) in [0, 255], or (V, 3, H, W) with ``INPUT.VIEWS``; a dict of
    them as ``images`` and of ``corruptions``, the record of what was sampled, with corruptions; a
    dict of them and of ``painted``, the rectangles of erasing that
    :mod:`~fastreid_ext.data.transforms.on_batch` paints on the device, without any of our steps.
    fastreid's random patch alone gives a float tensor.

    fastreid's order is kept: auto-augmentation, resize, crop, padding, flip, colour jitter, affine,
    AugMix, *to tensor*, random erasing, random patch. Ours stand at these places of training:

    - before everything: corruption at native size (``CORRUPTION.WHERE`` native);
    - between affine and *to tensor*, at network size: grey scale, blur, RandAugment, AugMix
      (fastreid's or ours), soft erasing, self-patch mixing, corruption (``WHERE`` resized); then
      the recipe of views;
    - directly after *to tensor*: Cutout;
    - at the end: channel augmentation, in the order of its ``MODES``, or of its
      ``INFRARED_MODES`` on infrared images;
    - on the whole batch (:mod:`~fastreid_ext.data.transforms.on_batch`): corruption (``WHERE``
      device), Mixup, CutMix.

    Normalisation is the model's first step, so the value 0 of a normalised image is the colour
    ``MODEL.PIXEL_MEAN`` here. With our steps images stay uint8, so the colours of erasing and
    Cutout are rounded.
    """
    if not (is_train and _has_own_steps(cfg)):
        return build_plain_transform(cfg, is_train=is_train)
    return TrainingTransform(
        _build_parts(cfg), build_views(cfg), is_recorded=records_corruptions(cfg)
    )


def _build_parts(cfg: CfgNode) -> Parts:
    keys = cfg.INPUT.CORRUPTION
    corruption = build_corruption(cfg) if keys.ENABLED else None
    is_native = keys.WHERE == "native"
    return Parts(
        decoded=DecodedTransforms(
            build_decoded_steps(cfg, is_train=True), corruption if is_native else None
        ),
        image=ImageTransforms(
            build_pixel_steps(cfg),
            None if is_native else corruption,
            is_applied=keys.WHERE == "resized",
        ),
        tensor=TensorTransforms(
            [build_tensor_steps(cfg)],
            build_channel_steps(cfg) if cfg.INPUT.CHANNEL.ENABLED else ((), ()),
        ),
    )


class TrainingTransform:
    """Transforms of the decoded image, the image and the tensor, once or by a recipe of views.

    Our steps sample from one numpy generator, made for each image from torch's global one, which
    ``PersonDataset`` seeds for each image of a batch; fastreid's steps sample from the process-wide
    generators.

    Args:
        parts: transforms of the decoded image, the image at network size and the tensor.
        views: recipe of :mod:`~fastreid_ext.data.transforms.multi_view`; None for one view.
        is_recorded: return a dict with ``corruptions``.

    Attributes:
        takes_origin: True, as steps may depend on the modality of an image.
        takes_positive: whether calls need a function from a generator to a second decoded image.
    """

    takes_origin = True

    def __init__(self, parts: Parts, views: Callable | None, *, is_recorded: bool) -> None:
        self.parts = parts
        self.views = views
        self.is_recorded = is_recorded
        self.takes_positive = getattr(views, "takes_positive", False)

    def __call__(
        self,
        image: Any,
        origin: Origin = _VISIBLE,
        positive: Callable[[np.random.Generator], Any] | None = None,
    ) -> Tensor | dict[str, Any]:
        """Transform a decoded image to the images of a sample, or to a dict with the record."""
        rng = np.random.default_rng(int(torch.randint(2**63 - 1, ())))
        if self.views is None:
            array, text = self.parts.pass_through(image, rng)
            images = self.parts.tensor(array, rng, origin.modality)
        else:
            second = () if positive is None else (positive(rng),)
            if getattr(self.views, "takes_modality", False):
                second += (origin.modality,)
            views = self.views(image, rng, self.parts, *second)
            images = torch.stack(self._tensors([array for array, _ in views], rng, origin))
            text = BETWEEN_VIEWS.join(text for _, text in views)
        return {"images": images, "corruptions": text} if self.is_recorded else images

    def _tensors(
        self, arrays: list[Array], rng: np.random.Generator, origin: Origin
    ) -> list[Tensor]:
        """Turn views (H, W, 3) into tensors, the last ones as they are where the recipe says so."""
        changed = len(arrays) - getattr(self.views, "unchanged", 0)
        tensors = [self.parts.tensor(array, rng, origin.modality) for array in arrays[:changed]]
        return [*tensors, *map(channels_first, arrays[changed:])]

    def __repr__(self) -> str:
        parts = (self.parts.decoded, self.parts.image, self.parts.tensor)
        lines = [f"    {part!r}" for part in parts]
        lines += [f"    views: {self.views!r}"] if self.views else []
        return "\n".join(["TrainingTransform(", *lines, ")"])


class DecodedTransforms:
    """Transforms of a decoded image to network size: corruption at native size, then fastreid's.

    Args:
        steps: steps from a decoded image to an array (H, W, 3) at network size.
        corruption: corruption at native size; None for none.
    """

    def __init__(self, steps: Sequence[Callable], corruption: RandomCorruption | None) -> None:
        self.steps = tuple(steps)
        self.corruption = corruption

    def __call__(self, image: Any, rng: np.random.Generator) -> Recorded:
        """Transform an image; return the array and the record of its corruption."""
        text = ""
        if self.corruption is not None:
            chain = self.corruption.sample(rng)
            text = record(chain)
            if chain:
                image = self.corruption.apply(enlarged(np.asarray(image)), chain)
        for step in self.steps:
            image = step(image)
        return image, text

    def __repr__(self) -> str:
        first = [self.corruption] if self.corruption else []
        return f"DecodedTransforms{(*first, *self.steps)}"


class ImageTransforms:
    """Transforms of an array at network size.

    Args:
        steps: steps from an array (H, W, 3) and a generator to an array.
        corruption: corruption after the steps; None for none.
        is_applied: False only records the corruption, for a later step on the device.
    """

    def __init__(
        self, steps: Sequence[ArrayStep], corruption: RandomCorruption | None, *, is_applied: bool
    ) -> None:
        self.steps = tuple(steps)
        self.corruption = corruption
        self.is_applied = is_applied

    def __call__(self, image: Array, rng: np.random.Generator) -> Recorded:
        """Transform an array; return it and the record of its corruption."""
        for step in self.steps:
            image = step(image, rng)
        if self.corruption is None:
            return image, ""
        chain = self.corruption.sample(rng)
        return self.corruption.apply(image, chain) if self.is_applied else image, record(chain)

    def __repr__(self) -> str:
        last = [self.corruption] if self.corruption else []
        return f"ImageTransforms{(*self.steps, *last)}"


class TensorTransforms:
    """Transforms of an array to a tensor: *to tensor*, Cutout, erasing, channel augmentation.

    Args:
        steps: steps of which the first maps an array (H, W, 3) to a tensor (3, H, W).
        channel: steps from a tensor and a generator to a tensor, those of visible and those of
            infrared images.
    """

    def __init__(
        self, steps: Sequence[Callable], channel: tuple[Sequence[Callable], Sequence[Callable]]
    ) -> None:
        self.steps = tuple(steps)
        self.channel = tuple(map(tuple, channel))

    def __call__(self, image: Array, rng: np.random.Generator, modality: int = VISIBLE) -> Tensor:
        """Transform an array of a modality, 0 visible or 1 infrared, to a tensor (3, H, W)."""
        tensor: Any = image
        for step in self.steps:
            tensor = step(tensor)
        for step in self.channel[modality]:
            tensor = step(tensor, rng)
        return tensor.contiguous()

    def __repr__(self) -> str:
        visible, infrared = self.channel
        of_infrared = f", of infrared images {infrared}" if infrared != visible else ""
        return f"TensorTransforms{(*self.steps, *visible)}{of_infrared}"


def _has_own_steps(cfg: CfgNode) -> bool:
    inputs = cfg.INPUT
    names = (
        *("CORRUPTION", "SOFT_ERASING", "PATCH_MIXING", "CHANNEL"),
        *("GRAYSCALE", "BLUR", "RANDAUGMENT"),
    )
    has_augmix = inputs.AUGMIX.ENABLED and inputs.AUGMIX.METHOD != "fastreid"
    return bool(inputs.VIEWS.RECIPE) or has_augmix or any(inputs[name].ENABLED for name in names)
