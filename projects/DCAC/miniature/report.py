"""Compare the models of a miniature replication over pairs of source and target.

    python -m projects.DCAC.miniature.report logs/miniature/dcac/single_source \
        --json docs/miniature_dcac.json --picture docs/miniature_dcac.png

Reads the ``matrix.json`` of evaluation matrices. A gain is the difference of a model to the
baseline of the same source, target and seed; gains are averaged over pairs, then over seeds. A
ResNet-18 is compared with a baseline of its own (``--baseline resnet18_baseline``).
"""

import argparse
import dataclasses
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from fastreid_ext.atomic import atomic_write_text
from fastreid_ext.command_line import short_errors
from fastreid_ext.evaluation.markdown import markdown_table
from fastreid_ext.evaluation.matrix import Cell, Summary
from fastreid_ext.pictures.png import COLOURS, bare, save_figure

BASELINE = "baseline"
KINDS = {"other domains": False, "own domain": True}  # whether the target is among the sources


def read_cells(folders: Iterable[Path]) -> list[Cell]:
    """Read the cells of several matrices; an equal cell of two of them counts once.

    Raises:
        FileNotFoundError: a folder holds no ``matrix.json``.
    """
    found: dict[tuple[Any, ...], Cell] = {}
    for folder in folders:
        path = folder / "matrix.json"
        if not path.is_file():
            raise FileNotFoundError(f"no {path}; make it with tools/evaluation_matrix.py")
        for fields in json.loads(path.read_text())["cells"]:
            cell = Cell(**fields)
            found[cell.model, cell.source, cell.target, cell.seed] = cell
    return list(found.values())


def with_baseline(cells: Sequence[Cell], name: str) -> list[Cell]:
    """Rename a model to the baseline that gains are counted from.

    Raises:
        ValueError: no cell is of that model.
    """
    names = list(dict.fromkeys(cell.model for cell in cells))
    if name not in names:
        raise ValueError(
            f"expected a baseline among the models of the matrices, got '{name}'; choose "
            f"--baseline from {', '.join(names)}"
        )
    return [
        dataclasses.replace(cell, model=BASELINE) if cell.model == name else cell for cell in cells
    ]


def gains(cells: Sequence[Cell], model: str, metric: str, *, is_own: bool) -> dict[int, float]:
    """Compute a model's mean gain over the baseline by seed, over all pairs that both have.

    Args:
        cells: results of all models.
        model: name of the model that is compared with the baseline.
        metric: name of the metric, such as "mAP".
        is_own: whether the target is one of the sources, or another domain.

    Example:
        >>> one = Cell("baseline", "A", "all", "B", 0, {"mAP": 10.0})
        >>> other = Cell("DCAC", "A", "all", "B", 0, {"mAP": 12.5})
        >>> gains([one, other], "DCAC", "mAP", is_own=False)
        {0: 2.5}
    """
    base = values(cells, BASELINE, metric, is_own=is_own)
    ours = values(cells, model, metric, is_own=is_own)
    differences: dict[int, list[float]] = {}
    for key in sorted(base.keys() & ours.keys()):
        differences.setdefault(key[2], []).append(ours[key] - base[key])
    return {seed: statistics.fmean(found) for seed, found in differences.items()}


def values(
    cells: Sequence[Cell], model: str, metric: str, *, is_own: bool
) -> dict[tuple[str, str, int], float]:
    """Collect a metric of a model by source, target and seed."""
    return {
        (cell.source, cell.target, cell.seed): cell.metrics[metric]
        for cell in cells
        if cell.model == model and (cell.target in cell.source.split("+")) == is_own
    }


def summary_of(by_seed: Mapping[int, float]) -> str:
    """Write mean and standard deviation over seeds, signed; "-" without a seed."""
    if not by_seed:
        return "-"
    text = str(Summary.of(list(by_seed.values())))
    return text if text.startswith("-") else f"+{text}"


def better_pairs(cells: Sequence[Cell], model: str, metric: str = "mAP") -> tuple[int, int]:
    """Count the pairs of other domains whose mean over seeds rises, and all pairs."""
    base = values(cells, BASELINE, metric, is_own=False)
    ours = values(cells, model, metric, is_own=False)
    differences: dict[tuple[str, str], list[float]] = {}
    for source, target, seed in base.keys() & ours.keys():
        gain = ours[source, target, seed] - base[source, target, seed]
        differences.setdefault((source, target), []).append(gain)
    rises = [statistics.fmean(found) > 0 for found in differences.values()]
    return sum(rises), len(rises)


def table(cells: Sequence[Cell], models: Sequence[str]) -> str:
    """Format one row for each model: gains in Rank-1 and mAP, and how many pairs rise."""
    rows = []
    for model in models:
        columns = [
            summary_of(gains(cells, model, metric, is_own=is_own))
            for is_own in KINDS.values()
            for metric in ("Rank-1", "mAP")
        ]
        rises, pairs = better_pairs(cells, model)
        rows.append([model, *columns, f"{rises} of {pairs}"])
    headers = [f"{metric}, {kind}" for kind in KINDS for metric in ("Rank-1", "mAP")]
    return "\n".join(markdown_table(["model", *headers, "pairs whose mAP rises"], rows))


def baseline_line(cells: Sequence[Cell]) -> str:
    """Write Rank-1 and mAP of the baseline, averaged over pairs and then over seeds."""
    parts = []
    for kind, is_own in KINDS.items():
        means = []
        for metric in ("Rank-1", "mAP"):
            found = values(cells, BASELINE, metric, is_own=is_own)
            seeds = sorted({seed for _, _, seed in found})
            by_seed = [
                statistics.fmean(value for key, value in found.items() if key[2] == seed)
                for seed in seeds
            ]
            means.append(str(Summary.of(by_seed)) if by_seed else "-")
        parts.append(f"{kind} {' / '.join(means)}")
    return "Baseline, Rank-1 / mAP: " + "; ".join(parts) + "."


def plot_gains(cells: Sequence[Cell], models: Sequence[str], output: Path) -> Path:
    """Plot each model's gain in mAP on other domains: mean over pairs, a dot for each seed."""
    figure = Figure(figsize=(7, 0.9 + 0.42 * len(models)), layout="constrained")
    axes = figure.subplots()
    for y, model in enumerate(models):
        found = list(gains(cells, model, "mAP", is_own=False).values())
        if not found:
            continue
        axes.barh(y, statistics.fmean(found), color=COLOURS[0], height=0.6, zorder=1)
        axes.plot(found, np.full(len(found), y), "o", color="black", markersize=4, zorder=2)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(models)), models)
    axes.invert_yaxis()
    axes.set_xlabel("gain in mAP over the baseline on other domains, points; dots are seeds")
    bare(axes)
    return save_figure(figure, output)


def main(args: argparse.Namespace) -> None:
    found = read_cells(args.matrices)
    cells = with_baseline(found, args.baseline)
    models = [name for name in dict.fromkeys(c.model for c in cells) if name != BASELINE]
    if args.json:
        content = {"cells": [vars(cell) for cell in found], "commits": commits(args.matrices)}
        atomic_write_text(args.json, json.dumps(content, indent=1) + "\n")
    if args.picture:
        plot_gains(cells, models, args.picture)
    print(baseline_line(cells), table(cells, models), sep="\n\n")


def commits(folders: Iterable[Path]) -> list[str]:
    """List the commits of the code by which the runs of some matrices were trained."""
    results = [path for folder in folders for path in folder.glob("runs/**/result.json")]
    return sorted({str(json.loads(path.read_text())["commit"]) for path in results})


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("matrices", type=Path, nargs="+", help="--output of evaluation_matrix.py")
    parser.add_argument("--baseline", default=BASELINE, help="model that gains are counted from")
    parser.add_argument("--json", type=Path, help="file for all cells")
    parser.add_argument("--picture", type=Path, help="PNG file for the gains")
    return parser.parse_args()


if __name__ == "__main__":
    with short_errors():
        main(parse())
