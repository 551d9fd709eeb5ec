"""Plots of a -C evaluation: heat map of the grid, bars of relative drops, and repeats."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fastreid_ext.evaluation.corruption.results import SPOKEN_SIDES, CorruptionResults
from fastreid_ext.evaluation.matrix import METRICS
from fastreid_ext.evaluation.ranking import column_title
from fastreid_ext.pictures.png import BLUE, ORANGE, bare, save_figure

_SHOWN = ("mAP", "Rank-1")


def plot_severities(results: CorruptionResults, output: Path) -> Path:
    """Plot mAP and Rank-1 in percent, a row per corruption and a column per severity.

    The last row and column are means. Colours go from 0 to the clean result.

    Args:
        results: results of an evaluation with a grid.
        output: path of the PNG file to write.

    Raises:
        ValueError: the results have no grid.
    """
    _expect_grid(results)
    names = list(results.measured.grid)
    size = (3.2 + 4.4 * len(_SHOWN), 1.7 + 0.3 * (len(names) + 1))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(1, len(_SHOWN), sharey=True)
    for axes, metric in zip(panels, _SHOWN, strict=True):
        _heat_map(axes, results, metric)
    panels[0].set_yticks(range(len(names) + 1), [*map(spoken, names), "mean"])
    figure.supxlabel("severity", fontsize=10)
    figure.suptitle(f"{results.name}, {_corrupted(results)}", fontsize=11)
    return save_figure(figure, output)


def _heat_map(axes: Axes, results: CorruptionResults, metric: str) -> None:
    cells = results.measured.grid.values()
    values = np.array([[cell[metric] for cell in row.values()] for row in cells])
    values = np.vstack([values, values.mean(axis=0)])
    values = np.hstack([values, values.mean(axis=1, keepdims=True)])
    clean = results.measured.clean[metric]
    top = max(clean, 1.0)
    axes.imshow(values, cmap="viridis", vmin=0, vmax=top, aspect="auto")
    for (y, x), value in np.ndenumerate(values):
        colour = "black" if value > 0.6 * top else "white"
        axes.text(x, y, f"{value:.1f}", ha="center", va="center", color=colour, fontsize=8)
    rows, columns = values.shape
    axes.axhline(rows - 1.5, color="white", lw=3)
    axes.axvline(columns - 1.5, color="white", lw=3)
    axes.set_xticks(range(columns), [*map(str, results.severities()), "mean"])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(f"{column_title(metric)}, %; clean {clean:.1f}", fontsize=10)


def plot_drops(results: CorruptionResults, output: Path) -> Path:
    """Plot the relative drop of mAP and Rank-1 for each corruption, the worst first.

    Bars are means over the severities; the last one is the mean over the repeats, which mix all
    corruptions.

    Raises:
        ValueError: the results have no grid, or the clean result is 0.
    """
    _expect_grid(results)
    if not all(results.measured.clean[metric] for metric in _SHOWN):
        raise ValueError("expected a clean mAP and Rank-1 above 0, got 0; there is no drop from 0")
    drops = {
        spoken(name): [results.drop(results.of_corruption(name, m), m) for m in _SHOWN]
        for name in results.measured.grid
    }
    drops = dict(sorted(drops.items(), key=lambda item: -item[1][0]))
    drops[f"mean of {len(drops)}"] = np.mean(list(drops.values()), axis=0).tolist()
    mixed = [results.drop(results.corrupted(m).mean, m) for m in _SHOWN]
    drops[f"{len(results.measured.repeats)} repeats, mixed"] = mixed
    figure = Figure(figsize=(7.5, 1.6 + 0.36 * len(drops)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(drops), dtype=float)
    places[-2:] += 0.5  # the means stand apart
    for offset, metric, values, colour in zip(
        (-0.2, 0.2), _SHOWN, np.transpose(list(drops.values())), (BLUE, ORANGE), strict=True
    ):
        bars = axes.barh(places + offset, values, 0.38, color=colour, label=column_title(metric))
        axes.bar_label(bars, fmt="%.0f", padding=3, fontsize=7)
    axes.set_yticks(places, list(drops))
    axes.margins(y=0.02)
    axes.invert_yaxis()
    axes.set_xlabel("relative drop from the clean result, %")
    axes.set_title(f"{results.name}, {_corrupted(results)}", fontsize=11)
    axes.legend(frameon=False, loc="lower right")
    bare(axes)
    return save_figure(figure, output)


def plot_repeats(results: CorruptionResults, output: Path) -> Path:
    """Plot clean and corrupted Rank-1, mAP and mINP: mean, standard deviation, and each repeat."""
    figure = Figure(figsize=(6, 3.8), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(METRICS))
    clean = [results.measured.clean[metric] for metric in METRICS]
    summaries = [results.corrupted(metric) for metric in METRICS]
    bars = axes.bar(places - 0.2, clean, 0.38, color=BLUE, label="clean")
    axes.bar_label(bars, fmt="%.1f", padding=2, fontsize=9)
    means = [summary.mean for summary in summaries]
    count = len(results.measured.repeats)
    label = f"corrupted, {count} repeats" if count > 1 else "corrupted, one repeat"
    axes.bar(places + 0.2, means, 0.38, color=ORANGE, label=label)
    for place, metric, summary in zip(places, METRICS, summaries, strict=True):
        values = [metrics[metric] for metrics in results.measured.repeats]
        spread = place + 0.2 + np.linspace(-0.12, 0.12, count)
        axes.plot(spread, values, "o", ms=3, color="black", alpha=0.7)
        above = (place + 0.2, max(values))
        axes.annotate(
            str(summary), above, (0, 5), textcoords="offset points", ha="center", fontsize=9
        )
    axes.set_xticks(places, list(map(column_title, METRICS)))
    axes.set_ylabel("%")
    axes.set_ylim(0, 1.12 * max(*clean, *means, 1.0))
    axes.set_title(f"{results.name}, {_corrupted(results)}", fontsize=11)
    axes.legend(frameon=False)
    bare(axes)
    return save_figure(figure, output)


def spoken(name: str) -> str:
    """Format the name of a corruption: "gaussian noise" for "gaussian_noise"."""
    return name.replace("_", " ")


def _corrupted(results: CorruptionResults) -> str:
    return f"{SPOKEN_SIDES[results.corrupt]} corrupted"


def _expect_grid(results: CorruptionResults) -> None:
    if not results.measured.grid:
        raise ValueError(
            "expected a grid of corruptions and severities to plot, got none; evaluate with --grid"
        )
