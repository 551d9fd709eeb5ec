"""Resize, pad, crop, mirror and tensor in one pass over decoded pixels.

Letters: h, w size of a decoded image, H, W size for the network, P rectangles.
"""

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fastreid_ext.data.transforms.painting import Painter, happens
from fastreid_ext.data.transforms.pillow_bicubic import resize_and_pick

# A decoded image: (h, w, 3) uint8 RGB or a PIL image.
Decoded = NDArray[np.uint8] | Image.Image
# Top and left of the crop in the padded image, and whether it is mirrored.
Placement = tuple[int, int, bool]


class Geometry:
    """Resize, pad, crop and mirror an image, equal to fastreid's transforms of these names.

    Example:
        >>> geometry = Geometry((256, 128), padding=10, flip_probability=0.5)
        >>> geometry(np.zeros((90, 40, 3), np.uint8)).shape
        (256, 128, 3)

    Args:
        size: height H and width W of the result, in pixels.
        padding: pixels around the resized image, from which a crop of (H, W) is sampled.
        padding_mode: border around the image: "constant" (black), "edge", "reflect", "symmetric".
        flip_probability: probability of a mirror image, in [0, 1]; None = never, and no random
            number is used.
    """

    def __init__(
        self,
        size: tuple[int, int],
        *,
        padding: int = 0,
        padding_mode: str = "constant",
        flip_probability: float | None = None,
    ) -> None:
        self.size = size
        self.padding = padding
        self.flip_probability = flip_probability
        fill = {"constant_values": -1} if padding_mode == "constant" else {}
        # The pixel of the resized image at each place of the padded one, -1 for none.
        self._rows, self._columns = (
            np.pad(np.arange(length), padding, padding_mode, **fill) for length in size
        )

    def sample(self, generator: torch.Generator) -> Placement:
        """Sample where to crop and whether to mirror, by the random numbers of torchvision."""
        top = left = 0
        if self.padding:
            places = 2 * self.padding + 1
            top = torch.randint(places, (1,), generator=generator).item()
            left = torch.randint(places, (1,), generator=generator).item()
        if self.flip_probability is None:
            return top, left, False
        return top, left, happens(self.flip_probability, generator)

    def apply(self, image: NDArray[np.uint8], placement: Placement) -> NDArray[np.uint8]:
        """Transform a decoded (h, w, 3) image to (3, H, W)."""
        top, left, mirrored = placement
        rows = self._rows[top : top + self.size[0]]
        columns = self._columns[left : left + self.size[1]]
        return resize_and_pick(image, self.size, rows, columns[::-1] if mirrored else columns)

    def __call__(self, image: Decoded) -> NDArray[np.uint8]:
        """Transform an image to an array (H, W, 3), with torch's global generator."""
        planes = self.apply(np.asarray(image), self.sample(torch.default_generator))
        return cv2.merge(tuple(planes))

    def __repr__(self) -> str:
        return f"Geometry({self.size}, padding={self.padding}, flip={self.flip_probability})"


class OnePass:
    """Whole training transform of a plain configuration; samples from a generator of its own.

    Its result is a dict of ``images``, uint8 (3, H, W), and ``painted`` (P, 4), the rectangles for
    :class:`~fastreid_ext.data.transforms.painting.PaintRectangles`; without painters the images
    alone.

    Example:
        >>> transform = OnePass(Geometry((256, 128), flip_probability=0.5))
        >>> transform(np.zeros((90, 40, 3), np.uint8)).shape
        torch.Size([3, 256, 128])

    Args:
        geometry: size, padding, crop and mirror of the pixels.
        painters: samplers of rectangles, in their order.

    Attributes:
        generator: generator that the data set seeds for each image of a batch.
    """

    def __init__(self, geometry: Geometry, painters: Sequence[Painter] = ()) -> None:
        self.geometry = geometry
        self.painters = tuple(painters)
        self.generator = torch.Generator()

    def __call__(self, image: Decoded) -> Tensor | dict[str, Tensor]:
        """Transform an image; it is not written to."""
        placement = self.geometry.sample(self.generator)
        images = torch.from_numpy(self.geometry.apply(np.asarray(image), placement))
        return _with_rectangles(images, self.painters, self.generator)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the generator out, which torch cannot hand to a process that is not forked."""
        return {key: value for key, value in vars(self).items() if key != "generator"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take a new generator; the data set seeds it for each image."""
        vars(self).update(state)
        self.generator = torch.Generator()

    def __repr__(self) -> str:
        return f"OnePass({self.geometry!r}, {self.painters!r})"


class StepByStep:
    """Whole transform with steps that have no compiled form, on arrays and PIL images.

    Its result is that of :class:`OnePass`; it samples from the process-wide generators.

    Example:
        >>> transform = StepByStep([np.asarray])
        >>> transform(Image.new("RGB", (32, 64))).shape
        torch.Size([3, 64, 32])

    Args:
        steps: steps from a decoded image to an array (H, W, 3).
        painters: samplers of rectangles, in their order.
    """

    def __init__(
        self, steps: Sequence[Callable[[Any], Any]], painters: Sequence[Painter] = ()
    ) -> None:
        self.steps = tuple(steps)
        self.painters = tuple(painters)

    def __call__(self, image: Decoded) -> Tensor | dict[str, Tensor]:
        """Transform an image; it is not written to."""
        array: Any = image
        for step in self.steps:
            array = step(array)
        return _with_rectangles(channels_first(array), self.painters, torch.default_generator)

    def __repr__(self) -> str:
        return f"StepByStep({self.steps!r}, {self.painters!r})"


def channels_first(array: NDArray[np.uint8]) -> Tensor:
    """Copy an array (H, W, 3) to a uint8 tensor (3, H, W)."""
    return torch.from_numpy(np.stack(cv2.split(array)))


def _with_rectangles(
    images: Tensor, painters: Sequence[Painter], generator: torch.Generator
) -> Tensor | dict[str, Tensor]:
    """Sample the rectangles of an image (3, H, W), if there are painters."""
    if not painters:
        return images
    height, width = images.shape[1:]
    painted = [painter.sample(height, width, generator) for painter in painters]
    return {"images": images, "painted": torch.from_numpy(np.array(painted, np.int16))}


class ResizeOnly:
    """Whole transform of a test set: decoded image to uint8 tensor (3, H, W).

    Example:
        >>> ResizeOnly((256, 128))(np.zeros((90, 40, 3), np.uint8)).shape
        torch.Size([3, 256, 128])

    Args:
        size: height H and width W of the result, in pixels.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self.geometry = Geometry(size)

    def __call__(self, image: Decoded) -> Tensor:
        """Resize an image; it is not written to."""
        return torch.from_numpy(self.geometry.apply(np.asarray(image), (0, 0, False)))
