"""Spatter: drops of water with bright and dark rims, or splashes of mud.

Letters: H height, W width. The chain of OpenCV operations on 8-bit planes is the reference's; only
the blurs are computed in float32. A drop's rim starts from a Canny edge, and where a value lies on
Canny's threshold, a rounding error moves the edge: the drop then differs from the reference's.
"""

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_RIM_FILTER = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
# RGB in [0, 1].
_WATER = np.array([175, 238, 238], np.float32) / 255
_MUD = np.array([63, 42, 20], np.float32) / 255


def water_strength(liquid: Floats, strength: float) -> Floats | None:
    """Return how much water colour each pixel gets, in [0, strength]; None if no drop is left.

    Args:
        liquid: (H, W) in [0, 1], 0 where there is no drop.
        strength: at the brightest spot.
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
def _added(image: NDArray[np.uint8], water: Floats, colour: Floats) -> NDArray[np.uint8]:
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
def _covered(image: NDArray[np.uint8], mud: Floats, colour: Floats) -> NDArray[np.uint8]:
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


def with_water(image: NDArray[np.uint8], water: Floats) -> NDArray[np.uint8]:
    """Return an (H, W, 3) image with pale turquoise times ``water`` (H, W) added."""
    return _added(image, water, _WATER)


def with_mud(image: NDArray[np.uint8], mud: Floats) -> NDArray[np.uint8]:
    """Return an (H, W, 3) image under brown of opacity ``mud`` (H, W), if that is at least 0.8."""
    return _covered(image, mud, _MUD)
