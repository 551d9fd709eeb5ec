"""Plots of a table of runs: heat maps, and curves over shares of the training set."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fastreid_ext.evaluation.matrix import Row, Table
from fastreid_ext.evaluation.ranking import column_title
from fastreid_ext.pictures.png import COLOURS, bare, save_figure

# Kind, percent, and the seed of the subset if it is not the default one.
_SHARE = re.compile(r"(few_shot|small_scale)_(\d+)((?:_seed\d+)?)")
_MARKERS = "osD^vP*X"


def plot_heat_map(table: Table, output: Path, metrics: Sequence[str] = ("Rank-1", "mAP")) -> Path:
    """Plot one heat map per metric: a row per model, source and setting, a column per test set.

    Numbers are mean and, in brackets, standard deviation over seeds, in percent.

    Args:
        table: results of at least one run.
        output: path of the PNG file to write.
        metrics: names of the metrics, one panel each.

    Raises:
        ValueError: the table is empty.
    """
    if not table.rows:
        raise ValueError("expected at least one finished run to plot, got none")
    height = 1.6 + 0.36 * len(table.rows)
    width = 2.6 + len(metrics) * (0.6 + 1.15 * len(table.targets))
    figure = Figure(figsize=(width, height), layout="constrained")
    panels = figure.subplots(1, len(metrics), squeeze=False, sharey=True)
    for axes, metric in zip(panels[0], metrics, strict=True):
        _heat_map(axes, table, metric)
    panels[0][0].set_yticks(range(len(table.rows)), [_label(table, row) for row in table.rows])
    return save_figure(figure, output)


def _heat_map(axes: Axes, table: Table, metric: str) -> None:
    summaries = [
        [table.summary(row, target, metric) for target in table.targets] for row in table.rows
    ]
    means = np.array([[np.nan if s is None else s.mean for s in line] for line in summaries])
    axes.imshow(means, cmap="viridis", vmin=0, vmax=100, aspect="auto")
    for y, line in enumerate(summaries):
        for x, summary in enumerate(line):
            colour = "black" if summary is None or summary.mean >= 60 else "white"
            axes.text(x, y, str(summary or "-"), ha="center", va="center", color=colour, fontsize=8)
    axes.set_xticks(range(len(table.targets)), table.targets, rotation=30, ha="right")
    axes.set_title(f"{column_title(metric)}, %")


def _label(table: Table, row: Row) -> str:
    """Name a row by what distinguishes it from the others."""
    varying = [
        part
        for part, values in zip(row, zip(*table.rows, strict=True), strict=True)
        if len(set(values)) > 1
    ]
    return ", ".join(varying or row[:1])


def shares(table: Table) -> dict[str, dict[int, str]]:
    """Group the settings that are shares of a set: kind -> percent -> setting.

    Subsets of another seed ("few_shot_10_seed1") are a kind of their own, "few_shot_seed1".
    """
    found: dict[str, dict[int, str]] = {}
    for _, _, setting in table.rows:
        if match := _SHARE.fullmatch(setting):
            found.setdefault(match[1] + match[3], {})[int(match[2])] = setting
    return found


def plot_shares(table: Table, output: Path, metric: str = "mAP") -> Path:
    """Plot a metric over the share of the training set, a line per model, a panel per kind.

    Bars are the standard deviation over seeds. Panels also differ in source and test set.

    Args:
        table: results of runs with settings such as ``few_shot_10`` and ``small_scale_10``.
        output: path of the PNG file to write.
        metric: name of the metric to plot, in percent.

    Raises:
        ValueError: no setting of the table is a share of a set.
    """
    kinds = shares(table)
    if not kinds:
        raise ValueError("expected settings such as few_shot_10 or small_scale_10, got none")
    sources = list(dict.fromkeys(source for _, source, _ in table.rows))
    panels = [(k, s, t) for k in kinds for s in sources for t in table.targets]
    figure = Figure(figsize=(1 + 4.2 * len(panels), 4), layout="constrained")
    grid = figure.subplots(1, len(panels), squeeze=False, sharey=True)
    for axes, (kind, source, target) in zip(grid[0], panels, strict=True):
        _share_curves(axes, table, kinds[kind], source, target, metric)
        unit = "images of each identity" if kind.startswith("few_shot") else "identities"
        title = f"{kind.replace('_', '-', 1).replace('_', ', ')}: {source} -> {target}"
        axes.set_xlabel(f"{unit} used, %")
        axes.set_title(title, fontsize=10)
        bare(axes)
    grid[0][0].set_ylabel(f"{column_title(metric)}, %")
    grid[0][0].set_ylim(bottom=0)
    grid[0][-1].legend(frameon=False, fontsize=8)
    return save_figure(figure, output)


def _share_curves(
    axes: Axes, table: Table, settings: dict[int, str], source: str, target: str, metric: str
) -> None:
    models = list(dict.fromkeys(model for model, _, _ in table.rows))
    for index, model in enumerate(models):
        points = [
            (percent, summary)
            for percent, setting in sorted(settings.items())
            if (summary := table.summary((model, source, setting), target, metric)) is not None
        ]
        if points:
            percents, summaries = zip(*points, strict=True)
            axes.errorbar(
                percents,
                [summary.mean for summary in summaries],
                [np.nan_to_num(summary.spread) for summary in summaries],
                color=COLOURS[index % len(COLOURS)],
                marker=_MARKERS[index % len(_MARKERS)],
                ms=5,
                capsize=3,
                lw=1.5,
                label=model,
            )
    axes.set_xticks(sorted(settings))
