"""Pictures to judge the filters by: histograms of the scores, kept and rejected images."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from fastreid_ext.generation.filters import scores as names
from fastreid_ext.generation.filters.decide import OURS
from fastreid_ext.generation.filters.duplicates import BITS
from fastreid_ext.generation.filters.records import Pixels, has_file, read_images
from fastreid_ext.generation.filters.reid import IdentityKey, SourceFeatures
from fastreid_ext.generation.filters.thresholds import Thresholds
from fastreid_ext.manifest import GeneratedImage, Row
from fastreid_ext.pictures.png import BLUE, VERMILION, bare, save_figure, save_pixels
from fastreid_ext.pictures.tiles import evenly

_REAL = "black"
_TITLES = {
    names.SIMILARITY: "reid: cosine similarity to the identity's real images",
    names.MARGIN: "reid: lead over the nearest other identity",
    names.CCTF: "cctf: probability of the identity",
    names.CLIP: "clip: probability of the wanted text",
    names.DUPLICATE: "duplicates: bits from a kept better image; 64: none",
}
_TILE = (128, 64)  # height and width of an image
_GAP = 4
_LINE = 13  # height of a line of text
_GREEN = (0, 158, 115)
_ORANGE = (213, 94, 0)
_GREY = (90, 90, 90)
# Places of real, kept and rejected images of an identity.
_REAL_PLACES = 3
_KEPT_PLACES = 6
_REJECTED_PLACES = 6
_PLACES = _REAL_PLACES + _KEPT_PLACES + _REJECTED_PLACES


def plot_histograms(
    sets: Iterable[Sequence[Row]],
    thresholds: Thresholds,
    sources: Mapping[str, SourceFeatures],
    output: Path,
) -> Path:
    """Plot the distributions of the scores of kept and rejected images, with the thresholds.

    A line in the panel of the similarity shows the real images, scaled to the same area.

    Args:
        sets: rows of each identity of the set.
        thresholds: thresholds that decided on the rows.
        sources: data set -> features of its real images, as far as they were computed.
        output: path of the PNG file to write.
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
        _plot_panel(axes, key, rows, thresholds, sources)
    return save_figure(figure, output, dpi=110)


def plot_contact_sheet(
    rows: Mapping[str, Sequence[Row]],
    real_images: Mapping[IdentityKey, Sequence[Path]],
    thresholds: Thresholds,
    output: Path,
    *,
    identities: int = 10,
) -> Path:
    """Plot some identities: real images (grey), kept (green) and rejected images (orange).

    Generated images are sorted from the best to the worst by the first filter's score, which stands
    below them with the filters that rejected them.

    Args:
        rows: name of an identity -> its rows.
        real_images: identity -> files of its real images; {} to show none.
        thresholds: thresholds that decided on the rows.
        output: path of the PNG file to write.
        identities: largest number of identities, spread over the set.
    """
    blocks = [
        _identity_block(name, rows[name], real_images, thresholds)
        for name in evenly(sorted(rows), identities)
    ]
    return save_pixels(np.concatenate(blocks), output)


def _plot_panel(
    axes: Axes,
    key: str,
    rows: Sequence[GeneratedImage],
    thresholds: Thresholds,
    sources: Mapping[str, SourceFeatures],
) -> None:
    known = [row for row in rows if row.scores.get(key, -9) > names.UNKNOWN.get(key, -1.0)]
    kept = [row.scores[key] for row in known if row.status == "ok"]
    rejected = [row.scores[key] for row in known if row.status != "ok"]
    bins = _bins(key, [*kept, *rejected])
    labels = [f"kept: {len(kept)}", f"rejected: {len(rejected)}"]
    axes.hist([kept, rejected], bins=bins, stacked=True, color=[BLUE, VERMILION], label=labels)
    if key == names.SIMILARITY and sources:
        _plot_real_images(axes, sources, bins, len(known))
    for value, style, label in _threshold_lines(key, thresholds):
        axes.axvline(value, color=_REAL, lw=1, ls=style, label=label)
    is_used = any(key in names.KEYS[name] for name in thresholds.use)
    title = _TITLES[key] if is_used else f"{_TITLES[key]} (not used)"
    axes.set(xlabel=title, ylabel="generated images")
    axes.legend(frameon=False, fontsize=8)
    bare(axes, grid=False)


def _bins(key: str, values: Sequence[float]) -> np.ndarray:
    if key == names.DUPLICATE:
        return np.arange(-0.5, BITS + 2, 2)
    if key in (names.CCTF, names.CLIP) or not values:
        return np.linspace(0, 1, 41)
    low = min(values)
    return np.linspace(low, max(max(values), low + 0.01), 41)


def _threshold_lines(key: str, thresholds: Thresholds) -> list[tuple[float, str, str]]:
    """List position, line style and label of the thresholds in a panel."""
    if key == names.SIMILARITY:
        styles = ("-", "--", "-.", ":")
        return [
            (value, styles[number % 4], f"threshold {data_set} {value:.2f}".replace("  ", " "))
            for number, (data_set, value) in enumerate(thresholds.reid.items())
            if value > -1  # the smallest cosine: no threshold
        ]
    if key == names.MARGIN:
        return [(0.0, "-", "threshold 0")] if thresholds.require_nearest else []
    if key == names.DUPLICATE:
        return [(thresholds.duplicates - 0.5, "-", f"threshold {thresholds.duplicates}")]
    value = {names.CCTF: thresholds.cctf, names.CLIP: thresholds.clip}[key]
    return [(value, "-", f"threshold {value:g}")]


def _plot_real_images(
    axes: Axes, sources: Mapping[str, SourceFeatures], bins: np.ndarray, total: int
) -> None:
    real = np.concatenate([source.real_similarities(name) for name, source in sources.items()])
    if len(real):
        counts = np.histogram(real, bins)[0] * total / len(real)
        axes.stairs(counts, bins, color=_REAL, lw=1.2, label=f"real images: {len(real)}")


def _identity_block(
    name: str,
    rows: Sequence[Row],
    real_images: Mapping[IdentityKey, Sequence[Path]],
    thresholds: Thresholds,
) -> Pixels:
    """Plot one identity: a title, and its images with frames and captions in one row."""
    first = rows[0].image
    real = evenly(real_images.get((first.source_dataset, first.person_id), ()), _REAL_PLACES)
    key = names.KEYS[thresholds.use[0] if thresholds.use else "reid"][0]
    ranked = sorted((r for r in rows if has_file(r)), key=lambda r: -r.image.scores.get(key, 0))
    kept = [row for row in ranked if row.image.status == "ok"]
    rejected = [row for row in ranked if row.image.status == "rejected"]
    height = _TILE[0] + 3 * _LINE + 4 * _GAP
    block = Image.new("RGB", ((_PLACES + 1) * (_TILE[1] + 2 * _GAP), height), "white")
    title = f"{name}: kept {len(kept)} of {len(ranked)}"
    ImageDraw.Draw(block).text((_GAP, 1), title, (0, 0, 0), ImageFont.load_default(11))
    _paste_group(block, 0, real, _GREY, [("real image", "")] * len(real))
    for place, own, count, colour in (
        (_REAL_PLACES, kept, _KEPT_PLACES, _GREEN),
        (_REAL_PLACES + _KEPT_PLACES, rejected, _REJECTED_PLACES, _ORANGE),
    ):
        chosen = evenly(own, count)
        paths = [row.path for row in chosen]
        _paste_group(block, place, paths, colour, [_caption(row, key) for row in chosen])
    return np.asarray(block)


def _paste_group(
    block: Image.Image,
    place: int,
    paths: Sequence[Path],
    colour: tuple[int, int, int],
    captions: Sequence[tuple[str, str]],
) -> None:
    """Paste images from a place on; each group is a gap further to the right."""
    groups_before = sum(place >= start for start in (_REAL_PLACES, _REAL_PLACES + _KEPT_PLACES))
    for number, (pixels, lines) in enumerate(zip(read_images(paths), captions, strict=True)):
        step = _TILE[1] + 2 * _GAP
        left = _GAP + (place + number) * step + _GAP * groups_before
        _paste(block, left, pixels, colour, lines)


def _paste(
    block: Image.Image,
    left: int,
    pixels: Pixels | str,
    colour: tuple[int, int, int],
    lines: Sequence[str],
) -> None:
    pen = ImageDraw.Draw(block)
    font = ImageFont.load_default(10)
    top = _LINE + _GAP
    box = [left - 2, top - 2, left + _TILE[1] + 1, top + _TILE[0] + 1]
    pen.rectangle(box, fill=colour)
    if isinstance(pixels, str):
        pen.text((left + 4, top + 50), "unreadable", "white", font)
    else:
        tile = Image.fromarray(pixels).resize(_TILE[::-1], Image.Resampling.BICUBIC)
        block.paste(tile, (left, top))
    for number, line in enumerate(lines):
        pen.text((left, top + _TILE[0] + 3 + number * _LINE), line, _GREY, font)


def _caption(row: Row, key: str) -> tuple[str, str]:
    """Format the score of an image, and the filters that rejected it."""
    image = row.image
    score = f"{image.scores[key]:.2f}" if key in image.scores else "-"
    if key == names.SIMILARITY and names.MARGIN in image.scores:
        score += f" {image.scores[names.MARGIN]:+.2f}"
    if not image.reason.startswith(OURS):
        return score, "rejected before" if image.reason else ""
    parts = image.reason.removeprefix(OURS).split("; ")
    return score, " ".join(part.partition(":")[0][:10] for part in parts)
