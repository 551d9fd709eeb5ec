"""Picture of the gates of batch-instance normalisation: where a network keeps which statistics."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from fastreid_ext.pictures.png import BLUE, SKY, bare, save_figure

_SUFFIX = ".gate"


def plot_gates(weights: dict[str, Tensor], output: Path, *, title: str = "") -> Path:
    """Plot the mean gate of each layer, and the middle half of its gates.

    Args:
        weights: tensors of a checkpoint by their names, in the order of the layers.
        output: path of the PNG file to write.
        title: words above the plot.

    Raises:
        ValueError: the weights have no gates.
    """
    gates = {
        name.removesuffix(_SUFFIX): value.float().numpy()
        for name, value in weights.items()
        if name.endswith(_SUFFIX)
    }
    if not gates:
        raise ValueError(
            "expected weights with gates of batch-instance normalisation, got none; give a "
            "checkpoint of a run with MODEL.BIN.ENABLED True"
        )
    places = np.arange(len(gates))
    means = [values.mean() for values in gates.values()]
    low, high = np.array([np.quantile(values, [0.25, 0.75]) for values in gates.values()]).T
    figure = Figure(figsize=(max(6, 0.17 * len(gates) + 2), 4.2), layout="constrained")
    axes = figure.subplots()
    axes.fill_between(places, low, high, color=SKY, alpha=0.4, lw=0, label="middle half of gates")
    axes.plot(places, means, "o-", ms=3, color=BLUE, label="mean")
    names = [name.removeprefix("backbone.") for name in gates]
    axes.set_xticks(places, names, rotation=90, fontsize=6)
    axes.set(ylim=(-0.02, 1.02), xlim=(-0.5, len(gates) - 0.5), title=title)
    axes.set_ylabel("gate: 1 batch, 0 instance statistics")
    axes.legend(frameon=False, loc="lower right")
    bare(axes)
    return save_figure(figure, output)
