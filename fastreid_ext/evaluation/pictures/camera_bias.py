"""Heat maps by pair of cameras: similarity of negatives and positives, and Rank-1."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fastreid_ext.evaluation.camera_bias import CameraBias
from fastreid_ext.evaluation.distances import Metric
from fastreid_ext.pictures.png import save_figure


def plot_camera_bias(
    bias: CameraBias,
    rank1: NDArray[np.float64],
    output: Path,
    *,
    name: str,
    metric: Metric = "cosine",
) -> Path:
    """Plot three heat maps, a row per camera of the queries, a column per camera of the gallery.

    Args:
        bias: similarities of a test set for A x C pairs of cameras.
        rank1: (A, C) Rank-1 in [0, 1] against the gallery of one camera; NaN leaves a cell empty.
        output: path of the PNG file to write.
        name: name of the data set, for the title.
        metric: distance that ranked the gallery, "cosine" or "euclidean".
    """
    rows, columns = bias.negatives.shape
    side = 0.46 if max(rows, columns) <= 8 else 0.36  # inches per cell
    width = max(3.2, side * columns + 1.1)
    height = max(2.2, side * rows + 0.9)
    figure = Figure(figsize=(3 * width, height + 1.1), layout="constrained")
    first, second, third = figure.subplots(1, 3)
    _heat_map(first, bias, bias.negatives, "two identities: mean similarity", ".2f", span=0.2)
    _heat_map(second, bias, bias.positives, "one identity: mean similarity", ".2f", span=0.2)
    title = f"Rank-1 (%), one camera's gallery, {metric}"
    _heat_map(third, bias, 100 * rank1, title, ".0f", span=20)
    first.set_ylabel("camera of the query")
    figure.suptitle(
        f"{name}: what the camera changes (cosine similarity)\n"
        f"the most similar negative is of the query's own camera for {_percent(bias.nearest_same)}"
        f" of the queries; by chance {_percent(bias.nearest_chance)}",
        fontsize=12,
    )
    return save_figure(figure, output)


def _heat_map(
    axes: Axes,
    bias: CameraBias,
    values: NDArray[np.float64],
    title: str,
    form: str,
    *,
    span: float,
) -> None:
    """Plot values with their numbers; colours cover a range of at least ``span``."""
    known = values[np.isfinite(values)]
    least, most = (known.min(), known.max()) if len(known) else (0.0, 0.0)
    beyond = max(0.0, span - (most - least)) / 2  # small differences must not look large
    image = axes.imshow(values, cmap="cividis", vmin=least - beyond, vmax=most + beyond)
    axes.set_title(title, fontsize=10.5)
    axes.set_xticks(range(len(bias.gallery_cameras)), bias.gallery_cameras)
    axes.set_yticks(range(len(bias.query_cameras)), bias.query_cameras)
    axes.set_xlabel("camera of the gallery")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    size = 8.5 if max(values.shape) <= 8 else 6
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            colour = "black" if image.norm(value) > 0.5 else "white"
            number = f"{value:{form}}".replace("-0.00", "0.00")
            axes.text(column, row, number, ha="center", va="center", fontsize=size, color=colour)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
