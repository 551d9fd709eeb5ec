"""Pictures made of small images: tiles, frames, captions. All are (H, W, 3) uint8 RGB."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

TILE = (128, 64)  # height x width, frame and gap, in pixels
FRAME = 4
GAP = 6
TEXT_HEIGHT = 18

Pixels = NDArray[np.uint8]


def read_tile(path: str) -> Pixels:
    """Read an image at the size of a tile.

    Raises:
        ValueError: the file cannot be decoded.
    """
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(
            f"expected an image, got {path}, which cannot be decoded; restore the file"
        )
    return cv2.resize(image[:, :, ::-1], TILE[::-1], interpolation=cv2.INTER_AREA)


def framed(tile: Pixels, colour: tuple[int, int, int]) -> Pixels:
    """Add a frame of FRAME pixels around a tile."""
    return cv2.copyMakeBorder(tile, *[FRAME] * 4, cv2.BORDER_CONSTANT, value=colour)


def blank(height: int, width: int) -> Pixels:
    """Make a white picture."""
    return np.full((height, width, 3), 255, np.uint8)


def text(line: str, width: int, *, size: int = 12, align: str = "center") -> Pixels:
    """Write one line of text on a strip of TEXT_HEIGHT pixels, cut at ``width``."""
    strip = Image.new("RGB", (width, TEXT_HEIGHT), "white")
    font = ImageFont.load_default(size)
    left = 0 if align == "left" else max(0, (width - font.getlength(line)) / 2)
    ImageDraw.Draw(strip).text((left, 1), line, fill=(40, 40, 40), font=font)
    return np.array(strip)


def joined(parts: Sequence[NDArray], axis: int, *, gap: int = GAP) -> Pixels:
    """Join parts vertically (axis 0) or horizontally (axis 1), with white gaps."""
    widths = [(0, 0)] * 3
    widths[axis] = (0, gap)
    padded = [np.pad(part, widths, constant_values=255) for part in parts[:-1]]
    return np.concatenate([*padded, parts[-1]], axis=axis).astype(np.uint8)


def grid(images: Sequence[Pixels], columns: int, *, gap: int = 2) -> Pixels:
    """Arrange images of one size in rows; each cell ends with a white gap.

    Args:
        images: images (H, W, 3) of one size, at least one.
        columns: largest number of images in a row.
        gap: white pixels below and to the right of each image.
    """
    height = images[0].shape[0] + gap
    width = images[0].shape[1] + gap
    rows = -(-len(images) // columns)
    sheet = blank(rows * height, min(columns, len(images)) * width)
    for number, image in enumerate(images):
        top = number // columns * height
        left = number % columns * width
        sheet[top : top + height - gap, left : left + width - gap] = image
    return sheet


def page(rows: Sequence[Pixels], title: Sequence[str] = ()) -> Pixels:
    """Join the lines of a title and rows of equal width to a page with a white border."""
    width = max(row.shape[1] for row in rows)
    lines = [text(line, width, size=13, align="left") for line in title]
    content = joined([*lines, *rows], axis=0)
    return np.pad(content, ((GAP, GAP), (GAP, GAP), (0, 0)), constant_values=255)


def evenly(items: Sequence, number: int) -> list:
    """Select ``number`` items, evenly spread over the sequence; all if there are fewer."""
    if len(items) <= number:
        return list(items)
    return [items[round(i)] for i in np.linspace(0, len(items) - 1, number)]
