"""Motion blur: the image shifted along a line, each step with the weight of a half Gaussian.

The taps lie at other places for each sample, so the convolution is done by Fourier transforms, with
the taps scattered into an empty image. Angles are drawn and taps placed on the host: 41 numbers for
each sample, the same on every device.

Letters: B batch, H height, W width, K = 2 * radius + 1 taps.

[0] imagecorruptions 1.1.2
"""

import dataclasses
import functools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastreid_ext.corruptions.cpu.blur import MOTION_BLUR
from fastreid_ext.corruptions.gpu.colour import NUDGE
from fastreid_ext.corruptions.gpu.draws import Draws, upload
from fastreid_ext.corruptions.gpu.separable import nearest_index, next_smooth

ANGLES = (-45.0, 45.0)  # degrees


@dataclasses.dataclass(frozen=True)
class Margins:
    """How far taps reach beyond the image, in pixels."""

    above: int
    below: int
    left: int
    right: int


# 40 * sin(45 degrees) is 28.3.
_MARGINS = Margins(above=28, below=28, left=0, right=40)


@dataclasses.dataclass(frozen=True)
class Taps:
    """What each sample's blur adds up.

    Attributes:
        rows: (B, K) int64: the rows below the pixel at which a tap looks.
        columns: (B, K) int64: the same to the right.
        weights: (B, K), 0 for taps that a severity does not have.
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    weights: NDArray[np.float64]


def motion_blur(images: Tensor, draws: Draws) -> Tensor:
    """Blur along a line of random angle."""
    low, high = ANGLES
    angles = low + (high - low) * draws.host_uniforms(1)[:, 0]
    return blur_along(images, draws.host_levels, angles)


def blur_along(images: Tensor, levels: NDArray[np.int64], angles: NDArray[np.float64]) -> Tensor:
    """Blur along lines of given angles (B,) in degrees, with severities ``levels`` + 1."""
    height, width = images.shape[2:]
    taps = place_taps(angles, MOTION_BLUR, levels, (height, width))
    rows, columns = _padded_places(height, width, images.device)
    padded = images.index_select(2, rows).index_select(3, columns).float()
    return convolve(padded, taps, _MARGINS, (height, width)).add_(NUDGE)


@functools.lru_cache(maxsize=8)
def _padded_places(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return which rows and columns the padded image repeats."""
    rows = np.arange(-_MARGINS.above, height + _MARGINS.below)
    columns = np.arange(-_MARGINS.left, width + _MARGINS.right)
    places = nearest_index(rows, height), nearest_index(columns, width)
    return tuple(torch.from_numpy(place).to(device) for place in places)


def place_taps(
    angles: NDArray[np.float64],
    radius_and_sigma: tuple[tuple[int, int], ...],
    levels: NDArray[np.int64],
    size: tuple[int, int],
) -> Taps:
    """Place the taps of each sample as [0] does.

    Args:
        angles: (B,) degrees; 0 is to the right, 90 downwards.
        radius_and_sigma: of each severity, in pixels.
        levels: (B,) severities - 1.
        size: (H, W) of what is blurred; the first tap beyond it ends the blur.
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
        taps: of each sample.
        margins: of ``padded``; as far as taps of weight above 0 reach, or more.
        size: (H, W).

    Returns:
        (B, C, H, W) float32.
    """
    shape = next_smooth(padded.shape[2]), next_smooth(padded.shape[3])
    # A convolution takes what lies before a pixel: a tap that looks ahead has a negative place.
    places = (-taps.rows - margins.above) % shape[0] * shape[1]
    places += (-taps.columns - margins.left) % shape[1]
    kernels = padded.new_zeros(len(padded), shape[0] * shape[1])
    kernels.scatter_add_(
        1, upload(places, padded.device), upload(taps.weights.astype(np.float32), padded.device)
    )
    spectra = torch.fft.rfft2(kernels.view(-1, 1, *shape))
    blurred = torch.fft.irfft2(torch.fft.rfft2(padded, s=shape).mul_(spectra), s=shape)
    return blurred[:, :, : size[0], : size[1]].contiguous()
