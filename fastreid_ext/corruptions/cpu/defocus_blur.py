"""Defocus: convolution with an anti-aliased disk, borders mirrored without repeating the edge.

Letters: H height, W width, R radius of the kernel in pixels. A disk is even inside, so its rows
have few *changes*. With P the running sum of an image row, a kernel row k convolves as the sum over
its changes k(j) - k(j-1) of that change times P; left and right changes are opposite, upper and
lower rows equal. All sums before the multiplications are of whole numbers below 2^24, so exact in
float32.
"""

import functools

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from fastreid_ext.corruptions.cpu.gaussian_blur import NUDGE

Image = NDArray[np.uint8]
RandomSource = np.random.RandomState | np.random.Generator
Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

# (radius of the disk, standard deviation of its soft edge), both in pixels, for severity 1 to 5.
DEFOCUS_BLUR = ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))


def defocus_blur(image: Image, severity: int, rng: RandomSource, reference: bool) -> Image:
    """Convolve an image with :func:`disk_kernel` and truncate to uint8; nothing is random."""
    return _defocused(image, *_changes(*DEFOCUS_BLUR[severity - 1]))


def disk_kernel(radius: int, alias_blur: float) -> Floats:
    """Build a square kernel: a disk of ``radius`` pixels, blurred by ``alias_blur`` pixels.

    17 x 17 up to radius 8, blurred over 3 x 3; 2 * radius + 1 wide above, blurred over 5 x 5.
    The blur mirrors at the kernel's edge, which disks of radius 8 and 10 touch, so that these
    sum to 1.013 and 1.011: out of focus is 1 % brighter at severities 4 and 5, as in the reference.
    """
    reach, window = (8, 3) if radius <= 8 else (radius, 5)
    steps = np.arange(-reach, reach + 1)
    disk = (steps[:, None] ** 2 + steps**2 <= radius**2).astype(np.float32)
    disk /= disk.sum()
    return cv2.GaussianBlur(disk, ksize=(window, window), sigmaX=alias_blur)


@functools.lru_cache(maxsize=16)
def _changes(radius: int, alias_blur: float) -> tuple[int, Integers, Integers, Floats]:
    """Compute R; for rows 0 to R where their changes begin; each change's j and -(value)."""
    kernel = disk_kernel(radius, alias_blur).astype(np.float64)
    reach = kernel.shape[0] // 2
    half = (kernel + kernel[::-1])[reach:] / 2
    half = (half + half[:, ::-1])[:, reach:] / 2  # (R+1, R+1): rows and columns 0 to R
    steps = half - np.pad(half, ((0, 0), (0, 1)))[:, 1:]  # of column j to column j + 1
    steps[np.abs(steps) < 1e-9] = 0
    rows, columns = np.nonzero(steps)
    begins = np.searchsorted(rows, np.arange(reach + 2))
    return reach, begins, columns + 1, steps[rows, columns].astype(np.float32)


@numba.njit(cache=True, nogil=True)
def _running_sums(image: NDArray[np.uint8], reach: int) -> Floats:
    """Sum up all to the left of each pixel of a mirrored row: (H, 3 * (W + 2R + 1))."""
    height, width, _ = image.shape
    sums = np.empty((height, 3 * (width + 2 * reach + 1)), np.float32)
    for y in range(height):
        pixels = image[y]
        row = sums[y]
        red = 0
        green = 0
        blue = 0
        for i in range(width + 2 * reach):
            x = abs(i - reach)
            x = min(x, 2 * (width - 1) - x)
            row[3 * i] = red
            row[3 * i + 1] = green
            row[3 * i + 2] = blue
            pixel = pixels[x]
            red += pixel[0]
            green += pixel[1]
            blue += pixel[2]
        last = row[3 * (width + 2 * reach) :]
        last[0] = red
        last[1] = green
        last[2] = blue
    return sums


@numba.njit(cache=True, nogil=True)
def _add_two_changes(
    total: Floats, sums: Floats, middle: int, j: int, change: np.float32, k: int, other: np.float32
) -> None:
    """Add ``change * (P[x + j] - P[x + 1 - j])`` and the same for k."""
    size = total.size
    a = sums[middle + 3 * j :][:size]
    b = sums[middle + 3 - 3 * j :][:size]
    c = sums[middle + 3 * k :][:size]
    d = sums[middle + 3 - 3 * k :][:size]
    for i in range(size):
        total[i] += change * (a[i] - b[i]) + other * (c[i] - d[i])


@numba.njit(cache=True, nogil=True)
def _pair(sums: Floats, y: int, step: int, pair: Floats) -> None:
    """Add the rows ``step`` above and below y, mirrored at the borders."""
    bottom = sums.shape[0] - 1
    upper = sums[abs(y - step)]
    lower = sums[bottom - abs(bottom - y - step)]
    weight = np.float32(0.5 if step == 0 else 1.0)
    for i in range(pair.size):
        pair[i] = weight * (upper[i] + lower[i])


@numba.njit(cache=True, nogil=True)
def _defocused(
    image: Image, reach: int, begins: Integers, columns: Integers, changes: Floats
) -> Image:
    height = image.shape[0]
    size = 3 * image.shape[1]
    middle = 3 * reach
    sums = _running_sums(image, reach)
    pair = np.empty(sums.shape[1], np.float32)
    total = np.empty(size, np.float32)
    blurred = np.empty((height, size), np.uint8)
    for y in range(height):
        total[:] = NUDGE
        for step in range(reach + 1):
            begin = begins[step]
            end = begins[step + 1]
            if begin == end:
                continue
            _pair(sums, y, step, pair)
            for n in range(begin, end, 2):
                m = min(n + 1, end - 1)
                other = changes[m] if m > n else np.float32(0)
                _add_two_changes(total, pair, middle, columns[n], changes[n], columns[m], other)
        row = blurred[y]
        for i in range(size):
            row[i] = np.uint8(np.int32(min(max(total[i], np.float32(0)), np.float32(255))))
    return blurred.reshape(image.shape)
