"""The compiled loops of AugMix.

All arithmetic is Pillow's, in its order, so that the results are equal bit by bit: positions and
interpolation in float64, grey levels truncated.

Letters: H height, W width. Rows of images are (3 W,) uint8, three channels for each pixel.
"""

import math
from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

Rows = NDArray[np.uint8]


def weighted_mean(images: Sequence[NDArray[np.uint8]], weights: Sequence[float]) -> NDArray:
    """Compute the weighted mean of images (H, W, 3) uint8, rounded.

    Args:
        images: images of one shape; never written to.
        weights: one weight >= 0 for each image; they sum to 1.
    """
    total = np.zeros(images[0].size, np.float32)
    for image, weight in zip(images, weights, strict=True):
        # One layout, so that the loop is compiled once.
        flat = image if image.flags.c_contiguous and image.flags.writeable else image.copy("C")
        add_weighted(total, flat.reshape(-1), np.float32(weight))
    return rounded(total).reshape(images[0].shape)


@njit(cache=True)
def add_weighted(total: NDArray[np.float32], image: NDArray[np.uint8], weight: np.float32) -> None:
    """Add ``weight * image`` to ``total``; both flat."""
    for index in range(total.shape[0]):
        total[index] += weight * np.float32(image[index])


@njit(cache=True)
def rounded(total: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Round a flat mean of grey levels to uint8."""
    image = np.empty(total.shape, np.uint8)
    for index in range(total.shape[0]):
        image[index] = np.uint8(np.int32(total[index] + np.float32(0.5)))  # nothing to clip
    return image


@njit(cache=True)
def contrast_tables(rows: Rows) -> NDArray[np.uint8]:
    """Compute (1, 256, 3) tables that stretch each channel of (H, 3 W) to 0 to 255."""
    low = rows[0].copy()
    high = rows[0].copy()
    for y in range(1, rows.shape[0]):
        row = rows[y]
        for x in range(row.shape[0]):
            low[x] = min(low[x], row[x])
            high[x] = max(high[x], row[x])
    tables = np.empty((1, 256, 3), np.uint8)
    for channel in range(3):
        first = low[channel::3].min()
        last = high[channel::3].max()
        scale = 255.0 / max(np.float64(last) - first, 1.0)
        for value in range(256):
            stretched = int(value * scale + -np.float64(first) * scale)  # towards 0
            stretched = min(max(stretched, 0), 255)
            tables[0, value, channel] = stretched if last > first else value
    return tables


@njit(cache=True)
def equal_tables(rows: Rows) -> NDArray[np.uint8]:
    """Compute (1, 256, 3) tables that make the histogram of each channel of (H, 3 W) flat."""
    counts = np.zeros((3, 256), np.int64)
    for y in range(rows.shape[0]):
        row = rows[y]
        for x in range(0, row.shape[0], 3):
            counts[0, row[x]] += 1
            counts[1, row[x + 1]] += 1
            counts[2, row[x + 2]] += 1
    tables = np.empty((1, 256, 3), np.uint8)
    for channel in range(3):
        brightest = counts[channel][counts[channel] > 0][-1]
        step = (counts[channel].sum() - brightest) // 255
        before = step // 2
        for value in range(256):
            tables[0, value, channel] = min(before // step, 255) if step > 0 else value
            before += counts[channel, value]
    return tables


@njit(cache=True)
def resample(source: Rows, target: Rows, matrix: tuple[float, ...]) -> None:
    """Resample bilinearly at (a x + b y + c, d x + e y + f).

    Args:
        source: (H + 2, 3 (W + 2)) uint8 rows of the image with its border repeated.
        target: (H, 3 W) uint8 zeros, which stay where the place in the source is outside.
        matrix: coefficients a to f.
    """
    a, b, c, d, e, f = matrix
    height = target.shape[0]
    width = target.shape[1] // 3
    stride = source.shape[1]
    values = source.reshape(-1)
    place = np.empty(width, np.int32)  # index in values of the upper left neighbour
    right = np.empty(width)  # weights of the other neighbours
    below = np.empty(width)
    for y in range(height):
        start = 0
        end = width
        while start < end and not _is_inside(matrix, start + 0.5, y + 0.5, height, width):
            start += 1
        while end > start and not _is_inside(matrix, end - 0.5, y + 0.5, height, width):
            end -= 1
        for x in range(start, end):
            across = a * (x + 0.5) + b * (y + 0.5) + c - 0.5
            down = d * (x + 0.5) + e * (y + 0.5) + f - 0.5
            column = np.floor(across)
            line = np.floor(down)
            right[x] = across - column
            below[x] = down - line
            place[x] = (np.int32(line) + 1) * stride + 3 * (np.int32(column) + 1)
        row = target[y]
        for x in range(start, end):
            for channel in range(3):
                i = np.intp(place[x]) + channel
                first = np.float64(values[i])
                second = np.float64(values[i + stride])
                first += (np.float64(values[i + 3]) - first) * right[x]
                second += (np.float64(values[i + 3 + stride]) - second) * right[x]
                row[3 * x + channel] = np.uint8(np.int32(first + (second - first) * below[x]))


@njit(cache=True)
def _is_inside(matrix: tuple[float, ...], x: float, y: float, height: int, width: int) -> bool:
    a, b, c, d, e, f = matrix
    across = a * x + b * y + c
    down = d * x + e * y + f
    return 0 <= across < width and 0 <= down < height


@njit(cache=True)
def shear_rows(source: Rows, target: Rows, slope: float) -> None:
    """Compute the same as :func:`resample` for (1, slope, 0, 0, 1, 0), faster."""
    height = target.shape[0]
    width = target.shape[1] // 3
    column = np.arange(3 * width) // 3 + 0.0
    for y in range(height):
        shift = slope * (y + 0.5)
        whole = math.floor(shift)
        start = 0
        end = width
        while start < end and start + 0.5 + shift < 0:
            start += 1
        while end > start and end - 0.5 + shift >= width:
            end -= 1
        row = target[y, 3 * start : 3 * end]
        own = column[3 * start : 3 * end]
        left = source[y + 1, 3 * (start + whole + 1) : 3 * (end + whole + 1)]
        right = source[y + 1, 3 * (start + whole + 2) : 3 * (end + whole + 2)]
        for i in range(row.shape[0]):
            weight = own[i] + 0.5 + shift - 0.5 - (own[i] + whole)
            first = np.float64(left[i])
            row[i] = np.uint8(np.int32(first + (np.float64(right[i]) - first) * weight))


@njit(cache=True)
def shear_columns(source: Rows, target: Rows, slope: float) -> None:
    """Compute the same as :func:`resample` for (1, 0, 0, slope, 1, 0), faster."""
    height = target.shape[0]
    width = target.shape[1] // 3
    shifts = slope * (np.arange(3 * width) // 3 + 0.5)
    start = 0
    while start < shifts.shape[0]:
        # Columns that are moved by the same number of whole pixels.
        whole = math.floor(shifts[start])
        end = start + 3
        while end < shifts.shape[0] and math.floor(shifts[end]) == whole:
            end += 3
        own = shifts[start:end]
        for y in range(max(-1 - whole, 0), min(height - whole, height)):
            row = target[y, start:end]
            upper = source[y + whole + 1, start + 3 : end + 3]
            lower = source[y + whole + 2, start + 3 : end + 3]
            is_border = y + whole < 0 or y + whole >= height - 1
            for i in range(row.shape[0]):
                weight = own[i] + (y + 0.5) - 0.5 - (y + whole)
                first = np.float64(upper[i])
                row[i] = np.uint8(np.int32(first + (np.float64(lower[i]) - first) * weight))
            if is_border:
                for i in range(row.shape[0]):
                    if own[i] + (y + 0.5) < 0 or own[i] + (y + 0.5) >= height:
                        row[i] = 0
        start = end
