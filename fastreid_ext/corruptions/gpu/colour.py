"""Brightness, contrast and saturation.

The trips to hue, saturation, value and back of [0] are one multiplication: with M the largest and
m the smallest channel of a pixel, its value is M and its saturation (M - m) / M, and a channel x
becomes, for the same hue, value M' and saturation S', M' - (M - x) * (M' S') / (M - m).

[0] imagecorruptions 1.1.2
"""

import torch
from torch import Tensor

from fastreid_ext.corruptions.cpu.colour import BRIGHTNESS_ADDED, CONTRASTS, SATURATE
from fastreid_ext.corruptions.gpu.arithmetic import NUDGE
from fastreid_ext.corruptions.gpu.random_numbers import Bucket, upload_once

SATURATION_FACTOR, SATURATION_ADDED = zip(*SATURATE, strict=True)
# A stand-in for 0 that can be divided by, small enough to vanish in the truncation; a power of two,
# so that it cancels exactly.
_TINY = 2.0**-13


def brightness(images: Tensor, bucket: Bucket) -> Tensor:
    """Raise the value, up to 255, and keep hue and saturation."""
    pixels = images.float().clamp_min_(_TINY)
    value = pixels.amax(dim=1, keepdim=True)
    added = bucket.constants(tuple(255 * share for share in BRIGHTNESS_ADDED))
    factor = (value + added).clamp_max_(255).div_(value)
    return pixels.mul_(factor).add_(NUDGE)


def contrast(images: Tensor, bucket: Bucket) -> Tensor:
    """Shrink the distances to each channel's mean."""
    pixels = images.float()
    means = pixels.mean(dim=(2, 3), keepdim=True)
    return torch.lerp(means, pixels, bucket.constants(CONTRASTS)).add_(NUDGE)


def saturate(images: Tensor, bucket: Bucket) -> Tensor:
    """Multiply the saturation and add to it, up to 1; a grey pixel has the hue of red."""
    pixels = images.float()
    value = pixels.amax(dim=1, keepdim=True)
    spread = value - pixels.amin(dim=1, keepdim=True)
    factor = bucket.constants(SATURATION_FACTOR)
    added = bucket.constants(SATURATION_ADDED)
    wanted = torch.minimum(torch.addcmul(value * added, spread, factor), value)  # M S'
    red = upload_once((0.0, _TINY, _TINY), images.device)[:, None, None]
    below = torch.where(spread == 0, red, value - pixels)
    return torch.addcmul(value, below, wanted.div_(spread.clamp_min(_TINY)), value=-1).add_(NUDGE)
