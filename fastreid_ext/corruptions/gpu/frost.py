"""Frost: a window of a picture of frost added to the image.

The pictures lie on the device, one after the other in one array, so that windows of different
pictures are a single look-up.

Letters: B batch, H height, W width.

[0] imagecorruptions 1.1.2
"""

import dataclasses
import functools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastreid_ext.corruptions.cpu.frost import FROST, TEXTURES, covering_texture
from fastreid_ext.corruptions.gpu.arithmetic import NUDGE
from fastreid_ext.corruptions.gpu.random_numbers import Bucket, upload

IMAGE_SHARE, TEXTURE_SHARE = zip(*FROST, strict=True)


@dataclasses.dataclass(frozen=True)
class TextureBank:
    """The textures for images of one size, about 5 MB.

    Attributes:
        pixels: (3, all pixels of all textures) uint8, on the device.
        begins: (5,) first pixel of each texture, on the host.
        sizes: (5, 2) rows and columns of each texture, on the host.
        rows: (H, 1) numbers 0 to H - 1, on the device.
        columns: (W,) numbers 0 to W - 1, on the device.
    """

    pixels: Tensor
    begins: NDArray[np.int64]
    sizes: NDArray[np.int64]
    rows: Tensor
    columns: Tensor


@functools.lru_cache(maxsize=4)
def texture_bank(height: int, width: int, device: torch.device) -> TextureBank:
    """Load the textures for images of that size onto the device."""
    textures = [covering_texture(index, height, width) for index in range(len(TEXTURES))]
    sizes = np.array([texture.shape[:2] for texture in textures])
    pixels = np.concatenate([texture.reshape(-1, 3) for texture in textures]).T
    return TextureBank(
        torch.from_numpy(np.ascontiguousarray(pixels)).to(device),
        np.cumsum(sizes.prod(axis=1)) - sizes.prod(axis=1),
        sizes,
        torch.arange(height, device=device)[:, None],
        torch.arange(width, device=device),
    )


def frost(images: Tensor, bucket: Bucket) -> Tensor:
    """Add a random window of one of the textures."""
    uniforms = bucket.host_uniforms(3)
    chosen = (uniforms[:, 0] * len(TEXTURES)).astype(np.int64)
    room = texture_bank(*images.shape[2:], images.device).sizes[chosen] - images.shape[2:]
    return add_frost(images, bucket, chosen, np.floor(uniforms[:, 1:] * room).astype(np.int64))


def add_frost(
    images: Tensor, bucket: Bucket, chosen: NDArray[np.int64], corners: NDArray[np.int64]
) -> Tensor:
    """Add windows of frost.

    Args:
        images: (B, 3, H, W) uint8 RGB; not written to.
        bucket: severities and random keys of the images.
        chosen: (B,) number of each image's texture, 0 to 4.
        corners: (B, 2) row and column of the windows' top left.
    """
    bank = texture_bank(*images.shape[2:], images.device)
    strides = bank.sizes[chosen, 1]
    starts = bank.begins[chosen] + corners[:, 0] * strides + corners[:, 1]
    where = upload(np.stack([starts, strides]), images.device)[:, :, None, None]
    places = where[1] * bank.rows + where[0] + bank.columns  # (B, H, W)
    windows = bank.pixels.index_select(1, places.flatten()).view(3, *places.shape).transpose(0, 1)
    texture = windows * bucket.constants(TEXTURE_SHARE)
    return texture.addcmul_(images.float(), bucket.constants(IMAGE_SHARE)).add_(NUDGE)
