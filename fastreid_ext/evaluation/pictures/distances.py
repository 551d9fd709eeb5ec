"""Histograms of the distances of positive and negative pairs."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fastreid_ext.evaluation.pair_distances import (
    NEGATIVE,
    POSITIVE,
    SAME_CAMERA,
    PairHistograms,
)
from fastreid_ext.pictures.png import BLUE, ORANGE, bare, save_figure

_BINS = 80


def draw_distances(histograms: PairHistograms, output: Path, *, name: str) -> Path:
    """Draw which distances positive and negative pairs have; each kind sums to 100 %.

    Args:
        histograms: of a test set.
        output: PNG to write.
        name: the data set, for the title.
    """
    rate, threshold = histograms.equal_error_rate()
    coarse = histograms.coarse(_BINS)
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    axes = figure.subplots()
    _stairs(axes, coarse, NEGATIVE, "two persons", color=ORANGE, fill=True, alpha=0.75)
    _stairs(axes, coarse, POSITIVE, "one person, two cameras", color=BLUE, fill=True, alpha=0.65)
    _stairs(
        axes,
        coarse,
        SAME_CAMERA,
        "one person, one camera (not evaluated)",
        color="black",
        lw=1.3,
        ls="--",
    )
    axes.axvline(threshold, color="0.25", lw=1)
    top = axes.get_ylim()[1]
    axes.set_ylim(0, 1.1 * top)
    axes.text(threshold, 1.04 * top, f" {threshold:.2f}", color="0.25", fontsize=9)
    axes.set(
        xlabel=f"{histograms.metric} distance" + " (1 - similarity)" * _is_cosine(histograms),
        ylabel="% of the pairs of a kind",
    )
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


def _is_cosine(histograms: PairHistograms) -> bool:
    return histograms.metric == "cosine"
