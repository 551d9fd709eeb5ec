"""Zoom blur: the mean of the image and zooms into its middle, read by one ``grid_sample``.

Letters: B batch, H height, W width.

[0] imagecorruptions 1.1.2
"""

import functools

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fastreid_ext.corruptions.cpu.zoom_blur import ZOOM_SPANS
from fastreid_ext.corruptions.gpu.arithmetic import NUDGE, to_unit
from fastreid_ext.corruptions.gpu.random_numbers import Bucket


def zoom_blur(images: Tensor, bucket: Bucket) -> Tensor:
    """Average the image with up to 16 zooms of its middle, in one sampling of all of them."""
    batch, channels, height, width = images.shape
    pixels = images.float()
    grid = zoom_grids(height, width, images.device).index_select(0, bucket.levels)
    layers = F.grid_sample(pixels, grid, padding_mode="zeros", align_corners=True)
    total = layers.view(batch, channels, -1, height, width).sum(dim=2).add_(pixels)
    counts = tuple(1.0 / (len(np.arange(*zoom)) + 1) for zoom in ZOOM_SPANS)
    return total.mul_(bucket.constants(counts)).add_(NUDGE)


@functools.lru_cache(maxsize=4)
def zoom_grids(height: int, width: int, device: torch.device) -> Tensor:
    """Compute the places read by the zoomed layers, (5, 16 * H, W, 2) in [-1, 1].

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
    """Compute where the first ``size`` pixels of SciPy's zoom of the middle lie in the image.

    The middle of ceil(size / factor) pixels becomes round(that * factor), first on first and last
    on last.
    """
    middle = int(np.ceil(size / float(factor)))
    zoomed = round(middle * factor)
    return (size - middle) // 2 + np.arange(size) * ((middle - 1) / (zoomed - 1))
