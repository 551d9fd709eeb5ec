"""The weather of ImageNet-C: snow, frost, fog, and spatter.

Each takes (image, severity, rng, faithful): an (H, W, 3) uint8 RGB image, C-contiguous and not
written to, a severity of 1 to 5 and a generator that fits the mode, and returns a new image. Like
the reference, all end by cutting the decimals off.
:func:`fastreid_ext.corruptions.cpu.corrupt` checks the arguments.

Agreement with the reference for one random stream, faithful mode: frost and fog equal, snow within
1 grey level; spatter within 1 but for 1e-4 of the values (:mod:`.splashes` says why).
"""

import numba
import numpy as np
from numpy.typing import NDArray

from fastreid_ext.corruptions.cpu.fog import map_side, plasma_map
from fastreid_ext.corruptions.cpu.frost_textures import TEXTURES, covering_texture
from fastreid_ext.corruptions.cpu.mersenne import normals, uniforms
from fastreid_ext.corruptions.cpu.motion_blur import streak_plane
from fastreid_ext.corruptions.cpu.random_bits import random_normals, random_uniforms
from fastreid_ext.corruptions.cpu.separable import gaussian_of_plane
from fastreid_ext.corruptions.cpu.snow import flake_layer, flake_source, snowed
from fastreid_ext.corruptions.cpu.spatter import water_strength, with_mud, with_water

Image = NDArray[np.uint8]
RandomSource = np.random.RandomState | np.random.Generator

# (mean and deviation of the noise, zoom, threshold of a flake, half the length of a streak and its
# standard deviation in pixels, share of the image that is not brightened).
SNOW = (
    (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
    (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
    (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
    (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
    (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
)
# (weight of the image, weight of the texture).
FROST = ((1.0, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))
# (weight of the fog, how fast its details get smaller).
FOG = ((1.5, 2), (2.0, 2), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4))
# (mean and deviation of the noise, its blur in pixels, threshold of a drop, strength).
WATER = ((0.65, 0.3, 4, 0.69, 0.6), (0.65, 0.3, 3, 0.68, 0.6), (0.65, 0.3, 2, 0.68, 0.5))
# (mean and deviation of the noise, its blur in pixels, threshold, blur of the splash in pixels).
MUD = ((0.65, 0.3, 1, 0.65, 1.5), (0.67, 0.4, 1, 0.65, 1.5))


def snow(image: Image, severity: int, rng: RandomSource, faithful: bool) -> Image:
    """Streaks of snow on a brightened image. Draws normal noise, then the angle of the fall.

    Faithful: noise of the whole image, of which only the centre is used. Fast: only that.
    """
    mean, deviation, factor, threshold, radius, sigma, keep = SNOW[severity - 1]
    height, width = image.shape[:2]
    if faithful:
        noise = mean + deviation * normals(rng, (height, width))
    else:
        size = flake_source(height, width, factor)
        noise = random_normals(rng, size[0] * size[1], mean, deviation).reshape(size)
    flakes = flake_layer(noise, height, width, factor, threshold)
    return snowed(image, streak_plane(flakes, radius, sigma, rng.uniform(-135, -45)), keep)


def frost(image: Image, severity: int, rng: RandomSource, faithful: bool) -> Image:
    """A photograph of frost laid over. Draws one of five, then the top and left of the part."""
    height, width = image.shape[:2]
    below = rng.randint if faithful else rng.integers
    texture = covering_texture(int(below(len(TEXTURES))), height, width)
    top = int(below(0, texture.shape[0] - height))
    left = int(below(0, texture.shape[1] - width))
    return _with_texture(image, texture, top, left, *FROST[severity - 1])


@numba.njit(cache=True, nogil=True)
def _with_texture(
    image: Image, texture: Image, top: int, left: int, weight: float, other: float
) -> Image:
    """``weight * image + other * texture``, in float64 as the reference, so equal to it."""
    result = np.empty_like(image)
    for y in range(image.shape[0]):
        pixels = image[y].reshape(-1)
        row = result[y].reshape(-1)
        ice = texture[top + y].reshape(-1)[3 * left : 3 * left + row.size]
        for i in range(row.size):
            row[i] = np.uint8(np.int32(min(weight * pixels[i] + other * ice[i], 255.0)))
    return result


def fog(image: Image, severity: int, rng: RandomSource, faithful: bool) -> Image:
    """Plasma added, all darkened to the old maximum. Draws S^2 - 1 uniform numbers.

    S is the power of two that is at least the longer side (:func:`.plasma.map_side` says what
    bounds it); of the map, scaled to [0, 1] as a whole, the top left is used.
    """
    weight, decay = FOG[severity - 1]
    side = map_side(*image.shape[:2])
    count = side * side - 1
    noise = uniforms(rng, (count,)) if faithful else random_uniforms(rng, count)
    plasma = plasma_map(noise, side, decay)
    real = plasma.dtype.type
    brightest = real(image.max()) / real(255)
    low = plasma.min()
    return _fogged(image, plasma, low, plasma.max() - low, brightest, real(weight))


@numba.njit(cache=True, nogil=True)
def _fogged(
    image: Image, plasma: NDArray, low: float, span: float, brightest: float, weight: float
) -> Image:
    """In the type of the plasma; in float64 and this order, the reference's numbers."""
    height, width, channels = image.shape
    real = plasma.dtype.type
    one = real(1)
    full = real(255)
    cloud = np.empty(width * channels, plasma.dtype)
    result = np.empty((height, width * channels), np.uint8)
    for y in range(height):
        clouds = plasma[y % len(plasma)]
        pixels = image[y].reshape(-1)
        row = result[y]
        for x in range(width):
            for c in range(channels):
                cloud[channels * x + c] = weight * ((clouds[x % len(plasma)] - low) / span)
        for i in range(row.size):
            value = (real(pixels[i]) / full + cloud[i]) * brightest / (brightest + weight)
            row[i] = np.uint8(np.int32(min(value, one) * full))
    return result.reshape(image.shape)


def spatter(image: Image, severity: int, rng: RandomSource, faithful: bool) -> Image:
    """Drops of water (severity 1 to 3) or splashes of mud (4, 5). Draws normal noise.

    Where an image is so small that no drop passes the threshold, the reference divides 0 by 0 and
    returns a black image; faithful does the same, fast returns the image as it was.
    """
    is_water = severity <= len(WATER)
    mean, deviation, blur, threshold, last = (WATER + MUD)[severity - 1]
    height, width = image.shape[:2]
    if faithful:
        noise = (mean + deviation * normals(rng, (height, width))).astype(np.float32)
    else:
        noise = random_normals(rng, height * width, mean, deviation).reshape(height, width)
    liquid = gaussian_of_plane(noise, blur)
    if is_water:
        liquid[liquid < threshold] = 0
        water = water_strength(liquid, last)
        if water is None:
            return np.zeros_like(image) if faithful else image.copy()
        return with_water(image, water)
    return with_mud(image, gaussian_of_plane((liquid > threshold).astype(np.float32), last))
