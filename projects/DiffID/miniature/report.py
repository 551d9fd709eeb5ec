"""Write the table of the miniature, its measurements and its picture."""

import dataclasses
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from fastreid_ext.atomic import atomic_write_text
from fastreid_ext.evaluation.markdown import markdown_table
from fastreid_ext.evaluation.matrix import AP_RULE, Cell, Summary
from fastreid_ext.pictures.png import COLOURS, bare, save_figure
from projects.DiffID.gain_curve import signed
from projects.DiffID.miniature.measures import Measured
from projects.DiffID.miniature.rows import CURVE, FULL, GENERATED, IMAGES, REAL, TABLE, TRUTH

Cells = Mapping[str, Sequence[Cell]]
METRICS = ("Rank-1", "mAP")
_NAMES = {
    "real": "real training images",
    "test": "real test images (floor of the pose)",
    TRUTH: "bodies of VI truly rendered",
}


def by_seed(cells: Sequence[Cell], metric: str) -> dict[int, float]:
    """Read a metric of a row by seed."""
    return {cell.seed: cell.metrics[metric] for cell in cells}


def gain(cells: Cells, key: str, metric: str = "mAP", *, over: str = REAL) -> Summary | None:
    """Summarise the gain of a row over another, taken seed by seed; None without a common seed."""
    before = by_seed(cells[over], metric)
    after = by_seed(cells[key], metric)
    common = sorted(before.keys() & after.keys())
    return Summary.of([after[seed] - before[seed] for seed in common]) if common else None


def table(cells: Cells) -> str:
    """Format a row for each training: metrics and gain in mAP over the real images alone."""
    rows = []
    for key, found in cells.items():
        row = TABLE[key]
        scores = [str(Summary.of(list(by_seed(found, metric).values()))) for metric in METRICS]
        risen = None if key == REAL else gain(cells, key)
        seeds = ", ".join(str(cell.seed) for cell in found)
        rows.append([row.title, f"{row.images:,}", *scores, signed(risen) if risen else "", seeds])
    heads = ["training images", "added", *METRICS, "gain in mAP", "seeds"]
    return "\n".join(markdown_table(heads, rows))


def measured_table(measured: Sequence[Measured]) -> str:
    """Format a row for each set: identity, and errors of viewpoint and pose."""
    rows = []
    for one in measured:
        found = "-"
        similarity = "-"
        if one.identity:
            found = f"{100 * one.identity.found:.1f} ({100 * one.identity.chance:.1f})"
            similarity = f"{one.identity.own:.3f} / {one.identity.nearest_other:.3f}"
        azimuth = f"{one.pose.azimuth_deg:.0f} ({one.chance.azimuth_deg:.0f})"
        points = "-"
        if one.pose.points == one.pose.points:
            points = f"{100 * one.pose.points:.1f} ({100 * one.chance.points:.1f})"
        rows.append([set_name(one.name), f"{one.images:,}", found, similarity, azimuth, points])
    heads = [
        "images",
        "number",
        "own identity nearest, %",
        "similarity own / nearest other",
        "azimuth error, degrees",
        "joint error, % of height",
    ]
    return "\n".join(markdown_table(heads, rows))


def set_name(key: str) -> str:
    """Name a measured set for a reader."""
    return GENERATED[key].title if key in GENERATED else _NAMES[key]


def write_report(
    cells: Cells, measured: Sequence[Measured], statements: Sequence[str], output: Path, about: Any
) -> str:
    """Write ``table.json``, ``table.md`` and ``table.png`` into a folder; return the text."""
    text = "\n".join(
        [
            "In percent, mean (standard deviation) over seeds of the Re-ID training; a generator "
            f"and its images have one seed. {AP_RULE}.",
            *statements,
            "",
            table(cells),
            "",
            "In parentheses: what chance gives.",
            "",
            measured_table(measured),
            "",
        ]
    )
    content = {
        **about,
        "leakage": list(statements),
        "rows": [
            {"key": key, "title": TABLE[key].title, "cells": [vars(cell) for cell in found]}
            for key, found in cells.items()
        ],
        "measured": [dataclasses.asdict(one) for one in measured],
    }
    atomic_write_text(output / "table.json", json.dumps(content, indent=1) + "\n")
    atomic_write_text(output / "table.md", text)
    plot_table(cells, output / "table.png")
    return text


def plot_table(cells: Cells, output: Path) -> Path:
    """Plot the rows as bars on the left, the curve over the number of images on the right."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    keys = [key for key in cells if not key.startswith("curve_")]
    for place, key in enumerate(keys):
        values = list(by_seed(cells[key], "mAP").values())
        left.barh(place, statistics.fmean(values), color=COLOURS[0], height=0.65, zorder=1)
        left.plot(values, [place] * len(values), "o", color="black", markersize=3, zorder=2)
    left.set_yticks(range(len(keys)), [TABLE[key].title for key in keys], fontsize=8)
    left.invert_yaxis()
    left.set_xlabel("mAP, %; dots are seeds")
    curve = [(0, REAL), *((n, FULL if n == IMAGES else f"curve_{n}") for n in CURVE)]
    curve = [(number, key) for number, key in curve if key in cells]
    values = [list(by_seed(cells[key], "mAP").values()) for _, key in curve]
    right.plot([n for n, _ in curve], [statistics.fmean(v) for v in values], color=COLOURS[0])
    for (number, _), found in zip(curve, values, strict=True):
        right.plot([number] * len(found), found, "o", color=COLOURS[0], markersize=3)
    right.set_xlabel("generated images added to the real ones (row VI)")
    right.set_ylabel("mAP, %; dots are seeds")
    for axes in (left, right):
        bare(axes)
    return save_figure(figure, output)
