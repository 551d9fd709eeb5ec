"""JPEG compression with 4:2:0 chroma; entropy coding is left out because it is lossless.

It follows libjpeg, that is Pillow, step by step: rounded YCbCr, chroma averaged in 2x2, 8x8 DCT,
Annex K tables scaled by quality, triangular chroma upsampling. The DCTs are in floating point, not
libjpeg's integers, so a coefficient near half a step may fall to the other side.

Letters: B batch, H height, W width, N blocks of an image.

[0] ITU-T T.81, Annex A.3.3 (DCT) and Annex K.1 (tables); JFIF 1.02 (YCbCr)
"""

import dataclasses
import functools

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fastreid_ext.corruptions.cpu.jpeg_compression import JPEG_QUALITIES
from fastreid_ext.corruptions.gpu.random_numbers import Bucket

# fmt: off
_LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)
_CHROMINANCE = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99,
    24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99,
    *(99,) * 32,
)
# fmt: on
_TO_YCC = (
    (0.299, 0.587, 0.114),
    (-0.168735892, -0.331264108, 0.5),
    (0.5, -0.418687589, -0.081312411),
)
_FROM_CHROMA = ((0.0, 1.402), (-0.344136286, -0.714136286), (1.772, 0.0))


@dataclasses.dataclass(frozen=True)
class _Tables:
    """Tables for images of one size on a device.

    Attributes:
        to_ycc: (3, 3) matrix from RGB to YCbCr.
        middle: (3, 1) offsets added to Y, Cb and Cr.
        downsampling: (W / 2,) rounding of the chroma averages.
        transform: (64, 64), pixels of a block (a row) @ transform = coefficients.
        steps: (5, N, 64) quantisation of each severity and block, luminance first.
        taller: (H, H / 2) four times the triangular upsampling of columns.
        wider: (W / 2, W) four times the triangular upsampling of rows.
        upsampling: (W,) rounding of sixteen times the upsampled chroma.
        from_chroma: (3, 2) matrix from Cb and Cr to what they add to RGB.
    """

    to_ycc: Tensor
    middle: Tensor
    downsampling: Tensor
    transform: Tensor
    steps: Tensor
    taller: Tensor
    wider: Tensor
    upsampling: Tensor
    from_chroma: Tensor


def jpeg_compression(images: Tensor, bucket: Bucket) -> Tensor:
    """Compress images at the quality of their severity, and decompress them."""
    height, width = images.shape[2:]
    tables = _tables(height, width, images.device)
    padded = F.pad(images.float(), (0, -width % 16, 0, -height % 16), mode="replicate")
    rows, columns = padded.shape[2:]
    colours = (tables.to_ycc @ padded.flatten(2)).add_(tables.middle).round_().view_as(padded)
    chroma = F.avg_pool2d(colours[:, 1:], 2).add_(tables.downsampling).floor_()
    blocks = torch.cat([_to_blocks(colours[:, :1]), _to_blocks(chroma)], dim=1).sub_(128)
    steps = tables.steps.index_select(0, bucket.levels)
    coefficients = (blocks @ tables.transform).div_(steps).round_().mul_(steps)
    blocks = (coefficients @ tables.transform.T).add_(128.5).floor_().clamp_(0, 255)
    luma_blocks = rows * columns // 64
    luma = _from_blocks(blocks[:, :luma_blocks], 1, rows, columns)[:, :, :height, :width]
    chroma = _from_blocks(blocks[:, luma_blocks:], 2, rows // 2, columns // 2)
    chroma = chroma[:, :, : (height + 1) // 2, : (width + 1) // 2].sub(128)
    chroma = (tables.taller @ chroma @ tables.wider).add_(tables.upsampling).div_(16).floor_()
    added = (tables.from_chroma @ chroma.flatten(2)).round_().view(-1, 3, height, width)
    return added.add_(luma)


def _to_blocks(planes: Tensor) -> Tensor:
    """Cut (B, C, H, W) into (B, C * H/8 * W/8, 64)."""
    batch, channels, height, width = planes.shape
    blocks = planes.reshape(batch, channels, height // 8, 8, width // 8, 8)
    return blocks.transpose(3, 4).reshape(batch, -1, 64)


def _from_blocks(blocks: Tensor, channels: int, height: int, width: int) -> Tensor:
    """Undo :func:`_to_blocks`."""
    cut = blocks.reshape(-1, channels, height // 8, width // 8, 8, 8)
    return cut.transpose(3, 4).reshape(-1, channels, height, width)


@functools.lru_cache(maxsize=8)
def _tables(height: int, width: int, device: torch.device) -> _Tables:
    rows = height + -height % 16
    columns = width + -width % 16
    cosines = _cosines()
    luma = rows * columns // 64
    chroma = rows * columns // 128
    steps = [
        np.repeat(
            [quantisation(_LUMINANCE, quality), quantisation(_CHROMINANCE, quality)],
            [luma, chroma],
            axis=0,
        )
        for quality in JPEG_QUALITIES
    ]
    arrays = _Tables(
        to_ycc=np.array(_TO_YCC),
        middle=np.array([[0.0], [128.0], [128.0]]),
        downsampling=np.resize([0.25, 0.5], columns // 2),
        transform=np.kron(cosines, cosines).T,
        steps=np.stack(steps),
        taller=_triangles(height),
        wider=_triangles(width).T,
        # The 128 taken off before is 16 * 128 here, a whole multiple: it does not matter.
        upsampling=np.resize([8.0, 7.0], width),
        from_chroma=np.array(_FROM_CHROMA),
    )
    return _Tables(
        **{
            field.name: torch.from_numpy(getattr(arrays, field.name).copy()).float().to(device)
            for field in dataclasses.fields(_Tables)
        }
    )


def _cosines() -> NDArray[np.float64]:
    """Build the orthonormal DCT of 8 values: coefficients = matrix @ values."""
    frequency, place = np.mgrid[:8, :8]
    matrix = np.cos((2 * place + 1) * frequency * np.pi / 16) / 2
    matrix[0] /= np.sqrt(2)
    return matrix


def quantisation(table: tuple[int, ...], quality: int) -> NDArray[np.int64]:
    """Compute the steps of the 64 coefficients at a quality below 50."""
    return np.clip((np.array(table) * (5000 // quality) + 50) // 100, 1, 255)


def _triangles(size: int) -> NDArray[np.float64]:
    """Build the matrix that doubles a row: 3 parts the nearer, 1 part the other neighbour."""
    matrix = np.zeros((size, (size + 1) // 2))
    near = np.arange(size) // 2
    other = np.clip(near + np.where(np.arange(size) % 2, 1, -1), 0, matrix.shape[1] - 1)
    np.add.at(matrix, (np.arange(size), near), 3)
    np.add.at(matrix, (np.arange(size), other), 1)
    return matrix
