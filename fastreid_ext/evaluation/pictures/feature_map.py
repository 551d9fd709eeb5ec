"""Map of the features of some identities of a test set, on a plane (t-SNE).

van der Maaten and Hinton, "Visualizing Data using t-SNE", JMLR 2008. Distances between clusters and
sizes of clusters mean nothing in such a map; neighbourhoods do.
"""

from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from sklearn.manifold import TSNE
from torch.nn import functional as F

from fastreid_ext.evaluation.features import TestFeatures
from fastreid_ext.pictures.png import COLOURS, save_figure
from fastreid_ext.pictures.tiles import read_tile

_MARKERS = "os^DvPX*<>phdH8"
_MOST_IMAGES = 25  # of an identity, so that one with hundreds does not fill the map


def plot_feature_map(
    test: TestFeatures,
    output: Path,
    *,
    name: str,
    identities: int = 14,
    seed: int = 0,
    thumbnails: bool = False,
) -> Path:
    """Plot images as points that are close where their features are alike.

    An identity has a colour and its number as a label (colours repeat), a camera has a marker.

    Args:
        test: features of a test set with their labels.
        output: path of the PNG file to write.
        name: name of the data set, for the title.
        identities: number of identities, sampled from those seen by two cameras.
        seed: random seed of the sampled identities and of t-SNE.
        thumbnails: whether to show the images instead of markers.

    Raises:
        ValueError: no identity is seen by two cameras, or features are not finite.
    """
    test.expect_finite()
    rows = _sampled_rows(test, identities, seed)
    unit = F.normalize(test.features[torch.from_numpy(rows)], dim=1)
    places, perplexity = _plane(unit.numpy(), seed)
    pids = test.pids[rows]
    camids = test.camids[rows]
    figure = Figure(figsize=(8.5, 7), layout="constrained")
    axes = figure.subplots()
    if thumbnails:
        _plot_thumbnails(axes, places, pids, [test.paths[row] for row in rows])
    else:
        _plot_markers(axes, places, pids, camids)
    for pid in np.unique(pids):
        _label(axes, places[pids == pid], str(pid))
    axes.set(xticks=[], yticks=[])
    axes.margins(0.06)
    axes.set_title(
        f"{name}: {len(rows)} images of {len(np.unique(pids))} of {len(np.unique(test.pids))} "
        f"identities\nt-SNE of cosine distances, perplexity {perplexity:.0f}, seed {seed}",
        fontsize=12,
    )
    return save_figure(figure, output, dpi=160 if thumbnails else 120)


def _sampled_rows(test: TestFeatures, identities: int, seed: int) -> NDArray[np.int64]:
    rng = np.random.default_rng(seed)
    pids = np.unique(test.pids)
    seen_twice = [pid for pid in pids if len(np.unique(test.camids[test.pids == pid])) > 1]
    if not seen_twice:
        raise ValueError(
            "expected identities seen by two cameras, got none, so there is nothing to compare; "
            "check the identity and camera labels of query and gallery"
        )
    chosen = np.sort(rng.permutation(seen_twice)[:identities])
    return np.concatenate(
        [rng.permutation(np.flatnonzero(test.pids == pid))[:_MOST_IMAGES] for pid in chosen]
    )


def _plane(unit: NDArray[np.float32], seed: int) -> tuple[NDArray[np.float32], float]:
    """Compute places (N, 2) and the perplexity, which must be below the number of images."""
    perplexity = min(30.0, max(1.0, (len(unit) - 1) / 3))
    # Of unit vectors, squared Euclidean distances are twice the cosine distances.
    tsne = TSNE(perplexity=perplexity, random_state=seed, init="random", metric="euclidean")
    return tsne.fit_transform(unit), perplexity


def _plot_markers(
    axes: Axes, places: NDArray, pids: NDArray[np.int64], camids: NDArray[np.int64]
) -> None:
    colours = _colours(places, pids)
    cameras = np.unique(camids)
    for number, camera in enumerate(cameras):
        seen = camids == camera
        marker = _MARKERS[number % len(_MARKERS)]
        chosen = [colours[pid] for pid in pids[seen]]
        axes.scatter(*places[seen].T, s=44, c=chosen, marker=marker, lw=0.4, ec="white")
    handles = [
        Line2D([], [], ls="", color="0.35", marker=_MARKERS[k % len(_MARKERS)], label=str(camera))
        for k, camera in enumerate(cameras)
    ]
    axes.legend(
        handles=handles,
        title="camera",
        loc="upper left",
        bbox_to_anchor=(1, 1),
        frameon=False,
    )


def _plot_thumbnails(
    axes: Axes, places: NDArray, pids: NDArray[np.int64], paths: list[str]
) -> None:
    colours = _colours(places, pids)
    axes.scatter(*places.T, s=0)  # sets the limits
    for place, pid, path in zip(places, pids, paths, strict=True):
        picture = OffsetImage(read_tile(path), zoom=0.22)
        frame = {"edgecolor": colours[pid], "linewidth": 1.6}
        axes.add_artist(AnnotationBbox(picture, place, pad=0.05, bboxprops=frame))


def _label(axes: Axes, places: NDArray, label: str) -> None:
    """Write a label at the image nearest to the middle of an identity's images."""
    middle = np.median(places, axis=0)
    x, y = places[np.linalg.norm(places - middle, axis=1).argmin()]
    axes.annotate(
        label,
        (x, y),
        xytext=(0, 9),
        textcoords="offset points",
        ha="center",
        fontsize=10,
        fontweight="bold",
        zorder=9,
        path_effects=[withStroke(linewidth=2.5, foreground="white")],
    )


def _colours(places: NDArray, pids: NDArray[np.int64]) -> dict[int, str]:
    """Assign colours to identities from left to right, so that neighbours rarely share one."""
    middles = {pid: np.median(places[pids == pid][:, 0]) for pid in np.unique(pids)}
    order = sorted(middles, key=middles.__getitem__)
    return {pid: COLOURS[k % len(COLOURS)] for k, pid in enumerate(order)}
