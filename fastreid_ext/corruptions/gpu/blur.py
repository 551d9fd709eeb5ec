"""Blur by a Gaussian, by a disk (defocus) and by zooming in.

Functions (images (B, 3, H, W) uint8 RGB, draws) -> float32 images, not yet clipped or truncated.

[0] imagecorruptions 1.1.2
"""

import functools

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fastreid_ext.corruptions.cpu.blur import DEFOCUS_BLUR, GAUSSIAN_BLUR, ZOOM_SPANS
from fastreid_ext.corruptions.gpu.colour import NUDGE
from fastreid_ext.corruptions.gpu.draws import Draws
from fastreid_ext.corruptions.gpu.separable import gaussian, next_smooth

_DISK_REACH = 10


def gaussian_blur(images: Tensor, draws: Draws) -> Tensor:
    """Blur by a Gaussian, the border value repeated outside."""
    return gaussian(images.float(), GAUSSIAN_BLUR, draws.levels).add_(NUDGE)


def defocus_blur(images: Tensor, draws: Draws) -> Tensor:
    """Convolve with a disk of softened edge, the image mirrored outside without its border."""
    height, width = images.shape[2:]
    padded = F.pad(images.float(), (_DISK_REACH,) * 4, mode="reflect")
    size = disk_spectra_size(height, width)
    spectra = disk_spectra(height, width, images.device).index_select(0, draws.levels)
    blurred = torch.fft.irfft2(torch.fft.rfft2(padded, s=size).mul_(spectra[:, None]), s=size)
    return blurred[:, :, :height, :width].add(NUDGE)


def disk_spectra_size(height: int, width: int) -> tuple[int, int]:
    """Return the size of the transforms: the padded image's or a little more."""
    return next_smooth(height + 2 * _DISK_REACH), next_smooth(width + 2 * _DISK_REACH)


@functools.lru_cache(maxsize=8)
def disk_spectra(height: int, width: int, device: torch.device) -> Tensor:
    """Return the transforms of the five disks, placed so that pixel 0 of the result is the image's.

    A disk is symmetric, so correlation is convolution, with each tap at twice the distance from the
    padded corner to the image's corner less its own place.
    """
    rows, columns = disk_spectra_size(height, width)
    kernels = np.zeros((len(DEFOCUS_BLUR), rows, columns))
    for kernel, (radius, edge) in zip(kernels, DEFOCUS_BLUR, strict=True):
        disk = _disk(radius, edge)
        places = np.arange(len(disk)) - len(disk) // 2 - _DISK_REACH
        kernel[np.ix_(places % rows, places % columns)] = disk
    return torch.from_numpy(np.fft.rfft2(kernels).astype(np.complex64)).to(device)


def _disk(radius: int, edge: float) -> NDArray[np.float32]:
    """Return the square kernel of [0]: 17 wide up to radius 8, softened over 3x3, else over 5x5."""
    reach, window = (8, 3) if radius <= 8 else (radius, 5)
    steps = np.arange(-reach, reach + 1)
    disk = (steps[:, None] ** 2 + steps**2 <= radius**2).astype(np.float32)
    return cv2.GaussianBlur(disk / disk.sum(), (window, window), sigmaX=edge)


def zoom_blur(images: Tensor, draws: Draws) -> Tensor:
    """Average the image with up to 16 zooms of its middle, in one sampling of all of them."""
    batch, channels, height, width = images.shape
    pixels = images.float()
    grid = zoom_grids(height, width, images.device).index_select(0, draws.levels)
    layers = F.grid_sample(pixels, grid, padding_mode="zeros", align_corners=True)
    total = layers.view(batch, channels, -1, height, width).sum(dim=2).add_(pixels)
    counts = tuple(1.0 / (len(np.arange(*zoom)) + 1) for zoom in ZOOM_SPANS)
    return total.mul_(draws.constants(counts)).add_(NUDGE)


@functools.lru_cache(maxsize=4)
def zoom_grids(height: int, width: int, device: torch.device) -> Tensor:
    """Return where the zoomed layers of each severity look, (5, 16 * H, W, 2) in [-1, 1].

    Severities with fewer layers fill up with places outside, which count as 0. At 256x128 this
    takes 21 MB of the device.
    """
    most = max(len(np.arange(*zoom)) for zoom in ZOOM_SPANS)
    grids = np.full((len(ZOOM_SPANS), most, height, width, 2), -3.0, np.float32)
    for grid, zoom in zip(grids, ZOOM_SPANS, strict=True):
        for layer, factor in zip(grid, np.arange(*zoom), strict=False):
            layer[..., 0] = to_unit(zoomed_places(width, factor), width)
            layer[..., 1] = to_unit(zoomed_places(height, factor), height)[:, None]
    return torch.from_numpy(grids.reshape(len(ZOOM_SPANS), -1, width, 2)).to(device)


def zoomed_places(size: int, factor: float) -> NDArray[np.float64]:
    """Return where the first ``size`` pixels of SciPy's zoom of the middle lie in the image.

    The middle of ceil(size / factor) pixels becomes round(that * factor), first on first and last
    on last.
    """
    middle = int(np.ceil(size / float(factor)))
    zoomed = round(middle * factor)
    return (size - middle) // 2 + np.arange(size) * ((middle - 1) / (zoomed - 1))


def to_unit(places: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Return pixel indices as coordinates of ``grid_sample`` with aligned corners."""
    return places * (2 / (size - 1)) - 1
