"""Sheet of one image under every corruption at every severity."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from fastreid_ext.corruptions.cpu import CORRUPTION_NAMES, enlarged
from fastreid_ext.corruptions.cpu.corrupt import SEVERITIES
from fastreid_ext.corruptions.record import Corruption
from fastreid_ext.evaluation.corruption.corrupted_images import corrupted_pixels
from fastreid_ext.pictures.png import save_pixels
from fastreid_ext.pictures.tiles import GAP, Pixels, blank, joined, page, text

_HEIGHT = 160  # of a tile, in pixels
_WIDEST = 240
_LEAST_WIDTH = 84  # for names
_PER_BLOCK = (20, 10, 5, 4)  # corruptions side by side, as many as fit the page
_PAGE_WIDTH = 2000


def plot_corruption_sheet(
    image: Pixels,
    output: Path,
    *,
    names: Sequence[str] = CORRUPTION_NAMES,
    seed: int = 0,
    title: Sequence[str] = (),
) -> Path:
    """Plot a column per corruption: its name, the clean image and severities 1 to 5.

    Images are corrupted at their own size, as in the evaluation, then scaled to tiles.

    Args:
        image: (H, W, 3) uint8 RGB image in [0, 255].
        output: path of the PNG file to write.
        names: names of the corruptions, one column each.
        seed: random seed of all corruptions, below 2**32.
        title: lines of text above the columns.
    """
    width = _tile(image).shape[1] + GAP
    count = next((n for n in _PER_BLOCK if n * width <= _PAGE_WIDTH), _PER_BLOCK[-1])
    blocks = [
        _block(image, names[start : start + count], seed) for start in range(0, len(names), count)
    ]
    return save_pixels(page([*_equally_wide(blocks)], title), output)


def _block(image: Pixels, names: Sequence[str], seed: int) -> Pixels:
    clean = _tile(image)
    left = [blank(text("", 1).shape[0] * 2 + GAP, 64)]
    left += [_centred(label, clean.shape[0]) for label in ("clean", *map(str, SEVERITIES))]
    columns = [joined(left, axis=0)]
    for name in names:
        first, _, second = name.partition("_")
        tiles = [text(first, clean.shape[1]), text(second, clean.shape[1]), clean]
        for severity in SEVERITIES:
            tiles.append(_tile(corrupted_pixels(image, Corruption(name, severity, seed))))
        columns.append(joined(tiles, axis=0))
    return joined(columns, axis=1)


def _tile(image: Pixels) -> Pixels:
    """Scale an image to a tile in proportion, padded with white to _LEAST_WIDTH."""
    height, width = enlarged(image).shape[:2]
    scale = min(_HEIGHT / height, _WIDEST / width)
    size = round(width * scale), round(height * scale)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = cv2.resize(image, size, interpolation=method)
    missing = max(0, _LEAST_WIDTH - size[0])
    sides = ((0, 0), (missing // 2, missing - missing // 2), (0, 0))
    return np.pad(small, sides, constant_values=255)


def _centred(line: str, height: int) -> Pixels:
    strip = text(line, 64)
    above = (height - len(strip)) // 2
    below = height - len(strip) - above
    return np.pad(strip, ((above, below), (0, 0), (0, 0)), constant_values=255)


def _equally_wide(blocks: list[Pixels]) -> list[Pixels]:
    width = max(block.shape[1] for block in blocks)
    return [
        np.pad(block, ((0, 2 * GAP), (0, width - block.shape[1]), (0, 0)), constant_values=255)
        for block in blocks
    ]
