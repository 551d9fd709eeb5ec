"""Gaussian blur in float32, borders repeated, like scikit-image's ``gaussian`` of mode "nearest".

Letters: H height, W width, C channels, R radius of the kernel. An image is handled as H rows of W*C
numbers; taps of equal weight are added before they are multiplied.

The reference cuts decimals off, so the blur of an even area of level v, which is v but for rounding
errors, is v or v - 1 as those fall. Two blurs in a row (glass) could then differ from it by 2; so
reference mode looks up which of the 256 levels scipy's arithmetic lets fall.
"""

import functools

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]
RandomSource = np.random.RandomState | np.random.Generator

# Standard deviation in pixels, for severity 1 to 5.
GAUSSIAN_BLUR = (1, 2, 3, 4, 6)

# Added before truncation, so that rounding errors do not turn an even area v into v - 1.
NUDGE = np.float32(2e-4)

_NONE_FALLS = np.zeros(256, np.uint8)


def gaussian_blur(image: Image, severity: int, rng: RandomSource, reference: bool) -> Image:
    """Blur an image with a Gaussian cut off at 4 standard deviations; nothing is random."""
    return gaussian_of_image(image, GAUSSIAN_BLUR[severity - 1], reference=reference)


@functools.lru_cache(maxsize=32)
def half_gaussian(sigma: float, truncate: float = 4.0) -> Floats:
    """Compute the (R+1,) weights at distance 0, 1, ... R pixels; R = round(truncate * sigma)."""
    radius = int(truncate * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(radius + 1) / sigma) ** 2)
    return (weights / (2 * weights.sum() - weights[0])).astype(np.float32)


@numba.njit(cache=True, nogil=True)
def _add_scaled(total: Floats, first: Floats, last: Floats, weight: np.float32) -> None:
    for i in range(total.size):
        total[i] += weight * (first[i] + last[i])


@numba.njit(cache=True, nogil=True)
def _add_two_scaled(
    total: Floats, a: Floats, b: Floats, weight: np.float32, c: Floats, d: Floats, other: np.float32
) -> None:
    for i in range(total.size):
        total[i] += weight * (a[i] + b[i]) + other * (c[i] + d[i])


@numba.njit(cache=True, nogil=True)
def _blur_down(source: Floats, y: int, half: Floats, total: Floats) -> None:
    """Compute row ``y`` of the vertical blur of (H, N) rows."""
    bottom = source.shape[0] - 1
    centre = source[y]
    for i in range(total.size):
        total[i] = half[0] * centre[i]
    k = 1
    while k + 1 < half.size:
        _add_two_scaled(
            total,
            source[max(y - k, 0)],
            source[min(y + k, bottom)],
            half[k],
            source[max(y - k - 1, 0)],
            source[min(y + k + 1, bottom)],
            half[k + 1],
        )
        k += 2
    if k < half.size:
        _add_scaled(total, source[max(y - k, 0)], source[min(y + k, bottom)], half[k])


@numba.njit(cache=True, nogil=True)
def _repeat_ends(padded: Floats, margin: int, channels: int) -> None:
    """Repeat the first and last pixel of a row into its margins of ``margin`` numbers."""
    last = padded.size - margin - channels
    for i in range(margin):
        padded[i] = padded[margin + i % channels]
        padded[last + channels + i] = padded[last + i % channels]


@numba.njit(cache=True, nogil=True)
def _blur_along(padded: Floats, half: Floats, channels: int, total: Floats) -> None:
    """Blur one row horizontally; it has margins of R pixels."""
    size = total.size
    margin = (half.size - 1) * channels
    centre = padded[margin : margin + size]
    for i in range(size):
        total[i] = half[0] * centre[i]
    k = 1
    while k + 1 < half.size:
        step = k * channels
        longer = (k + 1) * channels
        _add_two_scaled(
            total,
            padded[margin - step : margin - step + size],
            padded[margin + step : margin + step + size],
            half[k],
            padded[margin - longer : margin - longer + size],
            padded[margin + longer : margin + longer + size],
            half[k + 1],
        )
        k += 2
    if k < half.size:
        step = k * channels
        _add_scaled(
            total,
            padded[margin - step : margin - step + size],
            padded[margin + step : margin + step + size],
            half[k],
        )


@functools.lru_cache(maxsize=32)
def falling_levels(sigma: float) -> NDArray[np.uint8]:
    """Compute (256,): 1 for each level of which an even area is one level darker when blurred."""
    levels = np.arange(256)[:, None] / 255
    for _ in range(2):  # down, then along
        levels = gaussian_filter1d(levels, sigma, axis=1, mode="nearest")
    return np.arange(256, dtype=np.uint8) - (levels[:, 0] * 255).astype(np.uint8)


@numba.njit(cache=True, nogil=True)
def _let_fall(total: Floats, falling: NDArray[np.uint8], row: NDArray[np.uint8]) -> None:
    """Lower values within rounding errors of a whole level by ``falling``."""
    wholes = 0
    for i in range(row.size):
        wholes += abs(total[i] - np.rint(total[i])) < NUDGE
    if wholes == 0:
        return
    for i in range(row.size):
        if abs(total[i] - np.rint(total[i])) < NUDGE:
            row[i] -= falling[row[i]]


@numba.njit(cache=True, nogil=True)
def _blurred_bytes(image: Image, half: Floats, falling: NDArray[np.uint8]) -> Image:
    height, width, channels = image.shape
    size = width * channels
    margin = (half.size - 1) * channels
    source = image.reshape((height, size)).astype(np.float32)
    any_falls = falling.max() > 0
    blurred = np.empty((height, size), np.uint8)
    padded = np.empty(size + 2 * margin, np.float32)
    total = np.empty(size, np.float32)
    for y in range(height):
        _blur_down(source, y, half, padded[margin : margin + size])
        _repeat_ends(padded, margin, channels)
        _blur_along(padded, half, channels, total)
        row = blurred[y]
        for i in range(size):
            row[i] = np.uint8(np.int32(min(total[i] + NUDGE, np.float32(255))))
        if any_falls:
            _let_fall(total, falling, row)
    return blurred.reshape(image.shape)


@numba.njit(cache=True, nogil=True)
def _blurred_plane(plane: Floats, half: Floats) -> Floats:
    height, width = plane.shape
    margin = half.size - 1
    blurred = np.empty((height, width), np.float32)
    padded = np.empty(width + 2 * margin, np.float32)
    for y in range(height):
        _blur_down(plane, y, half, padded[margin : margin + width])
        _repeat_ends(padded, margin, 1)
        _blur_along(padded, half, 1, blurred[y])
    return blurred


def gaussian_of_image(image: Image, sigma: float, *, reference: bool) -> Image:
    """Blur an (H, W, 3) image with ``sigma`` pixels and truncate (not round) to uint8.

    In reference mode even areas become what scipy makes of them; in fast mode they stay as they
    are.
    """
    falling = falling_levels(sigma) if reference else _NONE_FALLS
    return _blurred_bytes(image, half_gaussian(sigma), falling)


def gaussian_of_plane(plane: Floats, sigma: float) -> Floats:
    """Blur an (H, W) float32 plane with ``sigma`` pixels."""
    return _blurred_plane(plane, half_gaussian(sigma))
