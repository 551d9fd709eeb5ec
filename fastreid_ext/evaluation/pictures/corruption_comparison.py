"""Plot of several models on the same corrupted images: mAP, and its drop per corruption."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fastreid_ext.evaluation.corruption.comparison import Comparison
from fastreid_ext.evaluation.matrix import Summary
from fastreid_ext.evaluation.pictures.corruption import spoken
from fastreid_ext.pictures.png import COLOURS, bare, save_figure


def plot_comparison(comparison: Comparison, output: Path) -> Path:
    """Plot clean and corrupted mAP and, with grids, the relative drop under each corruption.

    Bars are means over seeds, lines their standard deviation, dots the seeds.

    Args:
        comparison: results of one to seven models.
        output: path of the PNG file to write.

    Raises:
        ValueError: the comparison has more models than there are colours.
    """
    if len(comparison.models) > len(COLOURS):
        raise ValueError(
            f"expected at most {len(COLOURS)} models, got {len(comparison.models)}; compare fewer"
        )
    names = comparison.corruptions()
    if not names:
        figure = Figure(figsize=(1.8 + 1.3 * len(comparison.models), 3.8), layout="constrained")
        _plot_mean_ap(figure.subplots(), comparison)
        return save_figure(figure, output)
    height = 1.4 + 0.1 * len(names) * (len(comparison.models) + 1)
    figure = Figure(figsize=(10.5, height), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.7))
    _plot_mean_ap(left, comparison)
    _plot_drops(right, comparison, names)
    return save_figure(figure, output)


def _plot_mean_ap(axes: Axes, comparison: Comparison) -> None:
    for place, (model, colour) in enumerate(zip(comparison.models, COLOURS, strict=False)):
        for offset, values, alpha in (
            (-0.2, model.clean["mAP"], 0.45),
            (0.2, model.corrupted["mAP"], 1.0),
        ):
            summary = Summary.of(values)
            axes.bar(place + offset, summary.mean, 0.38, color=colour, alpha=alpha)
            spread = place + offset + np.linspace(-0.08, 0.08, len(values))
            axes.plot(spread, values, "o", ms=3, color="black", alpha=0.7)
            axes.annotate(
                f"{summary.mean:.1f}",
                (place + offset, max(values)),
                (0, 4),
                textcoords="offset points",
                ha="center",
                fontsize=8,
            )
    axes.set_xticks(
        range(len(comparison.models)), [model.name for model in comparison.models], fontsize=8
    )
    axes.set_ylabel("mAP, %")
    axes.set_title(f"{comparison.data_set}: clean (pale) and corrupted", fontsize=10)
    bare(axes)


def _plot_drops(axes: Axes, comparison: Comparison, names: list[str]) -> None:
    first = comparison.models[0]
    names = sorted(names, key=lambda name: -first.drop_under(name).mean)
    places = np.arange(len(names), dtype=float)
    width = 0.8 / len(comparison.models)
    for number, (model, colour) in enumerate(zip(comparison.models, COLOURS, strict=False)):
        drops = [model.drop_under(name) for name in names]
        offset = (number - (len(comparison.models) - 1) / 2) * width
        axes.barh(
            places + offset,
            [drop.mean for drop in drops],
            0.92 * width,
            xerr=[0.0 if np.isnan(drop.spread) else drop.spread for drop in drops],
            error_kw={"lw": 0.8, "alpha": 0.7},
            color=colour,
            label=model.name,
        )
    axes.set_yticks(places, [spoken(name) for name in names], fontsize=8)
    axes.set_ylim(len(names) - 0.4, -0.6)  # the worst on top
    axes.set_xlabel("relative drop of mAP, %, mean over severities")
    axes.set_title(f"{comparison.data_set}-C, one corruption for all images", fontsize=10)
    axes.legend(frameon=False, loc="lower right", fontsize=8)
    bare(axes)
