"""Variants of an experiment as bars: mAP before and after fine-tuning."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from fastreid_ext.pictures.png import COLOURS, bare, save_figure
from projects.DiffusionReID.miniature.variant_table import VariantTable


def plot_variants(table: VariantTable, output: Path, *, title: str, metric: str = "mAP") -> Path:
    """Plot a bar for each variant, means over seeds; dots are the seeds.

    A pale bar is the pre-trained model before fine-tuning; colours are groups.

    Args:
        table: at most as many groups as there are colours.
        output: path of the PNG file.
        title: title line above the picture.
        metric: name of the percentages that are shown.

    Raises:
        ValueError: there are more groups than colours.
    """
    names = table.names()
    groups = list(dict.fromkeys(cell.group for cell in table.cells))
    if len(groups) > len(COLOURS):
        raise ValueError(f"expected at most {len(COLOURS)} groups, got {len(groups)}")
    figure = Figure(figsize=(8.2, 1.1 + 0.42 * len(names)), layout="constrained")
    axes = figure.subplots()
    for place, name in enumerate(names):
        colour = COLOURS[groups.index(table.of(name)[0].group)]
        for stage, offset, height, alpha in (("tuned", 0.0, 0.7, 0.9), ("pretrained", 0.2, 0.3, 0)):
            summary = table.summary(name, stage, metric)
            if summary is None:
                continue
            face = colour if alpha else "white"
            axes.barh(place + offset, summary.mean, height, color=face, alpha=alpha or 0.55)
        values = [cell.tuned[metric] for cell in table.of(name)]
        places = place - 0.1 + np.linspace(-0.1, 0.1, len(values))
        axes.plot(values, places, "o", ms=3, color="black", alpha=0.7)
        axes.annotate(
            str(table.summary(name, "tuned", metric)),
            (max(values), place),
            (6, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, axes.get_xlim()[1] * 1.12)
    axes.set_xlabel(f"{metric}, %; pale stripe: before fine-tuning; dots: seeds", fontsize=9)
    axes.set_title(title, fontsize=10)
    bare(axes)
    return save_figure(figure, output)
