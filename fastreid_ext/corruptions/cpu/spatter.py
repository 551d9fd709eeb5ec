"""Spatter: drops of water with bright and dark rims, or splashes of mud.

Letters: H height, W width. The chain of OpenCV operations on 8-bit planes is the reference's; only
the blurs are computed in float32. A drop's rim starts from a Canny edge, and where a value lies on
Canny's threshold, a rounding error moves the edge: the drop then differs from the reference's.
"""

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from fastreid_ext.corruptions.cpu.gaussian_blur import gaussian_of_plane
from fastreid_ext.corruptions.cpu.mersenne import normals
from fastreid_ext.corruptions.cpu.random_bits import random_normals

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]
RandomSource = np.random.RandomState | np.random.Generator

# Severity 1 to 3: (mean and deviation of the noise, its blur in pixels, threshold of a drop,
# strength).
WATER = ((0.65, 0.3, 4, 0.69, 0.6), (0.65, 0.3, 3, 0.68, 0.6), (0.65, 0.3, 2, 0.68, 0.5))
# Severity 4 and 5: (mean and deviation of the noise, its blur in pixels, threshold, blur of the
# splash in pixels).
MUD = ((0.65, 0.3, 1, 0.65, 1.5), (0.67, 0.4, 1, 0.65, 1.5))

_RIM_FILTER = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
# RGB in [0, 1].
_WATER = np.array([175, 238, 238], np.float32) / 255
_MUD = np.array([63, 42, 20], np.float32) / 255


def spatter(image: Image, severity: int, rng: RandomSource, reference: bool) -> Image:
    """Add drops of water (severity 1 to 3) or splashes of mud (4, 5); normal noise is sampled.

    Where an image is so small that no drop passes the threshold, the reference divides 0 by 0 and
    returns a black image; reference mode does the same, fast mode returns the image as it was.
    """
    is_water = severity <= len(WATER)
    mean, deviation, blur, threshold, last = (WATER + MUD)[severity - 1]
    height, width = image.shape[:2]
    if reference:
        noise = (mean + deviation * normals(rng, (height, width))).astype(np.float32)
    else:
        noise = random_normals(rng, height * width, mean, deviation).reshape(height, width)
    liquid = gaussian_of_plane(noise, blur)
    if is_water:
        liquid[liquid < threshold] = 0
        water = water_strength(liquid, last)
        if water is None:
            return np.zeros_like(image) if reference else image.copy()
        return with_water(image, water)
    return with_mud(image, gaussian_of_plane((liquid > threshold).astype(np.float32), last))


def water_strength(liquid: Floats, strength: float) -> Floats | None:
    """Compute how much water colour each pixel gets, in [0, strength]; None if no drop is left.

    Args:
        liquid: (H, W) thickness in [0, 1], 0 where there is no drop.
        strength: water colour of the brightest spot, in [0, 1].
    """
    drops = (liquid * np.float32(255)).astype(np.uint8)
    distance = cv2.distanceTransform(255 - cv2.Canny(drops, 50, 150), cv2.DIST_L2, 5)
    _, distance = cv2.threshold(distance, 20, 20, cv2.THRESH_TRUNC)
    rims = cv2.equalizeHist(cv2.blur(distance, (3, 3)).astype(np.uint8))
    rims = cv2.blur(cv2.filter2D(rims, cv2.CV_8U, _RIM_FILTER), (3, 3))
    water = np.multiply(drops, rims, dtype=np.float32)
    brightest = water.max()
    return None if brightest == 0 else water * np.float32(strength / brightest)


@numba.njit(cache=True, nogil=True)
def _added(image: Image, water: Floats, colour: Floats) -> Image:
    red, green, blue = colour * np.float32(255)
    limit = np.float32(255)
    result = np.empty_like(image)
    for y in range(image.shape[0]):
        pixels = image[y]
        wet = water[y]
        row = result[y]
        for x in range(image.shape[1]):
            row[x, 0] = np.uint8(np.int32(min(pixels[x, 0] + wet[x] * red, limit)))
            row[x, 1] = np.uint8(np.int32(min(pixels[x, 1] + wet[x] * green, limit)))
            row[x, 2] = np.uint8(np.int32(min(pixels[x, 2] + wet[x] * blue, limit)))
    return result


@numba.njit(cache=True, nogil=True)
def _covered(image: Image, mud: Floats, colour: Floats) -> Image:
    red, green, blue = colour * np.float32(255)
    limit = np.float32(255)
    least = np.float32(0.8)
    result = np.empty_like(image)
    for y in range(image.shape[0]):
        pixels = image[y]
        covers = mud[y]
        row = result[y]
        for x in range(image.shape[1]):
            cover = covers[x] if covers[x] >= least else np.float32(0)
            seen = np.float32(1) - cover
            row[x, 0] = np.uint8(np.int32(min(pixels[x, 0] * seen + cover * red, limit)))
            row[x, 1] = np.uint8(np.int32(min(pixels[x, 1] * seen + cover * green, limit)))
            row[x, 2] = np.uint8(np.int32(min(pixels[x, 2] * seen + cover * blue, limit)))
    return result


def with_water(image: Image, water: Floats) -> Image:
    """Add pale turquoise times ``water`` (H, W) to an (H, W, 3) image."""
    return _added(image, water, _WATER)


def with_mud(image: Image, mud: Floats) -> Image:
    """Cover an (H, W, 3) image with brown of opacity ``mud`` (H, W) where that is at least 0.8."""
    return _covered(image, mud, _MUD)
