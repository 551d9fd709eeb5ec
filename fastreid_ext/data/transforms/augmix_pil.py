"""The nine operations of AugMix with Pillow, as in the code of its authors.

Levels are in tenths: a rotation of level 3 is by 9 degrees. Where the code of the authors takes the
integer part, so does this.

[0] https://github.com/google-research/augmix
"""

import dataclasses
from collections.abc import Callable

from PIL import Image, ImageOps

# (a, b, c, d, e, f): the pixel (x, y) of the result is the one at (a x + b y + c, d x + e y + f).
Affine = tuple[float, float, float, float, float, float]


@dataclasses.dataclass(frozen=True)
class Operation:
    """One drawn operation.

    Attributes:
        name: one of ``PIL_OPERATIONS``.
        level: strength in (0, 10).
        sign: 1 or -1, direction of what moves the image; the others do not read it.
    """

    name: str
    level: float
    sign: int


def posterize_bits(operation: Operation) -> int:
    """Return how many bits of a channel are kept, 4 to 1."""
    return 4 - int(operation.level * 4 / 10)


def solarize_threshold(operation: Operation) -> int:
    """Return the grey level from which on values are inverted, 256 to 1."""
    return 256 - int(operation.level * 256 / 10)


def rotation_degrees(operation: Operation) -> int:
    """Return the angle, counterclockwise, in whole degrees up to 30."""
    return operation.sign * int(operation.level * 30 / 10)


def affine_of(operation: Operation, width: int, height: int) -> Affine:
    """Return the matrix of a shear (slope up to 0.3) or a shift (up to a third of the image)."""
    slope = operation.sign * (operation.level * 0.3 / 10)
    if operation.name == "shear_x":
        return 1, slope, 0, 0, 1, 0
    if operation.name == "shear_y":
        return 1, 0, 0, slope, 1, 0
    side = width if operation.name == "translate_x" else height
    shift = operation.sign * int(operation.level * (side / 3) / 10)
    return (1, 0, shift, 0, 1, 0) if operation.name == "translate_x" else (1, 0, 0, 0, 1, shift)


def _autocontrast(image: Image.Image, operation: Operation) -> Image.Image:
    return ImageOps.autocontrast(image)


def _equalize(image: Image.Image, operation: Operation) -> Image.Image:
    return ImageOps.equalize(image)


def _posterize(image: Image.Image, operation: Operation) -> Image.Image:
    return ImageOps.posterize(image, posterize_bits(operation))


def _rotate(image: Image.Image, operation: Operation) -> Image.Image:
    return image.rotate(rotation_degrees(operation), resample=Image.Resampling.BILINEAR)


def _solarize(image: Image.Image, operation: Operation) -> Image.Image:
    return ImageOps.solarize(image, solarize_threshold(operation))


def _move(image: Image.Image, operation: Operation) -> Image.Image:
    matrix = affine_of(operation, *image.size)
    return image.transform(
        image.size, Image.Transform.AFFINE, matrix, resample=Image.Resampling.BILINEAR
    )


PIL_OPERATIONS: dict[str, Callable[[Image.Image, Operation], Image.Image]] = {
    "autocontrast": _autocontrast,
    "equalize": _equalize,
    "posterize": _posterize,
    "rotate": _rotate,
    "solarize": _solarize,
    "shear_x": _move,
    "shear_y": _move,
    "translate_x": _move,
    "translate_y": _move,
}
