"""The entry point of the batched corruptions: checks, buckets, and the order of the batch.

Letters: B batch, H height, W width.
"""

import difflib
import numbers
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from fastreid_ext.corruptions.cpu import CORRUPTION_NAMES, corrupt
from fastreid_ext.corruptions.cpu.corrupt import MINIMUM_SIDE, SEVERITIES
from fastreid_ext.corruptions.gpu.colour import brightness, contrast, saturate
from fastreid_ext.corruptions.gpu.defocus_blur import defocus_blur
from fastreid_ext.corruptions.gpu.elastic_transform import elastic_transform
from fastreid_ext.corruptions.gpu.fog import fog
from fastreid_ext.corruptions.gpu.frost import frost
from fastreid_ext.corruptions.gpu.gaussian_blur import gaussian_blur
from fastreid_ext.corruptions.gpu.glass_blur import glass_blur
from fastreid_ext.corruptions.gpu.jpeg_compression import jpeg_compression
from fastreid_ext.corruptions.gpu.motion_blur import motion_blur
from fastreid_ext.corruptions.gpu.noise import (
    gaussian_noise,
    impulse_noise,
    shot_noise,
    speckle_noise,
)
from fastreid_ext.corruptions.gpu.pixelate import pixelate
from fastreid_ext.corruptions.gpu.random_numbers import Bucket, keys_of, upload
from fastreid_ext.corruptions.gpu.snow import snow
from fastreid_ext.corruptions.gpu.zoom_blur import zoom_blur

# (images (B, 3, H, W) uint8 RGB, bucket) -> float32 images in grey levels, not yet clipped or
# truncated.
BatchedCorruption = Callable[[Tensor, Bucket], Tensor]

BATCHED: dict[str, BatchedCorruption] = {
    "gaussian_noise": gaussian_noise,
    "shot_noise": shot_noise,
    "impulse_noise": impulse_noise,
    "defocus_blur": defocus_blur,
    "glass_blur": glass_blur,
    "motion_blur": motion_blur,
    "zoom_blur": zoom_blur,
    "snow": snow,
    "frost": frost,
    "fog": fog,
    "brightness": brightness,
    "contrast": contrast,
    "elastic_transform": elastic_transform,
    "pixelate": pixelate,
    "jpeg_compression": jpeg_compression,
    "speckle_noise": speckle_noise,
    "gaussian_blur": gaussian_blur,
    "saturate": saturate,
}
# Computed on the CPU, image by image; on a GPU this waits for the device.
ONE_BY_ONE = tuple(name for name in CORRUPTION_NAMES if name not in BATCHED)
# Pixels of a bucket that are worked on together: 32 images of 256x128. The largest intermediate
# values, those of zoom_blur, are 320 bytes for each pixel.
_PIXELS_AT_ONCE = 32 * 256 * 128
_LARGEST_SEED = 2**63 - 1


@torch.no_grad()
def corrupt_batch(
    images: Tensor, names: Sequence[str], severities: Sequence[int], seeds: Sequence[int]
) -> Tensor:
    """Corrupt copies of the images of a batch, each by its own kind, severity and seed.

    A result depends on the image, name, severity, seed and size, not on the rest of the batch nor,
    beyond the rounding of floats (at most 1 grey level on few pixels), on its size or the device.

    Example:
        >>> images = torch.full((2, 3, 64, 32), 100, dtype=torch.uint8)
        >>> corrupted = corrupt_batch(images, ["contrast", "pixelate"], [1, 5], seeds=[0, 1])
        >>> corrupted.shape, corrupted.dtype
        (torch.Size([2, 3, 64, 32]), torch.uint8)

    Args:
        images: (B, 3, H, W) uint8 RGB in [0, 255] on any device, H and W at least 32; not written
            to.
        names: B names of corruptions, each one of ``CORRUPTION_NAMES``.
        severities: B severities from 1 (slight) to 5 (strong).
        seeds: B seeds of the random numbers, in [0, 2^63).

    Returns:
        (B, 3, H, W) uint8 on the device of ``images``.

    Raises:
        ValueError: an argument is not as described.
    """
    _check_images(images)
    _check_lists(len(images), names, severities, seeds)
    rows_of: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        rows_of.setdefault(name, []).append(row)
    order = np.array([row for rows in rows_of.values() for row in rows], dtype=np.int64)
    levels = np.array(severities, dtype=np.int64)[order] - 1
    kinds = np.array([CORRUPTION_NAMES.index(names[row]) for row in order], dtype=np.int64)
    keys = keys_of(np.array(seeds, dtype=np.int64)[order], kinds)
    host = np.stack([order, levels, keys])
    on_device = upload(host, images.device)
    ordered = images.index_select(0, on_device[0])
    results = torch.empty_like(ordered)
    begin = 0
    with torch.autocast(images.device.type, enabled=False):
        for name, rows in rows_of.items():
            part = slice(begin, begin + len(rows))
            begin = part.stop
            if name in BATCHED:
                bucket = Bucket(
                    host[1, part], host[2, part], on_device[1, part], on_device[2, part]
                )
                _fill(results[part], ordered[part], BATCHED[name], bucket)
            else:
                chosen = [(severities[row], seeds[row]) for row in rows]
                results[part] = _one_by_one(ordered[part], name, chosen)
    return torch.empty_like(images).index_copy_(0, on_device[0], results)


def _fill(results: Tensor, images: Tensor, function: BatchedCorruption, bucket: Bucket) -> None:
    """Write the images corrupted by ``function``, clipped and truncated, into ``results``."""
    at_once = max(1, _PIXELS_AT_ONCE // images[0, 0].numel())
    for begin in range(0, len(images), at_once):
        part = slice(begin, begin + at_once)
        values = function(images[part], bucket.part(part))
        results[part].copy_(values.clamp_(0, 255))


def _one_by_one(images: Tensor, name: str, chosen: Sequence[tuple[int, int]]) -> Tensor:
    """Corrupt images on the CPU, for corruptions that have no batched form."""
    pixels = images.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    corrupted = [
        corrupt(image, name, severity, np.random.default_rng(seed))
        for image, (severity, seed) in zip(pixels, chosen, strict=True)
    ]
    return torch.from_numpy(np.stack(corrupted)).to(images.device).permute(0, 3, 1, 2)


def _check_images(images: Tensor) -> None:
    expected = "expected images (B, 3, H, W) uint8 RGB in [0, 255]"
    if not isinstance(images, Tensor):
        raise ValueError(
            f"{expected}, got {type(images).__name__}; stack them as a tensor, channels first"
        )
    got = f"got {tuple(images.shape)} {str(images.dtype).removeprefix('torch.')}"
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"{expected}, {got}; channels come second: images.permute(0, 3, 1, 2)")
    if images.dtype != torch.uint8:
        raise ValueError(f"{expected}, {got}; corrupt before the images become float")
    if min(images.shape[2:]) < MINIMUM_SIDE:
        raise ValueError(
            f"expected images of at least {MINIMUM_SIDE}x{MINIMUM_SIDE} pixels, {got}; resize "
            "them before they are corrupted"
        )


def _check_lists(
    count: int, names: Sequence[str], severities: Sequence[int], seeds: Sequence[int]
) -> None:
    lengths = (len(names), len(severities), len(seeds))
    if isinstance(names, str) or lengths != (count,) * 3:
        raise ValueError(
            f"expected a name, a severity and a seed for each of {count} images, got {lengths[0]} "
            f"names, {lengths[1]} severities and {lengths[2]} seeds; repeat what they share"
        )
    for name in sorted(set(names) - set(CORRUPTION_NAMES), key=str):
        near = difflib.get_close_matches(str(name).lower(), CORRUPTION_NAMES, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(CORRUPTION_NAMES)}"
        raise ValueError(f"unknown corruption {name!r}; {hint}")
    for severity in severities:
        if not _is_integer(severity) or severity not in SEVERITIES:
            raise ValueError(
                f"expected severities 1, 2, 3, 4 or 5, got {severity!r}; leave images of severity "
                "0 out of the call, and give .tolist() of a tensor"
            )
    for seed in seeds:
        if not _is_integer(seed) or not 0 <= seed <= _LARGEST_SEED:
            raise ValueError(f"expected seeds in [0, 2^63), got {seed!r}; take it modulo 2^63")


def _is_integer(value: object) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)
