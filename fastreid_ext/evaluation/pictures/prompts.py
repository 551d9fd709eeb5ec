"""Heat maps of identities: how similar they look, and how similar their prompts are."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fastreid_ext.evaluation.identity_prompts import PromptSimilarity
from fastreid_ext.pictures.png import BLUE, bare, save_figure

_GROUPS = 10  # of pairs, in the third panel
_INCHES = 3.6  # side of a panel
_DIAGONAL = "0.85"  # grey of what is not compared


def plot_prompts(similarities: Mapping[str, PromptSimilarity], output: Path) -> Path:
    """Plot a row for each run: looks, prompts, and prompts against looks.

    The two heat maps have the same order of identities, so prompts that follow looks show the same
    blocks. Colours go from the 1st to the 99th percentile of each matrix; its diagonal is left out.
    The third panel divides all pairs of identities into ten equal groups by their looks.

    Args:
        similarities: similarities of prompts and prototypes by name of the run.
        output: path of the PNG file to write.
    """
    size = (3 * _INCHES + 2.2, (_INCHES + 0.5) * len(similarities) + 0.3)
    figure = Figure(figsize=size, layout="constrained")
    rows = figure.subfigures(len(similarities), 1, squeeze=False)[:, 0]
    for row, (name, similarity) in zip(rows, similarities.items(), strict=True):
        looks, prompts, groups = row.subplots(1, 3)
        _heat_map(looks, similarity.looks, "prototypes: what identities look like")
        _heat_map(prompts, similarity.prompts, "prompts, in the same order")
        _groups(groups, similarity)
        looks.set_ylabel(f"{len(similarity.order)} identities")
        test = similarity.test
        row.suptitle(
            f"{name}: Spearman correlation {test.correlation:.3f}, p = {test.p_value:.2g} "
            f"(Mantel test, {test.permutations} permutations)",
            fontsize=11,
        )
    return save_figure(figure, output)


def grouped_pairs(similarity: PromptSimilarity) -> NDArray[np.float64]:
    """Average looks and prompts over ten equal groups of pairs, sorted by looks.

    Returns:
        (G, 2) mean cosine similarity of prototypes and of prompts; G is 10, or the number of pairs
        if there are fewer.
    """
    pairs = np.triu_indices(len(similarity.looks), k=1)
    looks = similarity.looks[pairs]
    prompts = similarity.prompts[pairs]
    order = np.argsort(looks, kind="stable")
    groups = np.array_split(order, min(_GROUPS, len(order)))
    return np.array([(looks[group].mean(), prompts[group].mean()) for group in groups])


def _heat_map(axes: Axes, values: NDArray[np.float64], title: str) -> None:
    others = values[~np.eye(len(values), dtype=bool)]
    low, high = np.percentile(others, (1, 99))
    shown = values.copy()
    np.fill_diagonal(shown, np.nan)
    colours = matplotlib.colormaps["cividis"].with_extremes(bad=_DIAGONAL)
    image = axes.imshow(shown, cmap=colours, vmin=low, vmax=high, interpolation="nearest")
    axes.set_title(title, fontsize=10)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    bar = axes.figure.colorbar(image, ax=axes, shrink=0.85, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8)


def _groups(axes: Axes, similarity: PromptSimilarity) -> None:
    means = grouped_pairs(similarity)
    axes.plot(*means.T, "o-", ms=5, color=BLUE)
    pairs = similarity.prompts[np.triu_indices(len(similarity.prompts), k=1)]
    low, high = axes.get_ylim()
    # At least one deviation of single pairs to each side: noise must not look like a trend.
    axes.set_ylim(min(low, pairs.mean() - pairs.std()), max(high, pairs.mean() + pairs.std()))
    axes.set_title(f"pairs of identities in {len(means)} groups by looks", fontsize=10)
    axes.set(xlabel="mean similarity of prototypes", ylabel="mean similarity of prompts")
    axes.tick_params(labelsize=8)
    axes.set_box_aspect(1)
    bare(axes)
