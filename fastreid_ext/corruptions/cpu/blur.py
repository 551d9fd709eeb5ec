"""The blurs of ImageNet-C: out of focus, frosted glass, motion, zoom, and Gaussian.

Each takes (image, severity, rng, faithful): an (H, W, 3) uint8 RGB image, C-contiguous and not
written to, and a severity of 1 to 5, and returns a new image. All end like the reference by cutting
the decimals off, computed here in float32 with 0.0002 added first, so that an even area stays even.
:func:`fastreid_ext.corruptions.cpu.corrupt` checks the arguments.

Agreement with the reference for one random stream, faithful mode: within 1 grey level.
"""

import numpy as np
from numpy.typing import NDArray

from fastreid_ext.corruptions.cpu.defocus_blur import defocus
from fastreid_ext.corruptions.cpu.glass_blur import copy_near_pixels
from fastreid_ext.corruptions.cpu.motion_blur import streak_image
from fastreid_ext.corruptions.cpu.separable import gaussian_of_image
from fastreid_ext.corruptions.cpu.zoom_blur import mean_of_zooms

Image = NDArray[np.uint8]
RandomSource = np.random.RandomState | np.random.Generator

# Standard deviation in pixels.
GAUSSIAN_BLUR = (1, 2, 3, 4, 6)
# (radius of the disk, standard deviation of its soft edge), both in pixels.
DEFOCUS_BLUR = ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))
# (standard deviation of the blur before and after, reach of the copies, both in pixels; passes).
GLASS_BLUR = ((0.7, 1, 2), (0.9, 2, 1), (1.0, 2, 3), (1.1, 3, 2), (1.5, 4, 2))
# (half the length of the streak, its standard deviation), both in pixels.
MOTION_BLUR = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))
# (first factor, end, step): as np.arange counts, so the first has 12 factors, up to 1.11.
ZOOM_SPANS = ((1, 1.11, 0.01), (1, 1.16, 0.01), (1, 1.21, 0.02), (1, 1.26, 0.02), (1, 1.31, 0.03))
ZOOM_BLUR = tuple(tuple(np.arange(*span).tolist()) for span in ZOOM_SPANS)


def gaussian_blur(image: Image, severity: int, rng: RandomSource, faithful: bool) -> Image:
    """Blur with a Gaussian cut off at 4 standard deviations. Draws nothing."""
    return gaussian_of_image(image, GAUSSIAN_BLUR[severity - 1], faithful=faithful)


def defocus_blur(image: Image, severity: int, rng: RandomSource, faithful: bool) -> Image:
    """Blur with a disk. Draws nothing."""
    return defocus(image, *DEFOCUS_BLUR[severity - 1])


def glass_blur(image: Image, severity: int, rng: RandomSource, faithful: bool) -> Image:
    """Blur, copy each pixel from one nearby, blur. Draws an offset for each pixel and pass."""
    sigma, reach, passes = GLASS_BLUR[severity - 1]
    blurred = gaussian_of_image(image, sigma, faithful=faithful)
    copied = copy_near_pixels(blurred, reach, passes, rng)
    return gaussian_of_image(copied, sigma, faithful=faithful)


def motion_blur(image: Image, severity: int, rng: RandomSource, faithful: bool) -> Image:
    """Blur along a line that is within 45 degrees of horizontal. Draws the angle."""
    return streak_image(image, *MOTION_BLUR[severity - 1], angle=rng.uniform(-45, 45))


def zoom_blur(image: Image, severity: int, rng: RandomSource, faithful: bool) -> Image:
    """Mean of the image and of zooms into its centre. Draws nothing."""
    return mean_of_zooms(image, ZOOM_BLUR[severity - 1])
