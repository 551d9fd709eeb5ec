"""Pictures to judge the filters by: histograms of the scores, kept and rejected drawings."""

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from fastreid_ext.atomic import atomic_write_bytes
from fastreid_ext.generation.filters import scores as names
from fastreid_ext.generation.filters.decide import OURS
from fastreid_ext.generation.filters.duplicates import BITS
from fastreid_ext.generation.filters.records import has_file, read_images
from fastreid_ext.generation.filters.reid import Person, SourceFeatures
from fastreid_ext.generation.filters.thresholds import Thresholds
from fastreid_ext.manifest import GeneratedImage, Row
from fastreid_ext.pictures.tiles import evenly

_KEPT, _REJECTED, _REAL = "#0072B2", "#D55E00", "black"  # Okabe and Ito
_TITLES = {
    names.SIMILARITY: "reid: cosine similarity to the person's photographs",
    names.MARGIN: "reid: lead over the nearest other person",
    names.CCTF: "cctf: probability of the person",
    names.CLIP: "clip: probability of the wanted text",
    names.DUPLICATE: "duplicates: bits from a kept better image; 64: none",
}
_TILE, _GAP, _LINE = (128, 64), 4, 13  # height and width of a picture, pixels between, of a line
_GREEN, _ORANGE, _GREY = (0, 158, 115), (213, 94, 0), (90, 90, 90)
_SHOWN = (3, 6, 6)  # most photographs, kept and rejected drawings of an identity


def draw_histograms(
    sets: Iterable[Sequence[Row]],
    thresholds: Thresholds,
    sources: Mapping[str, SourceFeatures],
    output: Path,
) -> Path:
    """Draw how the scores of kept and rejected drawings are distributed, with the thresholds.

    A line in the similarity's panel shows the photographs themselves, scaled to the same area.

    Args:
        sets: rows of each identity.
        thresholds: that decided.
        sources: data set to features of its photographs, as far as they were looked at.
        output: PNG to write.
    """
    rows = [row.image for own in sets for row in own if has_file(row)]
    shown = [key for key in _TITLES if any(key in row.scores for row in rows)]
    columns = min(3, max(1, len(shown)))
    lines = max(1, -(-len(shown) // columns))
    figure = Figure(figsize=(5.4 * columns, 3.4 * lines), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes in panels[len(shown) :]:
        axes.set_visible(False)
    for axes, key in zip(panels, shown, strict=False):
        _draw_panel(axes, key, rows, thresholds, sources)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    output.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_bytes(output, buffer.getvalue())
    return output


def draw_contact_sheet(
    rows: Mapping[str, Sequence[Row]],
    photographs: Mapping[Person, Sequence[Path]],
    thresholds: Thresholds,
    output: Path,
    *,
    identities: int = 10,
) -> Path:
    """Draw some identities: photographs (grey), kept (green) and rejected drawings (orange).

    Drawings go from the best to the worst by the first filter's score, which stands below them
    with the filters that rejected them.

    Args:
        rows: of each identity.
        photographs: files of persons; {} = none are shown.
        thresholds: that decided.
        output: PNG to write.
        identities: most identities, spread over the set.
    """
    blocks = [
        _identity(name, rows[name], photographs, thresholds)
        for name in evenly(sorted(rows), identities)
    ]
    sheet = Image.new("RGB", (blocks[0].width, sum(block.height for block in blocks)), "white")
    top = 0
    for block in blocks:
        sheet.paste(block, (0, top))
        top += block.height
    buffer = io.BytesIO()
    sheet.save(buffer, "png")
    output.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_bytes(output, buffer.getvalue())
    return output


def _draw_panel(
    axes: Axes,
    key: str,
    rows: Sequence[GeneratedImage],
    thresholds: Thresholds,
    sources: Mapping[str, SourceFeatures],
) -> None:
    known = [row for row in rows if row.scores.get(key, -9) > names.UNKNOWN.get(key, -1.0)]
    kept, rejected = (
        [row.scores[key] for row in known if (row.status == "ok") is is_kept]
        for is_kept in (True, False)
    )
    bins = _bins(key, [*kept, *rejected])
    labels = [f"kept: {len(kept)}", f"rejected: {len(rejected)}"]
    axes.hist([kept, rejected], bins=bins, stacked=True, color=[_KEPT, _REJECTED], label=labels)
    if key == names.SIMILARITY and sources:
        _draw_photographs(axes, sources, bins, len(known))
    for value, style, label in _lines(key, thresholds):
        axes.axvline(value, color=_REAL, lw=1, ls=style, label=label)
    is_used = any(key in names.KEYS[name] for name in thresholds.use)
    axes.set(xlabel=_TITLES[key] + ("" if is_used else " (not used)"), ylabel="drawings")
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _bins(key: str, values: Sequence[float]) -> np.ndarray:
    if key == names.DUPLICATE:
        return np.arange(-0.5, BITS + 2, 2)
    if key in (names.CCTF, names.CLIP) or not values:
        return np.linspace(0, 1, 41)
    low, high = min(values), max(values)
    return np.linspace(low, max(high, low + 0.01), 41)


def _lines(key: str, thresholds: Thresholds) -> list[tuple[float, str, str]]:
    if key == names.SIMILARITY:
        styles = ("-", "--", "-.", ":")
        return [
            (value, styles[number % 4], f"threshold {data_set} {value:.2f}".replace("  ", " "))
            for number, (data_set, value) in enumerate(thresholds.reid.items())
            if value > -1  # the least cosine: no threshold
        ]
    if key == names.MARGIN:
        return [(0.0, "-", "threshold 0")] if thresholds.nearest else []
    if key == names.DUPLICATE:
        return [(thresholds.duplicates - 0.5, "-", f"threshold {thresholds.duplicates}")]
    value = {names.CCTF: thresholds.cctf, names.CLIP: thresholds.clip}[key]
    return [(value, "-", f"threshold {value:g}")]


def _draw_photographs(
    axes: Axes, sources: Mapping[str, SourceFeatures], bins: np.ndarray, total: int
) -> None:
    real = np.concatenate([source.real_similarities(name) for name, source in sources.items()])
    if len(real):
        counts = np.histogram(real, bins)[0] * total / len(real)
        axes.stairs(counts, bins, color=_REAL, lw=1.2, label=f"photographs: {len(real)}")


def _identity(
    name: str,
    rows: Sequence[Row],
    photographs: Mapping[Person, Sequence[Path]],
    thresholds: Thresholds,
) -> Image.Image:
    first = rows[0].image
    real = evenly(photographs.get((first.source_dataset, first.person_id), ()), _SHOWN[0])
    key = names.KEYS[next((use for use in thresholds.use), "reid")][0]
    drawn = sorted((r for r in rows if has_file(r)), key=lambda r: -r.image.scores.get(key, 0))
    kept = [row for row in drawn if row.image.status == "ok"]
    rejected = [row for row in drawn if row.image.status == "rejected"]
    height = _TILE[0] + 3 * _LINE + 4 * _GAP
    block = Image.new("RGB", ((sum(_SHOWN) + 1) * (_TILE[1] + 2 * _GAP), height), "white")
    pen, font = ImageDraw.Draw(block), ImageFont.load_default(11)
    words = f"{name}: kept {len(kept)} of {len(drawn)}"
    pen.text((_GAP, 1), words, (0, 0, 0), font)
    tiles = [(path, _GREY, ("photograph", "")) for path in real]
    tiles += [(None, _GREY, ("", ""))] * (_SHOWN[0] - len(tiles))
    for own, number, colour in ((kept, _SHOWN[1], _GREEN), (rejected, _SHOWN[2], _ORANGE)):
        chosen = evenly(own, number)
        tiles += [(row.path, colour, _caption(row, key)) for row in chosen]
        tiles += [(None, _GREY, ("", ""))] * (number - len(chosen))
    pixels = read_images([path for path, _, _ in tiles if path is not None])
    for number, (path, colour, lines) in enumerate(tiles):
        if path is None:
            continue
        left = _GAP + number * (_TILE[1] + 2 * _GAP) + _GAP * sum(number >= n for n in (3, 9))
        _paste(block, left, pixels.pop(0), colour, lines)
    return block


def _paste(
    block: Image.Image,
    left: int,
    pixels: np.ndarray | str,
    colour: tuple[int, int, int],
    lines: Sequence[str],
) -> None:
    pen, font, top = ImageDraw.Draw(block), ImageFont.load_default(10), _LINE + _GAP
    box = [left - 2, top - 2, left + _TILE[1] + 1, top + _TILE[0] + 1]
    pen.rectangle(box, fill=colour)
    if isinstance(pixels, str):
        pen.text((left + 4, top + 50), "unreadable", "white", font)
    else:
        picture = Image.fromarray(pixels).resize(_TILE[::-1], Image.Resampling.BICUBIC)
        block.paste(picture, (left, top))
    for number, line in enumerate(lines):
        pen.text((left, top + _TILE[0] + 3 + number * _LINE), line, _GREY, font)


def _caption(row: Row, key: str) -> tuple[str, str]:
    """Return the score, and which filters rejected the drawing."""
    image = row.image
    score = f"{image.scores[key]:.2f}" if key in image.scores else "-"
    if key == names.SIMILARITY and names.MARGIN in image.scores:
        score += f" {image.scores[names.MARGIN]:+.2f}"
    if not image.reason.startswith(OURS):
        return score, "rejected before" if image.reason else ""
    parts = image.reason.removeprefix(OURS).split("; ")
    return score, " ".join(part.partition(":")[0][:10] for part in parts)
