"""Plot of the training curves of a run."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from fastreid_ext.evaluation.ranking import column_title
from fastreid_ext.pictures.png import COLOURS, bare, save_figure

_TESTED = ("Rank-1", "mAP", "mINP")
_WIDE = 30  # times between the medians of two losses, from which on their axis is logarithmic


def plot_training(metrics_file: Path, output: Path) -> Path:
    """Plot the losses and the test metrics of a run over its iterations.

    The axis of the losses is logarithmic where one is more than 30 times another, such as
    DCAC's contrast to prototypes and its denoising loss.

    Args:
        metrics_file: ``metrics.json`` of a run, with one JSON object per line.
        output: path of the PNG file to write.

    Raises:
        FileNotFoundError: the metrics file is missing.
        ValueError: a line is not JSON, or no line has a loss.
    """
    rows = read_metrics(metrics_file)
    losses = sorted({key for row in rows for key in row if "loss" in key})
    tested = sorted({key for row in rows for key in row if key.split("/")[-1] in _TESTED})
    if not losses:
        raise ValueError(
            f"{metrics_file}: expected lines with losses, got {len(rows)} lines without; "
            "is it the metrics.json of a training run?"
        )
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes in (left, right):
        axes.set_prop_cycle(color=COLOURS)
    for key in losses:
        left.plot(*_series(rows, key), label=key, lw=2.2 if key == "total_loss" else 1.2)
    left.set(xlabel="iteration", ylabel="loss (median of 20 iterations)", title="Training")
    left.legend(frameon=False)
    if _differ_widely(rows, losses):
        left.set_yscale("log")
        left.yaxis.set_major_formatter("{x:g}")
    else:
        left.set_ylim(bottom=0)
    for key in tested:
        right.plot(*_series(rows, key), "o-", ms=4, label=column_title(key))
    right.set(xlabel="iteration", ylabel="%", title="Test identities", ylim=(0, 100))
    if tested:
        right.legend(frameon=False)
    else:
        right.text(0.5, 0.5, "not evaluated yet", transform=right.transAxes, ha="center")
    for axes in (left, right):
        bare(axes)
    return save_figure(figure, output)


def read_metrics(metrics_file: Path) -> list[dict[str, float]]:
    """Read the lines of a run's ``metrics.json``.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: a line is not JSON.
    """
    if not metrics_file.is_file():
        raise FileNotFoundError(f"no metrics at {metrics_file}; expected the OUTPUT_DIR of a run")
    rows = []
    for number, line in enumerate(metrics_file.read_text().splitlines(), 1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{metrics_file}:{number}: not JSON ({error}); remove the line"
            ) from None
    return rows


def _differ_widely(rows: Sequence[Mapping[str, float]], losses: Sequence[str]) -> bool:
    """Tell whether a loss would lie flat on the axis below another; zeros have no logarithm."""
    values = [np.array(_series(rows, key)[1]) for key in losses]
    medians = [np.median(series) for series in values]
    is_positive = all((series > 0).all() for series in values)
    return is_positive and max(medians) > _WIDE * min(medians)


def _series(rows: Sequence[Mapping[str, float]], key: str) -> tuple[list[float], list[float]]:
    points = [(row["iteration"], row[key]) for row in rows if key in row]
    return [x for x, _ in points], [y for _, y in points]
