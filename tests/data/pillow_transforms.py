"""Images loaded by Pillow, torchvision and fastreid's own steps: the oracle of compiled loading."""

import contextlib
import dataclasses

import numpy as np
import pytest
import torch
from fastreid.data.transforms import AugMix, ToTensor
from fastreid.data.transforms import build_transforms as host_transforms
from PIL import Image
from torchvision.transforms import Compose

from fastreid_ext.data import build
from fastreid_ext.data.dataset import read_rgb
from fastreid_ext.data.transforms import build_transforms
from fastreid_ext.data.transforms.build import (
    DecodedTransforms,
    TensorTransforms,
    TrainingTransform,
)
from fastreid_ext.data.transforms.from_config import build_cutout
from fastreid_ext.data.transforms.on_batch import build_batch_steps


def as_pillow(image):
    return Image.fromarray(image) if isinstance(image, np.ndarray) else image


def pillow_transforms(cfg, *, is_train):
    """Build fastreid's own list of transforms, with our other steps at their places."""
    steps = list(host_transforms(cfg, is_train=is_train).transforms)
    place = next(i for i, step in enumerate(steps) if isinstance(step, ToTensor))
    steps[place + 1 : place + 1] = build_cutout(cfg) if is_train else []
    transform = build_transforms(cfg, is_train=is_train)
    if not isinstance(transform, TrainingTransform):
        return Compose([as_pillow, *steps])
    before = [step for step in steps[:place] if not isinstance(step, AugMix)]
    parts = transform.parts
    transform.parts = dataclasses.replace(
        parts,
        decoded=DecodedTransforms([as_pillow, *before, np.array], parts.decoded.corruption),
        tensor=TensorTransforms(steps[place:], parts.tensor.channel),
    )
    return transform


@contextlib.contextmanager
def loading_by_pillow():
    """Let loaders that are built inside decode and transform images by Pillow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "build_transforms", pillow_transforms)
        patch.setattr(build, "read_pixels", read_rgb)
        yield


def shown(cfg, sample, *, is_train=True):
    """Compute the float image (3, H, W) that the model sees of a transform's result."""
    sample = sample if isinstance(sample, dict) else {"images": sample}
    batch = {name: value[None] for name, value in sample.items() if torch.is_tensor(value)}
    for step in build_batch_steps(cfg, is_train=is_train):
        batch = step(batch)
    return batch["images"][0]
