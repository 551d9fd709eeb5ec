"""Snow: flakes made of noise, moved along a line, over a whitened image.

Letters: B batch, H height, W width.

[0] imagecorruptions 1.1.2
"""

import functools
import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fastreid_ext.corruptions.cpu.snow import SNOW
from fastreid_ext.corruptions.gpu.arithmetic import NUDGE, to_unit
from fastreid_ext.corruptions.gpu.motion_blur import Margins, convolve, place_taps
from fastreid_ext.corruptions.gpu.random_numbers import Bucket, upload_once

# By severity: mean and sigma of a flake's brightness, the zoom, the darkest flake, the fall (radius
# and sigma), and the share of the image that is not whitened.
FLAKE_MEAN, _SIGMAS, FLAKE_ZOOM, FLAKE_THRESHOLD, *_FALLS, KEPT_IN_SNOW = zip(*SNOW, strict=True)
FLAKE_SIGMA = _SIGMAS[0]  # equal for all severities
FALL_RADIUS_AND_SIGMA = tuple(zip(*_FALLS, strict=True))  # pixels
FALL_ANGLES = (-135.0, -45.0)  # degrees
GREY = (0.299, 0.587, 0.114)
# 24 taps, upwards to both sides.
_FALL = Margins(above=24, below=0, left=17, right=17)


def snow(images: Tensor, bucket: Bucket) -> Tensor:
    """Whiten the image and add two layers of falling flakes, one the other turned around."""
    size = images.shape[2:]
    noise = bucket.scaled_normals(*noise_size(*size))[:, None]
    low, high = FALL_ANGLES
    angles = low + (high - low) * bucket.host_uniforms(1)[:, 0]
    return snow_on(images, bucket, falling_flakes(noise, angles, bucket, size))


def snow_on(images: Tensor, bucket: Bucket, flakes: Tensor) -> Tensor:
    """Whiten images (B, 3, H, W) and add flakes (B, 1, H, W), values in [0, 255]."""
    pixels = images.float()
    grey = pixels.mul(upload_once(GREY, images.device)[:, None, None]).sum(dim=1, keepdim=True)
    white = torch.maximum(pixels, grey.mul_(1.5).add_(127.5))
    whitened = torch.lerp(white, pixels, bucket.constants(KEPT_IN_SNOW))
    return whitened.add_(flakes.add(flakes.flip(2, 3))).add_(NUDGE)


def falling_flakes(
    noise: Tensor, angles: NDArray[np.float64], bucket: Bucket, size: tuple[int, int]
) -> Tensor:
    """Enlarge noise to flakes and streak them along their fall.

    Args:
        noise: (B, 1, h, w) normal noise of variance 1/2; h and w are those of :func:`noise_size`.
        angles: (B,) directions of the fall in degrees.
        bucket: severities and random keys of the images.
        size: (H, W) of the images.

    Returns:
        (B, 1, H, W), whole numbers in [0, 255].
    """
    scale = bucket.constants(FLAKE_MEAN).add(noise, alpha=FLAKE_SIGMA * math.sqrt(2))
    grid = flake_grids(*size, noise.device).index_select(0, bucket.levels)
    layer = F.grid_sample(scale, grid, padding_mode="border", align_corners=True)
    layer = layer.mul_(layer >= bucket.constants(FLAKE_THRESHOLD)).clamp_max_(1)
    taps = place_taps(angles, FALL_RADIUS_AND_SIGMA, bucket.host_levels, size)
    return convolve(layer, taps, _FALL, size).mul_(255).round_()


def noise_size(height: int, width: int) -> tuple[int, int]:
    """Compute the size of the largest middle that any severity zooms into."""
    return math.ceil(height / min(FLAKE_ZOOM)), math.ceil(width / min(FLAKE_ZOOM))


@functools.lru_cache(maxsize=4)
def flake_grids(height: int, width: int, device: torch.device) -> Tensor:
    """Compute the places in the noise that the flake layer and its margins read.

    A layer is a little larger than the image (middle times zoom, rounded), and its border value is
    repeated outside.

    Returns:
        (5, above + H + below, left + W + right, 2) in [-1, 1].
    """
    rows = np.arange(-_FALL.above, height + _FALL.below)
    columns = np.arange(-_FALL.left, width + _FALL.right)
    noise_rows, noise_columns = noise_size(height, width)
    grids = np.empty((len(FLAKE_ZOOM), len(rows), len(columns), 2), np.float32)
    for grid, zoom in zip(grids, FLAKE_ZOOM, strict=True):
        grid[..., 0] = to_unit(_flake_places(columns, width, zoom), noise_columns)
        grid[..., 1] = to_unit(_flake_places(rows, height, zoom), noise_rows)[:, None]
    return torch.from_numpy(grids).to(device)


def _flake_places(index: NDArray[np.int64], size: int, zoom: float) -> NDArray[np.float64]:
    middle = math.ceil(size / zoom)
    zoomed = round(middle * zoom)
    return np.clip(index, 0, zoomed - 1) * ((middle - 1) / (zoomed - 1))
