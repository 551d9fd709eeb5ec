"""Brightness, contrast and saturation.

Contrast moves every value towards the mean of its channel. Brightness and saturation change a
pixel's value or saturation and keep its hue; the reference goes to HSV and back. In reference mode
that is done in its order of operations, in one pass over the pixels, so the result is equal to the
last bit. In fast mode it is algebra: with the largest channel M (HSV's value) and the smallest m,
saturation is (M - m) / M, and a channel c is

* M' c / M         when the value becomes M',
* M - (M - c) M S' / (M - m)   when the saturation becomes S'.

A grey pixel has no hue; the reference takes red, so a saturation that is added (severities 4 and 5
of ``saturate``) makes it reddish. Both modes keep that.

[0] Hendrycks and Dietterich, ICLR 2019; parameters are those of imagecorruptions 1.1.2.
"""

import math

import numba
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
RandomSource = np.random.RandomState | np.random.Generator

# Severity 1 to 5.
BRIGHTNESS_ADDED = (0.1, 0.2, 0.3, 0.4, 0.5)  # to the value; white is 1
CONTRASTS = (0.4, 0.3, 0.2, 0.1, 0.05)  # share that is left of the distance to the channel's mean
SATURATE = ((0.3, 0.0), (0.1, 0.0), (2.0, 0.0), (5.0, 0.1), (20.0, 0.2))  # factor, then added

_LEVELS = 256
_UNIT = np.arange(_LEVELS) / 255.0  # the reference's float of each grey level
_1 = np.uint64(1)
_2 = np.uint64(2)
_NUDGE = np.float32(1e-3)  # against truncation of a result that is a grey level but for rounding


def brightness(image: Image, severity: int, rng: RandomSource, reference: bool) -> Image:
    """Add to the value of HSV; nothing is random."""
    added = BRIGHTNESS_ADDED[severity - 1]
    if reference:
        return _through_hsv(image, _UNIT, 1.0, 0.0, added)
    return _brightened(image, np.float32(255 * added))


def contrast(image: Image, severity: int, rng: RandomSource, reference: bool) -> Image:
    """Move every value towards the mean of its channel; nothing is random."""
    return _flattened(image, _UNIT, CONTRASTS[severity - 1])


def saturate(image: Image, severity: int, rng: RandomSource, reference: bool) -> Image:
    """Multiply the saturation of HSV and add to it; nothing is random."""
    factor, added = SATURATE[severity - 1]
    if reference:
        return _through_hsv(image, _UNIT, factor, added, 0.0)
    return _saturated(image, np.float32(factor), np.float32(added))


@numba.njit(cache=True, nogil=True)
def _through_hsv(
    image: Image,
    unit: NDArray[np.float64],
    saturation_factor: float,
    saturation_added: float,
    value_added: float,
) -> Image:
    """Convert to HSV, change saturation and value, clip them to [0, 1], and convert back."""
    result = np.empty_like(image)
    pixels = image.reshape(-1)
    results = result.reshape(-1)
    for at in range(0, pixels.size, 3):
        red = unit[pixels[at]]
        green = unit[pixels[at + 1]]
        blue = unit[pixels[at + 2]]
        hue, saturation, value = _hsv(red, green, blue)
        saturation = min(max(saturation * saturation_factor + saturation_added, 0.0), 1.0)
        value = min(max(value + value_added, 0.0), 1.0)
        red, green, blue = _rgb(hue, saturation, value)
        results[at] = _level(red)
        results[at + 1] = _level(green)
        results[at + 2] = _level(blue)
    return result


@numba.njit(cache=True, nogil=True)
def _level(value: float) -> np.uint8:
    return np.uint8(min(max(value, 0.0), 1.0) * 255)


@numba.njit(cache=True, nogil=True)
def _hsv(red: float, green: float, blue: float) -> tuple[float, float, float]:
    """Compute hue, saturation and value in [0, 1]; of equal largest channels the last wins."""
    value = max(red, green, blue)
    spread = value - min(red, green, blue)
    if spread == 0.0:
        return 0.0, 0.0, value
    if blue == value:
        sixths = 4.0 + (red - green) / spread
    elif green == value:
        sixths = 2.0 + (blue - red) / spread
    else:
        sixths = (green - blue) / spread
    hue = sixths / 6.0
    return (hue + 1.0 if hue < 0 else hue), spread / value, value


@numba.njit(cache=True, nogil=True)
def _rgb(hue: float, saturation: float, value: float) -> tuple[float, float, float]:
    sector = math.floor(hue * 6)
    part = hue * 6 - sector
    low = value * (1 - saturation)
    falling = value * (1 - part * saturation)
    rising = value * (1 - (1 - part) * saturation)
    if sector == 1:
        return falling, value, low
    if sector == 2:
        return low, value, rising
    if sector == 3:
        return low, falling, value
    if sector == 4:
        return rising, low, value
    if sector == 5:
        return value, low, falling
    return value, rising, low  # sector 0, and 6, where rounding makes hue 1


@numba.njit(cache=True, nogil=True)
def _flattened(image: Image, unit: NDArray[np.float64], share: float) -> Image:
    pixels = image.reshape(-1)
    # Added one by one, as numpy does over the first two axes: the last bit of a mean counts where
    # the result is a whole grey level.
    red = green = blue = 0.0
    for at in range(0, pixels.size, 3):
        red += unit[pixels[at]]
        green += unit[pixels[at + 1]]
        blue += unit[pixels[at + 2]]
    levels = np.empty((3, _LEVELS), np.uint8)
    for channel, total in enumerate((red, green, blue)):
        mean = total / (pixels.size // 3)
        for level in range(_LEVELS):
            value = (unit[level] - mean) * share + mean
            levels[channel, level] = np.uint8(min(max(value, 0.0), 1.0) * 255)
    result = np.empty_like(image)
    results = result.reshape(-1)
    reds = levels[0]
    greens = levels[1]
    blues = levels[2]
    for at in range(0, pixels.size, 3):
        results[at] = reds[pixels[at]]
        results[at + 1] = greens[pixels[at + 1]]
        results[at + 2] = blues[pixels[at + 2]]
    return result


@numba.njit(cache=True, nogil=True)
def _brightened(image: Image, added: np.float32) -> Image:
    result = np.empty_like(image)
    pixels = image.reshape(-1)
    results = result.reshape(-1)
    zero = np.float32(0)
    one = np.float32(1)
    white = np.float32(255)
    for pixel in range(pixels.size // 3):
        at = np.uint64(3 * pixel)
        red = np.float32(pixels[at])
        green = np.float32(pixels[at + _1])
        blue = np.float32(pixels[at + _2])
        value = max(red, green, blue)
        brighter = min(value + added, white)
        factor = brighter / max(value, one)
        base = _NUDGE + (brighter if value == zero else zero)  # black has no hue to keep
        results[at] = np.uint8(np.int32(red * factor + base))
        results[at + _1] = np.uint8(np.int32(green * factor + base))
        results[at + _2] = np.uint8(np.int32(blue * factor + base))
    return result


@numba.njit(cache=True, nogil=True)
def _saturated(image: Image, factor: np.float32, added: np.float32) -> Image:
    result = np.empty_like(image)
    pixels = image.reshape(-1)
    results = result.reshape(-1)
    zero = np.float32(0)
    one = np.float32(1)
    for pixel in range(pixels.size // 3):
        at = np.uint64(3 * pixel)
        red = np.float32(pixels[at])
        green = np.float32(pixels[at + _1])
        blue = np.float32(pixels[at + _2])
        value = max(red, green, blue)
        spread = value - min(red, green, blue)
        wanted = min(spread * factor + added * value, value)
        scale = wanted / max(spread, one)
        # A grey pixel becomes reddish: red stays, the others lose the whole wanted spread.
        loss = wanted if spread == zero else zero
        top = value + _NUDGE
        results[at] = np.uint8(np.int32(top - (value - red) * scale))
        results[at + _1] = np.uint8(np.int32(top - ((value - green) * scale + loss)))
        results[at + _2] = np.uint8(np.int32(top - ((value - blue) * scale + loss)))
    return result
