"""The one pass from decoded pixels to a uint8 tensor.

Letters: h, w size of a decoded image, H, W size for the network, P rectangles.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fastreid_ext.data.transforms.painting import Painter, happens
from fastreid_ext.data.transforms.pillow_bicubic import resize_and_pick

# A decoded image: (h, w, 3) uint8 RGB, or PIL's.
Decoded = NDArray[np.uint8] | Image.Image
# Top and left of the crop in the padded image, and whether it is mirrored.
Placement = tuple[int, int, bool]


class Geometry:
    """Resize, pad, crop and mirror an image, as fastreid's transforms of these names.

    Args:
        size: H and W.
        padding: pixels put around the resized image, of which a crop of (H, W) is drawn.
        padding_mode: "constant" (black), "edge", "reflect" or "symmetric".
        flip_probability: of a mirror image, in [0, 1]; None: never, and nothing is drawn for it.
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
        """Draw where to crop, and whether to mirror, with the numbers torchvision would use."""
        top = left = 0
        if self.padding:
            places = 2 * self.padding + 1
            top = torch.randint(places, (1,), generator=generator).item()
            left = torch.randint(places, (1,), generator=generator).item()
        if self.flip_probability is None:
            return top, left, False
        return top, left, happens(self.flip_probability, generator)

    def apply(self, image: NDArray[np.uint8], placement: Placement) -> NDArray[np.uint8]:
        """Return (3, H, W) of a decoded (h, w, 3) image."""
        top, left, mirrored = placement
        rows = self._rows[top : top + self.size[0]]
        columns = self._columns[left : left + self.size[1]]
        return resize_and_pick(image, self.size, rows, columns[::-1] if mirrored else columns)

    def __call__(self, image: Decoded) -> NDArray[np.uint8]:
        """Return an array (H, W, 3), drawn from torch's global generator."""
        planes = self.apply(np.asarray(image), self.sample(torch.default_generator))
        return cv2.merge(tuple(planes))

    def __repr__(self) -> str:
        return f"Geometry({self.size}, padding={self.padding}, flip={self.flip_probability})"


class FastTransform:
    """The whole of a plain training transform; draws from a generator of its own.

    Returns a dict of ``images``, uint8 (3, H, W), and ``painted`` (P, 4), the rectangles for
    :class:`PaintRectangles`; without painters the images alone.

    Args:
        geometry: what happens to the pixels.
        painters: draw rectangles, in this order.

    Attributes:
        generator: the data set seeds it for each draw of an image.
    """

    def __init__(self, geometry: Geometry, painters: Sequence[Painter] = ()) -> None:
        self.geometry = geometry
        self.painters = tuple(painters)
        self.generator = torch.Generator()

    def __call__(self, image: Decoded) -> Tensor | dict[str, Tensor]:
        """Transform an image; it is not written to."""
        placement = self.geometry.sample(self.generator)
        images = torch.from_numpy(self.geometry.apply(np.asarray(image), placement))
        if not self.painters:
            return images
        drawn = [painter.sample(*self.geometry.size, self.generator) for painter in self.painters]
        return {"images": images, "painted": torch.from_numpy(np.array(drawn, np.int16))}

    def __getstate__(self) -> dict[str, Any]:
        """Leave the generator out, which torch cannot hand to a process that is not forked."""
        return {key: value for key, value in vars(self).items() if key != "generator"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take a new generator; the data set seeds it anyway."""
        vars(self).update(state)
        self.generator = torch.Generator()

    def __repr__(self) -> str:
        return f"FastTransform({self.geometry!r}, {self.painters!r})"


class ResizeOnly:
    """The whole of a test transform: decoded image to uint8 tensor (3, H, W).

    Args:
        size: H and W.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self.geometry = Geometry(size)

    def __call__(self, image: Decoded) -> Tensor:
        """Resize an image; it is not written to."""
        return torch.from_numpy(self.geometry.apply(np.asarray(image), (0, 0, False)))
