"""Motion blur: the image shifted along a line, each step with the weight of a half Gaussian.

The taps lie at other places for each image, so the convolution is done by Fourier transforms, with
the taps scattered into an empty image. Angles are sampled and taps placed on the host: 41 numbers
for each image, equal on every device.

Letters: B batch, H height, W width, K = 2 * radius + 1 taps.

[0] imagecorruptions 1.1.2
"""

import dataclasses
import functools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastreid_ext.corruptions.cpu.motion_blur import MOTION_BLUR
from fastreid_ext.corruptions.gpu.arithmetic import NUDGE, nearest_index, next_smooth
from fastreid_ext.corruptions.gpu.random_numbers import Bucket, upload

ANGLES = (-45.0, 45.0)  # degrees


@dataclasses.dataclass(frozen=True)
class Margins:
    """Reach of the taps beyond the image, in pixels."""

    above: int
    below: int
    left: int
    right: int


# 40 * sin(45 degrees) is 28.3.
_MARGINS = Margins(above=28, below=28, left=0, right=40)


@dataclasses.dataclass(frozen=True)
class Taps:
    """Places and weights that the blur of each image adds up.

    Attributes:
        rows: (B, K) int64 rows from the pixel down to each tap.
        columns: (B, K) int64 columns from the pixel right to each tap.
        weights: (B, K) float64 weights, 0 for taps that a severity does not have.
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    weights: NDArray[np.float64]


def motion_blur(images: Tensor, bucket: Bucket) -> Tensor:
    """Blur along a line of random angle."""
    low, high = ANGLES
    angles = low + (high - low) * bucket.host_uniforms(1)[:, 0]
    return blur_along(images, bucket.host_levels, angles)


def blur_along(images: Tensor, levels: NDArray[np.int64], angles: NDArray[np.float64]) -> Tensor:
    """Blur along lines of given angles (B,) in degrees, with severities ``levels`` + 1."""
    height, width = images.shape[2:]
    taps = place_taps(angles, MOTION_BLUR, levels, (height, width))
    rows, columns = _padded_places(height, width, images.device)
    padded = images.index_select(2, rows).index_select(3, columns).float()
    return convolve(padded, taps, _MARGINS, (height, width)).add_(NUDGE)


@functools.lru_cache(maxsize=8)
def _padded_places(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Compute which rows and columns the padded image repeats."""
    rows = np.arange(-_MARGINS.above, height + _MARGINS.below)
    columns = np.arange(-_MARGINS.left, width + _MARGINS.right)
    places = [nearest_index(rows, height), nearest_index(columns, width)]
    return tuple(torch.from_numpy(place).to(device) for place in places)


def place_taps(
    angles: NDArray[np.float64],
    radius_and_sigma: tuple[tuple[int, int], ...],
    levels: NDArray[np.int64],
    size: tuple[int, int],
) -> Taps:
    """Place the taps of each image in the way of [0].

    Args:
        angles: (B,) directions in degrees; 0 is to the right, 90 downwards.
        radius_and_sigma: radius and sigma for each severity, in pixels.
        levels: (B,) severity - 1 of each image, in [0, 4].
        size: (H, W) of the blurred image; the first tap beyond it ends the blur.
    """
    radii, sigmas = np.array(radius_and_sigma)[levels].T[..., None]
    steps = np.arange(2 * max(radius for radius, _ in radius_and_sigma) + 1)
    weights = np.exp(-(steps**2) / (2.0 * sigmas**2)) * (steps < 2 * radii + 1)
    weights /= weights.sum(axis=1, keepdims=True)
    radians = np.deg2rad(angles)[:, None]
    rows = np.ceil(steps * np.sin(radians) - 0.5).astype(np.int64)
    columns = np.ceil(steps * np.cos(radians) - 0.5).astype(np.int64)
    weights *= (np.abs(rows) < size[0]) & (np.abs(columns) < size[1])
    return Taps(rows, columns, weights)


def convolve(padded: Tensor, taps: Taps, margins: Margins, size: tuple[int, int]) -> Tensor:
    """Add up the taps for each pixel.

    Args:
        padded: (B, C, above + H + below, left + W + right) float32.
        taps: places and weights of each image's taps.
        margins: margins of ``padded``, at least the reach of taps of weight above 0.
        size: (H, W) of the result.

    Returns:
        (B, C, H, W) float32.
    """
    shape = next_smooth(padded.shape[2]), next_smooth(padded.shape[3])
    # A convolution reads pixels before a pixel: a tap that reads ahead has a negative place.
    places = (-taps.rows - margins.above) % shape[0] * shape[1]
    places += (-taps.columns - margins.left) % shape[1]
    kernels = padded.new_zeros(len(padded), shape[0] * shape[1])
    kernels.scatter_add_(
        1, upload(places, padded.device), upload(taps.weights.astype(np.float32), padded.device)
    )
    spectra = torch.fft.rfft2(kernels.view(-1, 1, *shape))
    blurred = torch.fft.irfft2(torch.fft.rfft2(padded, s=shape).mul_(spectra), s=shape)
    return blurred[:, :, : size[0], : size[1]].contiguous()
