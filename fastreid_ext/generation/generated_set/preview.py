"""Preview of a generated set: real images of each identity beside its generated images."""

import contextlib
import dataclasses
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fastreid_ext.data.decode import read_pixels
from fastreid_ext.manifest import Row
from fastreid_ext.pictures.png import save_pixels
from fastreid_ext.pictures.tiles import Pixels, evenly

_CELL = (128, 64)  # height and width of an image
_GAP = 3  # pixels between images
_BETWEEN = 18  # pixels between real and generated images
_TEXT = 32  # height of the lines above an identity
_REJECTED = (213, 94, 0)
_GREY = (90, 90, 90)
_LIGHT_GREY = (160, 160, 160)


@dataclasses.dataclass(frozen=True)
class PreviewSample:
    """An identity to show.

    Attributes:
        name: name of the identity and of its folder.
        caption: caption of the identity; "" if there is none.
        real_images: real images (H, W, 3) uint8 RGB of any sizes.
        rows: rows of the generated images.
    """

    name: str
    caption: str
    real_images: Sequence[Pixels]
    rows: Sequence[Row]


def plot_preview(samples: Sequence[PreviewSample], output: Path, *, columns: int = 8) -> Path:
    """Plot identities below each other: real images left, generated right, rejected ones framed.

    Args:
        samples: identities to show, at least one.
        output: path of the PNG file to write.
        columns: largest number of real, and of generated, images of an identity.

    Raises:
        ValueError: there is no identity.
    """
    if not samples:
        raise ValueError("expected at least one finished identity to plot, got none")
    most_real = max(len(sample.real_images) for sample in samples)
    most_generated = max(len(sample.rows) for sample in samples)
    real_columns = max(1, min(columns, most_real))
    generated_columns = max(1, min(columns, most_generated))
    step = _CELL[1] + _GAP
    width = 2 * _GAP + (real_columns + generated_columns) * step + _BETWEEN
    height = len(samples) * (_TEXT + _CELL[0] + 2 * _GAP) + _GAP
    sheet = Image.new("RGB", (width, height), "white")
    for number, sample in enumerate(samples):
        top = _GAP + number * (_TEXT + _CELL[0] + 2 * _GAP)
        _plot_identity(sheet, top, sample, real_columns, generated_columns)
    return save_pixels(np.asarray(sheet), output)


def preview_samples(
    rows: Mapping[str, list[Row]],
    captions: Mapping[str, str],
    real_images: Mapping[str, Sequence[Pixels]],
    number: int,
) -> list[PreviewSample]:
    """Select ``number`` identities spread over the set.

    Args:
        rows: identity -> rows of its generated images.
        captions: identity -> its caption; missing ones are shown as such.
        real_images: identity -> its real images (H, W, 3) uint8 RGB.
        number: largest number of identities to show.
    """
    return [
        PreviewSample(name, captions.get(name, ""), real_images.get(name, ()), rows[name])
        for name in evenly(sorted(rows), number)
    ]


def _plot_identity(
    sheet: Image.Image, top: int, sample: PreviewSample, real_columns: int, generated_columns: int
) -> None:
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(12)
    with_file = [row for row in sample.rows if row.image.status != "failed"]
    kept = sum(row.image.status == "ok" for row in with_file)
    letters = max(20, int(sheet.width / 6.4) - len(sample.name) - 24)
    caption = "(no caption)"
    if sample.caption:
        caption = textwrap.shorten(sample.caption, letters, placeholder=" ...")
    pen.text((_GAP, top), f"{sample.name}   kept {kept} of {len(with_file)}", "black", font)
    pen.text((_GAP, top + 15), caption, _GREY, font)
    y = top + _TEXT
    step = _CELL[1] + _GAP
    for i, image in enumerate(evenly(sample.real_images, real_columns)):
        sheet.paste(_resized(image), (_GAP + i * step, y))
    left = _GAP + real_columns * step + _BETWEEN
    middle = left - _BETWEEN // 2 - 1
    pen.line([(middle, y), (middle, y + _CELL[0])], _LIGHT_GREY)
    for i, row in enumerate(evenly(with_file, generated_columns)):
        x = left + i * step
        with contextlib.suppress(OSError):  # a missing or damaged file leaves an empty place
            sheet.paste(_resized(read_pixels(row.path)), (x, y))
        if row.image.status == "rejected":
            box = [x, y, x + _CELL[1] - 1, y + _CELL[0] - 1]
            pen.rectangle(box, outline=_REJECTED, width=3)


def _resized(image: Pixels) -> Image.Image:
    return Image.fromarray(image).resize((_CELL[1], _CELL[0]), Image.Resampling.BICUBIC)
