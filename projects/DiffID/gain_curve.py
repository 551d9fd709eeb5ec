r"""Measure how a Re-ID model gains with the number of generated images that are added to real ones.

    python -m projects.DiffID.gain_curve --output logs/DiffID/curve \
        --config-file projects/DiffID/configs/Market1501/DiffID_R50.yml \
        --sets Diff-ID=logs/Market1501/augment/images FD-GAN=datasets/fdgan \
        --generators Diff-ID=logs/Market1501/generator/generator \
        --images 3500 7000 14000 28000 45500 56000 --seeds 0 1 2

The recipe is that of the real images alone, which is the curve's first point. A set is any folder
with a manifest, whoever generated it. A smaller number of images is a part of a larger one, spread
evenly over the identities. The same command continues. Results in --output: curve.json, curve.md,
curve.png. KEY VALUE pairs at the end hold for every run.
"""

import argparse
import dataclasses
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fastreid.config import CfgNode
from matplotlib.figure import Figure

from fastreid_ext.atomic import atomic_write_text, expect_writable
from fastreid_ext.command_line import short_errors
from fastreid_ext.engine.results import commit
from fastreid_ext.evaluation.markdown import markdown_table
from fastreid_ext.evaluation.matrix import AP_RULE, Cell, Summary
from fastreid_ext.manifest import read_set
from fastreid_ext.pictures.png import COLOURS, bare, save_figure
from projects.DiffID.augmented_runs import AugmentedRuns
from projects.DiffID.leakage import generator_statement, leakage_statement
from tools.command import add_pairs, parse_command

REAL = "real images"
METRICS = ("Rank-1", "mAP")


@dataclasses.dataclass(frozen=True)
class Point:
    """Results with one number of generated images of one set.

    Attributes:
        name: name of the generated set; :data:`REAL` for none.
        images: number of generated images; 0 for none.
        cells: metrics of each seed and test set.
    """

    name: str
    images: int
    cells: Sequence[Cell]

    def values(self, metric: str) -> dict[int, float]:
        """Average a metric over the test sets, by seed."""
        seeds = sorted({cell.seed for cell in self.cells})
        return {
            seed: statistics.fmean(c.metrics[metric] for c in self.cells if c.seed == seed)
            for seed in seeds
        }


def measure_curve(
    runs: AugmentedRuns, sets: Mapping[str, Path], numbers: Sequence[int]
) -> list[Point]:
    """Train and test every point of the curve that is missing.

    Args:
        runs: recipe, seeds and folder of the trainings.
        sets: folder of each generated set, by its name in the table.
        numbers: numbers of images, each above 0.

    Returns:
        The point of the real images alone, then the points of each set by number.

    Raises:
        ValueError: a set has fewer images than a number, or shows test identities.
    """
    for name, root in sets.items():
        _expect_images(name, root, max(numbers))
    points = [Point(REAL, 0, runs.measure("real"))]
    for name, root in sets.items():
        for number in sorted(numbers):
            points.append(Point(name, number, runs.measure(f"{name}_{number}", root, number)))
    return points


def _expect_images(name: str, root: Path, most: int) -> None:
    _, rows = read_set(root)
    usable = sum(row.image.status == "ok" for row in rows)
    if usable < most:
        raise ValueError(
            f"expected {most} images in the set {name} ({root}), got {usable} with status ok; "
            "generate more, or give smaller --images"
        )


def gains(points: Sequence[Point], point: Point, metric: str) -> Summary:
    """Summarise a point's gain over the real images alone, taken seed by seed."""
    before = points[0].values(metric)
    return Summary.of([value - before[seed] for seed, value in point.values(metric).items()])


def as_markdown(points: Sequence[Point], statements: Sequence[str]) -> str:
    """Format a row for each point: metrics, and the gain over the real images alone."""
    rows = []
    for point in points:
        scores = [str(Summary.of(list(point.values(metric).values()))) for metric in METRICS]
        gain = "" if point is points[0] else signed(gains(points, point, "mAP"))
        rows.append([point.name, f"{point.images:,}", *scores, gain])
    heads = ["generated images of", "added", *METRICS, "gain in mAP"]
    seeds = len(points[0].values("mAP"))
    caption = f"In percent, mean (standard deviation) over {seeds} seeds; {AP_RULE}."
    return "\n".join([caption, *statements, "", *markdown_table(heads, rows)]) + "\n"


def signed(summary: Summary) -> str:
    """Write a summary with its sign, as gains are written."""
    text = str(summary)
    return text if text.startswith("-") else f"+{text}"


def as_json(points: Sequence[Point], about: Mapping[str, Any]) -> str:
    """Format every cell with what ``about`` says."""
    listed = [
        {
            "name": point.name,
            "images": point.images,
            "cells": [dataclasses.asdict(cell) for cell in point.cells],
        }
        for point in points
    ]
    return json.dumps({**about, "ap_rule": AP_RULE, "points": listed}, indent=1) + "\n"


def plot_curve(points: Sequence[Point], output: Path, *, metric: str = "mAP") -> Path:
    """Plot the metric over the number of added images: a line for each set, a dot for each seed.

    Args:
        points: points of the curve, the real images alone first.
        output: path of the PNG file.
        metric: name of the metric, in percent.
    """
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    names = list(dict.fromkeys(point.name for point in points[1:]))
    for name, colour in zip(names, COLOURS * len(names), strict=False):
        own = [points[0], *(point for point in points[1:] if point.name == name)]
        values = [list(point.values(metric).values()) for point in own]
        axes.plot(
            [point.images for point in own],
            [statistics.fmean(found) for found in values],
            color=colour,
            label=name,
        )
        for point, found in zip(own, values, strict=True):
            axes.plot([point.images] * len(found), found, "o", color=colour, markersize=3)
    axes.set_xlabel("generated images added to the real ones")
    axes.set_ylabel(f"{metric}, %; dots are seeds")
    axes.legend(frameon=False)
    bare(axes)
    return save_figure(figure, output)


def write_curve(
    points: Sequence[Point], folder: Path, statements: Sequence[str], about: Mapping[str, Any]
) -> None:
    """Write ``curve.json``, ``curve.md`` and ``curve.png`` into a folder, atomically."""
    content = {**about, "leakage": list(statements)}
    atomic_write_text(folder / "curve.json", as_json(points, content))
    atomic_write_text(folder / "curve.md", as_markdown(points, statements))
    plot_curve(points, folder / "curve.png")


def main(args: argparse.Namespace) -> None:
    expect_writable(args.output, is_folder=True)
    sets = dict(args.sets)
    runs = AugmentedRuns(
        recipe=args.config_file,
        output=args.output / "runs",
        seeds=tuple(args.seeds),
        overrides=tuple(args.opts),
    )
    cfg = runs.configuration()
    statements = statements_of(cfg, sets, dict(args.generators))
    points = measure_curve(runs, sets, args.images)
    write_curve(points, args.output, statements, {"commit": commit(), "opts": args.opts})
    print(as_markdown(points, statements))
    print(f"{len(points)} points in {args.output}: curve.json, curve.md, curve.png")


def statements_of(
    cfg: CfgNode, sets: Mapping[str, Path], generators: Mapping[str, Path]
) -> list[str]:
    """Write for each set whom its images show, and whom its generator was trained on."""
    if unknown := sorted(generators.keys() - sets.keys()):
        raise ValueError(f"expected --generators of the names in --sets, got {unknown}")
    statements = []
    for name, root in sets.items():
        statement = f"{name}: {leakage_statement(cfg, root)}"
        if name in generators:
            statement += f" {generator_statement(cfg, generators[name])}"
        else:
            statement += " What its generator was trained on has not been checked."
        statements.append(statement)
    return statements


def named_folder(text: str) -> tuple[str, Path]:
    """Parse ``NAME=FOLDER``."""
    name, separator, folder = text.partition("=")
    if not (name and separator and folder) or "/" in name:
        raise argparse.ArgumentTypeError(f"expected NAME=FOLDER, got {text!r}")
    return name, Path(folder)


def number_of_images(text: str) -> int:
    """Parse a number of images, at least 1; the real images alone are measured anyway."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number of images above 0, got {text!r}")
    return int(text)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", type=Path, required=True, help="recipe of the real images")
    parser.add_argument(
        "--sets", type=named_folder, nargs="+", required=True, metavar="NAME=FOLDER"
    )
    parser.add_argument(
        "--generators",
        type=named_folder,
        nargs="+",
        default=[],
        metavar="NAME=FOLDER",
        help="folder of the generator of a set, whose training.json names what it has seen",
    )
    parser.add_argument("--images", type=number_of_images, nargs="+", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--output", type=Path, required=True, help="folder of runs and results")
    add_pairs(parser)
    return parse_command(parser, arguments)


if __name__ == "__main__":
    with short_errors():
        main(parse(sys.argv[1:]))
