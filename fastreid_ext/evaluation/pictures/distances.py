"""Histograms of the distances of positive and negative pairs."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fastreid_ext.evaluation.distances import Metric
from fastreid_ext.evaluation.pair_distances import (
    NEGATIVE,
    POSITIVE,
    SAME_CAMERA,
    PairHistograms,
)
from fastreid_ext.pictures.png import BLUE, ORANGE, bare, save_figure

_BINS = 80


def plot_distances(histograms: PairHistograms, output: Path, *, name: str) -> Path:
    """Plot histograms of the distances of positive and negative pairs, each summing to 100 %.

    Args:
        histograms: distances of the pairs of a test set.
        output: path of the PNG file to write.
        name: name of the data set, for the title.
    """
    rate, threshold = histograms.equal_error_rate()
    coarse = histograms.coarse(_BINS)
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    axes = figure.subplots()
    _stairs(axes, coarse, NEGATIVE, "two identities", color=ORANGE, fill=True, alpha=0.75)
    _stairs(axes, coarse, POSITIVE, "one identity, two cameras", color=BLUE, fill=True, alpha=0.65)
    _stairs(
        axes,
        coarse,
        SAME_CAMERA,
        "one identity, one camera (not evaluated)",
        color="black",
        lw=1.3,
        ls="--",
    )
    axes.axvline(threshold, color="0.25", lw=1)
    top = axes.get_ylim()[1]
    axes.set_ylim(0, 1.1 * top)
    axes.text(threshold, 1.04 * top, f" {threshold:.2f}", color="0.25", fontsize=9)
    axes.set(xlabel=_distance_label(histograms.metric), ylabel="% of the pairs of a kind")
    axes.set_title(
        f"{name}: distances between queries and gallery\n"
        f"equal error rate {100 * rate:.1f} % at {threshold:.2f}, "
        f"overlap {100 * coarse.overlap():.1f} %",
        fontsize=12,
    )
    bare(axes)
    axes.legend(frameon=False, fontsize=9)
    return save_figure(figure, output)


def _stairs(axes: Axes, histograms: PairHistograms, kind: int, label: str, **style: object) -> None:
    counts = histograms.counts[kind]
    total = counts.sum()
    if total:
        used = np.flatnonzero(counts)
        first = used[0]
        last = used[-1] + 1
        share = 100 * counts[first:last] / total
        edges = histograms.edges[first : last + 1]
        axes.stairs(share, edges, label=f"{label}: {total:,}", **style)


def _distance_label(metric: Metric) -> str:
    return "cosine distance (1 - similarity)" if metric == "cosine" else f"{metric} distance"
