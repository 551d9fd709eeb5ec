"""Pictures of a table of runs (:mod:`matrix`): heat maps, and curves over shares of a set."""

import re
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes

from fastreid_ext.evaluation.matrix import Row, Table

matplotlib.use("Agg")
from matplotlib import pyplot as plt

_SHARE = re.compile(r"^(few_shot|small_scale)_(\d+)")
_MARKERS = "osD^vP*X"


def draw_heat_map(table: Table, output: Path, metrics: Sequence[str] = ("Rank-1", "mAP")) -> Path:
    """Draw one heat map per metric: a row per model, source and setting, a column per test set.

    Numbers are mean and, in brackets, standard deviation over seeds, in percent.

    Args:
        table: at least one cell.
        output: PNG to write.
        metrics: one panel each.

    Raises:
        ValueError: the table is empty.
    """
    if not table.rows:
        raise ValueError("expected at least one finished run to draw, got none")
    height = 1.6 + 0.36 * len(table.rows)
    width = 2.6 + len(metrics) * (0.6 + 1.15 * len(table.targets))
    figure, panels = plt.subplots(
        1, len(metrics), figsize=(width, height), layout="constrained", squeeze=False, sharey=True
    )
    for axes, metric in zip(panels[0], metrics, strict=True):
        _heat_map(axes, table, metric)
    panels[0][0].set_yticks(range(len(table.rows)), [_label(table, row) for row in table.rows])
    figure.savefig(output, dpi=120)
    plt.close(figure)
    return output


def _heat_map(axes: Axes, table: Table, metric: str) -> None:
    summaries = [
        [table.summary(row, target, metric) for target in table.targets] for row in table.rows
    ]
    means = np.array([[np.nan if s is None else s.mean for s in line] for line in summaries])
    axes.imshow(means, cmap="viridis", vmin=0, vmax=100, aspect="auto")
    for y, line in enumerate(summaries):
        for x, summary in enumerate(line):
            colour = "white" if summary is None or summary.mean < 60 else "black"
            axes.text(x, y, str(summary or "-"), ha="center", va="center", color=colour, fontsize=8)
    axes.set_xticks(range(len(table.targets)), table.targets, rotation=30, ha="right")
    axes.set_title(f"{metric}, %" + (" (fastreid's AP)" if metric == "mAP" else ""))


def _label(table: Table, row: Row) -> str:
    """Name a row by what distinguishes it from the others."""
    varying = [
        part
        for part, values in zip(row, zip(*table.rows, strict=True), strict=True)
        if len(set(values)) > 1
    ]
    return ", ".join(varying or row[:1])


def shares(table: Table) -> dict[str, dict[int, str]]:
    """Return the settings that are shares of a set: kind -> percent -> setting."""
    found: dict[str, dict[int, str]] = {}
    for _, _, setting in table.rows:
        if match := _SHARE.match(setting):
            found.setdefault(match[1], {})[int(match[2])] = setting
    return found


def draw_shares(table: Table, output: Path, metric: str = "mAP") -> Path:
    """Draw a metric over the share of the training set, a line per model, a panel per kind.

    Bars are the standard deviation over seeds. Panels also differ in source and test set.

    Args:
        table: cells with settings such as ``few_shot_10`` and ``small_scale_10``.
        output: PNG to write.
        metric: percentage to draw.

    Raises:
        ValueError: no setting is a share.
    """
    kinds = shares(table)
    if not kinds:
        raise ValueError("expected settings such as few_shot_10 or small_scale_10, got none")
    sources = list(dict.fromkeys(source for _, source, _ in table.rows))
    panels = [(k, s, t) for k in kinds for s in sources for t in table.targets]
    figure, grid = plt.subplots(
        1,
        len(panels),
        figsize=(1 + 4.2 * len(panels), 4),
        layout="constrained",
        squeeze=False,
        sharey=True,
    )
    for axes, (kind, source, target) in zip(grid[0], panels, strict=True):
        _share_curves(axes, table, kinds[kind], source, target, metric)
        unit = "images of each identity" if kind == "few_shot" else "identities"
        axes.set(xlabel=f"{unit} used, %", title=f"{kind.replace('_', '-')}: {source} -> {target}")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    rule = ", fastreid's AP" if metric == "mAP" else ""
    grid[0][0].set_ylabel(f"{metric}, %{rule}")
    grid[0][0].set_ylim(bottom=0)
    grid[0][-1].legend(frameon=False, fontsize=8)
    figure.savefig(output, dpi=120)
    plt.close(figure)
    return output


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
                marker=_MARKERS[index % len(_MARKERS)],
                ms=5,
                capsize=3,
                lw=1.5,
                label=model,
            )
    axes.set_xticks(sorted(settings))
