"""A picture to judge a generated set by: each identity's photographs beside its drawings."""

import contextlib
import io
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from fastreid_ext.atomic import atomic_write_bytes
from fastreid_ext.data.decode import read_pixels
from fastreid_ext.manifest import Row
from fastreid_ext.pictures.tiles import evenly

_CELL = (128, 64)  # height and width of a picture
_GAP, _BETWEEN = 3, 18  # pixels between pictures, and between photographs and drawings
_TEXT = 32  # height of the lines above an identity
_REJECTED = (213, 94, 0)
Sample = tuple[str, str, Sequence[NDArray[np.uint8]], Sequence[Row]]


def draw_preview(samples: Sequence[Sample], output: Path, *, columns: int = 8) -> Path:
    """Draw identities below each other: left photographs, right drawings, rejected ones framed.

    Args:
        samples: for each identity its name, its caption, photographs (H, W, 3) uint8 RGB and the
            rows of its drawings.
        output: PNG to write.
        columns: most photographs, and most drawings, of an identity.

    Raises:
        ValueError: no identity.
    """
    if not samples:
        raise ValueError("expected at least one finished identity to draw, got none")
    photographs, columns = (
        max(1, min(columns, max(len(sample[part]) for sample in samples))) for part in (2, 3)
    )
    step = _CELL[1] + _GAP
    width = 2 * _GAP + (photographs + columns) * step + _BETWEEN
    height = len(samples) * (_TEXT + _CELL[0] + 2 * _GAP) + _GAP
    sheet = Image.new("RGB", (width, height), "white")
    for number, sample in enumerate(samples):
        top = _GAP + number * (_TEXT + _CELL[0] + 2 * _GAP)
        _draw_identity(sheet, top, sample, (photographs, columns))
    buffer = io.BytesIO()
    sheet.save(buffer, "png")
    output.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_bytes(output, buffer.getvalue())
    return output


def _draw_identity(sheet: Image.Image, top: int, sample: Sample, columns: tuple[int, int]) -> None:
    name, caption, photographs, rows = sample
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    with_file = [row for row in rows if row.image.status != "failed"]
    kept = sum(row.image.status == "ok" for row in with_file)
    letters = max(20, int(sheet.width / 6.4) - len(name) - 24)
    words = textwrap.shorten(caption, letters, placeholder=" ...") if caption else "(no caption)"
    pen.text((_GAP, top), f"{name}   kept {kept} of {len(with_file)}", "black", font)
    pen.text((_GAP, top + 15), words, (90, 90, 90), font)
    y, step = top + _TEXT, _CELL[1] + _GAP
    for i, photograph in enumerate(evenly(photographs, columns[0])):
        sheet.paste(_fitted(Image.fromarray(photograph)), (_GAP + i * step, y))
    left = _GAP + columns[0] * step + _BETWEEN
    pen.line([(left - _BETWEEN // 2 - 1, y), (left - _BETWEEN // 2 - 1, y + _CELL[0])], (160,) * 3)
    for i, row in enumerate(evenly(with_file, columns[1])):
        with contextlib.suppress(OSError):  # missing or damaged by now: an empty place
            sheet.paste(_fitted(Image.fromarray(read_pixels(row.path))), (left + i * step, y))
        if row.image.status == "rejected":
            x = left + i * step
            box = [x, y, x + _CELL[1] - 1, y + _CELL[0] - 1]
            pen.rectangle(box, outline=_REJECTED, width=3)


def _fitted(image: Image.Image) -> Image.Image:
    return image.resize((_CELL[1], _CELL[0]), Image.Resampling.BICUBIC)


def preview_samples(
    rows: Mapping[str, list[Row]],
    captions: Mapping[str, str],
    photographs: Mapping[str, Sequence[NDArray[np.uint8]]],
    number: int,
) -> list[Sample]:
    """Return what :func:`draw_preview` shows of ``number`` identities spread over the set."""
    return [
        (name, captions.get(name, ""), photographs.get(name, ()), rows[name])
        for name in evenly(sorted(rows), number)
    ]
