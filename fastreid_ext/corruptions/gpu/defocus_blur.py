"""Defocus blur: convolution with a disk of softened edge, by Fourier transforms.

Letters: B batch, H height, W width.

[0] imagecorruptions 1.1.2
"""

import functools

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fastreid_ext.corruptions.cpu.defocus_blur import DEFOCUS_BLUR
from fastreid_ext.corruptions.gpu.arithmetic import NUDGE, next_smooth
from fastreid_ext.corruptions.gpu.random_numbers import Bucket

_DISK_REACH = 10


def defocus_blur(images: Tensor, bucket: Bucket) -> Tensor:
    """Convolve with a disk of softened edge, the image mirrored outside without its border."""
    height, width = images.shape[2:]
    padded = F.pad(images.float(), (_DISK_REACH,) * 4, mode="reflect")
    size = disk_spectra_size(height, width)
    spectra = disk_spectra(height, width, images.device).index_select(0, bucket.levels)
    blurred = torch.fft.irfft2(torch.fft.rfft2(padded, s=size).mul_(spectra[:, None]), s=size)
    return blurred[:, :, :height, :width].add(NUDGE)


def disk_spectra_size(height: int, width: int) -> tuple[int, int]:
    """Compute the size of the transforms: that of the padded image or a little more."""
    return next_smooth(height + 2 * _DISK_REACH), next_smooth(width + 2 * _DISK_REACH)


@functools.lru_cache(maxsize=8)
def disk_spectra(height: int, width: int, device: torch.device) -> Tensor:
    """Transform the five disks, placed so that pixel 0 of the result is the image's.

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
    """Build the square kernel of [0]: 17 wide up to radius 8, softened over 3x3, else over 5x5."""
    reach, window = (8, 3) if radius <= 8 else (radius, 5)
    steps = np.arange(-reach, reach + 1)
    disk = (steps[:, None] ** 2 + steps**2 <= radius**2).astype(np.float32)
    return cv2.GaussianBlur(disk / disk.sum(), (window, window), sigmaX=edge)
