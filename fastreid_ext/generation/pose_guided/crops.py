"""Random crops that are fixed before the training, so that frozen models see each only once.

Letters: N images, V crops of each.
"""

import dataclasses

import cv2
import numpy as np
from numpy.typing import NDArray

from fastreid_ext.bodies.condition_maps import MapRequest
from fastreid_ext.generation.pose_guided.training_images import TrainingImage
from fastreid_ext.generation.runs.seeds import seed_of


@dataclasses.dataclass(frozen=True)
class Crop:
    """A part of an image, as shares in [0, 1] of its width and height.

    Attributes:
        left: left edge of the part.
        top: upper edge of the part.
        scale: width and height of the part.
    """

    left: float = 0.0
    top: float = 0.0
    scale: float = 1.0

    def pixels(self, image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
        """Cut an image (h, w, 3) and scale the part to (height, width, 3)."""
        rows, columns = image.shape[:2]
        across = width / (columns * self.scale)
        down = height / (rows * self.scale)
        matrix = np.array(
            [
                [across, 0, -self.left * columns * across + 0.5 * across - 0.5],
                [0, down, -self.top * rows * down + 0.5 * down - 0.5],
            ]
        )
        flags = cv2.INTER_AREA if across < 1 else cv2.INTER_CUBIC
        return cv2.warpAffine(
            image, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE
        )

    def request(self, image: TrainingImage, height: int, width: int) -> MapRequest:
        """Make the request of the condition maps that lie on :meth:`pixels`."""
        whole = image.fits.request(image.row)
        camera = whole.camera
        part = camera.cropped(
            self.left * camera.width,
            self.top * camera.height,
            self.scale * camera.width,
            self.scale * camera.height,
        )
        return dataclasses.replace(whole, camera=part.resized(height, width))


def crop_of(seed: int, name: str, version: int, smallest: float) -> Crop:
    """Sample a crop of an image; version 0 is the whole image.

    Args:
        seed: seed of the run.
        name: file name of the image.
        version: number of the crop, from 0.
        smallest: smallest edge as a share of the image's.
    """
    if version == 0:
        return Crop()
    rng = np.random.default_rng(seed_of(seed, "crop", name, version))
    scale = float(rng.uniform(smallest, 1))
    left, top = (rng.random(2) * (1 - scale)).tolist()
    return Crop(left, top, scale)
