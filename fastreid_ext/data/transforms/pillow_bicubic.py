"""Pillow's bicubic resize with equal pixels, for images whose rows are picked, moved and mirrored.

Pillow resizes 8-bit images in two passes, along the columns, then along the rows, each a weighted
sum of neighbours in fixed point, rounded to 8 bits (``Resample.c``: Keys' cubic with a = -0.5, its
support widened for reductions, weights rounded to 2^-22). Both are done here as sums of whole rows,
the first on the transposed image, which vector units like; and only for the requested columns and
rows, so that a crop, a mirror image and padding cost nothing.

Letters: h, w size of the given image, H, W of the result. Images are uint8 RGB in [0, 255].
"""

import functools

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from fastreid_ext.corruptions.pillow_passes import rows_go_first

_BITS = 22  # PRECISION_BITS of Pillow: 32 - 8 for the sum, 2 to spare
_SUPPORT = 2.0  # of the cubic, in pixels of the coarser image

UInt8s = NDArray[np.uint8]
# First source pixel (n,) and weights (n, taps) of each of n pixels; None: nothing to resize.
Taps = tuple[NDArray[np.int32], NDArray[np.int32]]


@functools.lru_cache(maxsize=256)
def bicubic_taps(length: int, resized: int) -> Taps | None:
    """Compute the source pixels and weights, in units of 2^-22, of each resized pixel.

    Args:
        length: pixels along an axis before resizing.
        resized: pixels along the axis after resizing.
    """
    if length == resized:
        return None
    scale = length / resized
    stretch = max(scale, 1.0)
    support = _SUPPORT * stretch
    first = np.empty(resized, np.int32)
    fixed = []
    for pixel in range(resized):
        centre = (pixel + 0.5) * scale
        low = max(int(centre - support + 0.5), 0)
        high = min(int(centre + support + 0.5), length)
        raw = [_cubic((place - centre + 0.5) * (1.0 / stretch)) for place in range(low, high)]
        total = sum(raw)
        fixed.append([_rounded(weight / total * (1 << _BITS)) for weight in raw])
        first[pixel] = low
    taps = max(len(row) for row in fixed)
    weights = np.zeros((resized, taps), np.int32)
    for pixel, row in enumerate(fixed):
        # At the end there are fewer; weights of 0 in front, so that no pixel behind it is read.
        empty = max(first[pixel] + taps - length, 0)
        first[pixel] -= empty
        weights[pixel, empty : empty + len(row)] = row
    return first, weights


def _cubic(x: float) -> float:
    x = abs(x)
    if x < 1:
        return (1.5 * x - 2.5) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * -0.5 if x < 2 else 0.0


def _rounded(value: float) -> int:
    return int(value - 0.5) if value < 0 else int(value + 0.5)


def resize_and_pick(
    image: UInt8s,
    size: tuple[int, int],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
) -> UInt8s:
    """Resize an image and pick some rows and columns of the result, channels first.

    Args:
        image: (h, w, 3) uint8 RGB; not written to.
        size: rows and columns to resize to.
        rows: (H,) the row of the resized image that each row of the result is, -1 for black.
        columns: (W,) the column of the resized image that each column of the result is, -1 for
            black.

    Returns:
        (3, H, W) uint8, equal to the pixels of ``PIL.Image.resize`` with ``BICUBIC``.
    """
    height, width, _ = image.shape
    row_taps = bicubic_taps(height, size[0])
    column_taps = bicubic_taps(width, size[1])
    rows_first = rows_go_first(height - size[0], width - size[1])
    image = image.reshape(1, height, width * 3)
    if rows_first:
        image = _rows_of(image, row_taps, rows)
    # (h, w 3) turned is (w 3, h): for each column, its three channels from top to bottom.
    turned = cv2.transpose(image[0]).reshape(1, width, -1)
    picked = _rows_of(turned, column_taps, columns)
    planes = cv2.transpose(picked[0]).reshape(3, -1, len(columns))
    return planes if rows_first else _rows_of(planes, row_taps, rows)


def _rows_of(source: UInt8s, taps: Taps | None, picks: NDArray[np.int64]) -> UInt8s:
    """Resize the rows of (P, n, L) and keep those that are picked, (P, picks, L)."""
    out = np.empty((len(source), len(picks), source.shape[2]), np.uint8)
    if taps is None:
        np.take(source, picks, axis=1, out=out, mode="wrap")
        out[:, picks < 0] = 0
    elif taps[1].shape[1] == 4:
        _mix_four_rows(source, taps[0], taps[1], picks, out)
    else:
        _mix_rows(source, taps[0], taps[1], picks, out)
    return out


@njit(cache=True)
def _mix_rows(source, first, weights, picks, out):  # noqa: ANN001, ANN202
    """Write row ``picks[i]`` of the resized ``source`` to ``out[:, i]``, black where that is -1."""
    half = np.int32(1 << (_BITS - 1))
    length = source.shape[2]
    sums = np.empty(length, np.int32)
    for plane in range(len(source)):
        for i in range(len(picks)):
            target = out[plane, i]
            pick = picks[i]
            if pick < 0:
                target[:] = 0
                continue
            sums[:] = half
            for k in range(weights.shape[1]):
                row = source[plane, first[pick] + k]
                weight = weights[pick, k]
                for x in range(length):
                    sums[x] += np.int32(row[x] * weight)
            for x in range(length):
                target[x] = min(max(np.int32(sums[x] >> _BITS), 0), 255)


@njit(cache=True)
def _mix_four_rows(source, first, weights, picks, out):  # noqa: ANN001, ANN202
    """Compute :func:`_mix_rows` for an enlargement, whose four taps fit into registers."""
    half = np.int32(1 << (_BITS - 1))
    length = source.shape[2]
    for plane in range(len(source)):
        for i in range(len(picks)):
            target = out[plane, i]
            pick = picks[i]
            if pick < 0:
                target[:] = 0
                continue
            row = first[pick]
            a = source[plane, row]
            b = source[plane, row + 1]
            c = source[plane, row + 2]
            d = source[plane, row + 3]
            wa = weights[pick, 0]
            wb = weights[pick, 1]
            wc = weights[pick, 2]
            wd = weights[pick, 3]
            for x in range(length):
                total = np.int32(half + a[x] * wa + b[x] * wb + c[x] * wc + d[x] * wd)
                target[x] = min(max(np.int32(total >> _BITS), 0), 255)
