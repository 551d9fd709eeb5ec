"""Pictures of the clusters of a run without labels: curves, images of clusters, cameras.

Letters: N images, C clusters, K cameras.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fastreid_ext.evaluation.cluster_file import ClusteredImages
from fastreid_ext.evaluation.pictures.training import read_metrics
from fastreid_ext.pictures.png import BLUE, GREEN, ORANGE, VERMILION, bare, save_figure, save_pixels
from fastreid_ext.pictures.tiles import (
    FRAME,
    GAP,
    TILE,
    blank,
    evenly,
    framed,
    joined,
    page,
    read_tile,
    text,
)

_OWN = (0, 114, 178)  # blue, RGB
_OTHER = (230, 159, 0)  # orange
_NAME_WIDTH = 150  # pixels


def plot_cluster_curves(metrics_file: Path, output: Path, *, identities: int | None = None) -> Path:
    """Plot clusters and noise before each epoch, and how well clusters agree with identities.

    Args:
        metrics_file: ``metrics.json`` of a run with clusters.
        output: path of the PNG file to write.
        identities: true number of identities, a dashed line; None = not known.

    Raises:
        FileNotFoundError: the metrics file is missing.
        ValueError: a line is not JSON, or none has clusters.
    """
    rows = read_metrics(metrics_file)
    rows = [row for row in rows if "clusters/clusters" in row]
    if not rows:
        raise ValueError(
            f"{metrics_file}: expected lines with clusters, got none; is it the metrics.json of a "
            "run with UNSUPERVISED.ENABLED True?"
        )
    epochs = range(len(rows))  # each has one line with the figures of its clusters

    def series(name: str) -> list[float]:
        return [row.get(f"clusters/{name}", np.nan) for row in rows]

    has_scores = np.isfinite(series("ari")).any()
    figure = Figure(figsize=(12 if has_scores else 8, 3.6), layout="constrained")
    panels = figure.subplots(1, 3 if has_scores else 2)
    panels[0].plot(epochs, series("clusters"), "o-", ms=4, color=BLUE)
    if identities is not None:
        panels[0].axhline(identities, ls="--", color="0.4", lw=1, label=f"{identities} identities")
        panels[0].legend(frameon=False, loc="lower right")
    panels[0].set(title="Clusters", ylim=(0, None))
    panels[1].plot(epochs, 100 * np.array(series("noise_share")), "o-", ms=4, color=VERMILION)
    panels[1].set(title="Images left out as noise (%)", ylim=(0, 100))
    if has_scores:
        panels[2].plot(epochs, series("ari"), "o-", ms=4, color=GREEN, label="ARI")
        panels[2].plot(epochs, series("nmi"), "o-", ms=4, color=ORANGE, label="NMI")
        panels[2].set(title="Agreement with the identities", ylim=(min(0, *series("ari")), 1))
        panels[2].legend(frameon=False)
    for axes in panels:
        axes.set_xlabel("epoch, before its first step")
        axes.xaxis.get_major_locator().set_params(integer=True)
        bare(axes)
    return save_figure(figure, output)


def plot_cluster_sheet(
    images: ClusteredImages, output: Path, *, rows: int = 4, columns: int = 10
) -> Path:
    """Show images of clusters: pure, mixed and split ones where identities are known.

    A pure cluster has images of one identity; a mixed one of several, framed orange where they are
    not of the most frequent one; of a split identity the images of its two largest clusters are
    shown side by side. Without identities the clusters are spread evenly over the sizes.

    Args:
        images: clusters, as :func:`~fastreid_ext.evaluation.cluster_file.read_clusters` reads them.
        output: path of the PNG file to write.
        rows: number of clusters of each kind.
        columns: number of images of a cluster.
    """
    if images.identities is None:
        sizes = np.bincount(images.clusters[images.clusters >= 0])
        largest_first = np.argsort(-sizes, kind="stable").tolist()
        lines = [
            _cluster_row(images, cluster, columns) for cluster in evenly(largest_first, 3 * rows)
        ]
        title = [f"{len(sizes)} clusters, from the largest to the smallest"]
        return save_pixels(page(lines, title), output)
    kinds = kinds_of_clusters(images.clusters, images.identities)
    shown: list = []
    for name, members in (("pure", kinds.pure), ("mixed", kinds.mixed)):
        shown.append(_heading(f"{name}: {len(members)} clusters", columns))
        shown += [_cluster_row(images, cluster, columns) for cluster in evenly(members, rows)]
    shown.append(_heading(f"split: {len(kinds.split)} identities in several clusters", columns))
    shown += [_split_row(images, identity, columns) for identity in evenly(kinds.split, rows)]
    title = ["Frames: orange = not the cluster's most frequent identity (split: second cluster)"]
    return save_pixels(page(shown, title), output)


class ClusterKinds(NamedTuple):
    """Clusters and identities by how they agree.

    Attributes:
        pure: clusters with images of one identity only, the largest first.
        mixed: clusters with images of several identities, the most mixed first.
        split: identities whose images are in several clusters, the most split first.
    """

    pure: list[int]
    mixed: list[int]
    split: list[int]


def kinds_of_clusters(
    clusters: NDArray[np.integer], identities: NDArray[np.integer]
) -> ClusterKinds:
    """Sort clusters and identities by how they agree; noise does not count.

    Example:
        >>> kinds_of_clusters(np.array([0, 0, 1, 1, 2]), np.array([5, 5, 5, 6, 7]))
        ClusterKinds(pure=[0, 2], mixed=[1], split=[5])

    Args:
        clusters: (N,) clusters 0 .. C-1, -1 for noise.
        identities: (N,) true identities counted from 0.
    """
    kept = clusters >= 0
    pairs, counts = np.unique(
        np.stack([clusters[kept], identities[kept]]), axis=1, return_counts=True
    )
    sizes = np.bincount(clusters[kept])
    most = np.zeros(len(sizes), np.int64)
    np.maximum.at(most, pairs[0], counts)
    foreign = sizes - most  # images of the cluster that are not of its most frequent identity
    homes = np.bincount(pairs[1])  # clusters of each identity
    return ClusterKinds(
        pure=[int(c) for c in np.argsort(-sizes, kind="stable") if foreign[c] == 0],
        mixed=[int(c) for c in np.argsort(-foreign, kind="stable") if foreign[c] > 0],
        split=[int(i) for i in np.argsort(-homes, kind="stable") if homes[i] > 1],
    )


def _heading(line: str, columns: int) -> NDArray[np.uint8]:
    width = _NAME_WIDTH + columns * (GAP + TILE[1] + 2 * FRAME)
    return text(line, width, size=13, align="left")


def _cluster_row(images: ClusteredImages, cluster: int, columns: int) -> NDArray[np.uint8]:
    members = np.flatnonzero(images.clusters == cluster)
    is_main = np.ones(len(members), bool)
    note = f"{len(np.unique(images.cameras[members]))} cameras"
    if images.identities is not None:
        values, counts = np.unique(images.identities[members], return_counts=True)
        is_main = images.identities[members] == values[counts.argmax()]
        note = f"{len(values)} {'identity' if len(values) == 1 else 'identities'}"
    order = np.argsort(~is_main, kind="stable").tolist()
    shown = evenly(order, columns)
    label = [f"cluster {cluster}", f"{len(members)} images", note]
    return _row(images, label, members[shown], is_main[shown], columns)


def _split_row(images: ClusteredImages, identity: int, columns: int) -> NDArray[np.uint8]:
    members = np.flatnonzero((images.identities == identity) & (images.clusters >= 0))
    clusters = images.clusters[members]
    values, counts = np.unique(clusters, return_counts=True)
    first, second = values[np.argsort(-counts, kind="stable")][:2]
    half = columns // 2
    shown = evenly(members[clusters == first].tolist(), columns - half)
    is_first = np.arange(columns) < len(shown)
    shown += evenly(members[clusters == second].tolist(), half)
    label = [f"identity {identity}", f"{len(members)} images", f"{len(values)} clusters"]
    return _row(images, label, shown, is_first, columns)


def _row(
    images: ClusteredImages,
    label: Sequence[str],
    shown: Sequence[int],
    is_own: Sequence[bool],
    columns: int,
) -> NDArray[np.uint8]:
    """Join a name of three lines and framed images, with white where there are none."""
    tiles = [
        framed(read_tile(images.paths[image]), _OWN if own else _OTHER)
        for image, own in zip(shown, is_own, strict=False)
    ]
    height, width = tiles[0].shape[:2]
    tiles += [blank(height, width)] * (columns - len(tiles))
    name = blank(height, _NAME_WIDTH)
    lines = joined([text(line, _NAME_WIDTH, align="left") for line in label], axis=0, gap=0)
    name[: len(lines)] = lines
    return joined([name, *tiles], axis=1)


def plot_camera_mix(images: ClusteredImages, output: Path) -> Path:
    """Plot how clusters mix cameras, beside what images regardless of cameras would give.

    Left: share of the pairs within clusters that are of two given cameras, divided by the share of
    such pairs among all clustered images; below 1 off the diagonal, clusters follow cameras.
    Middle: number of clusters by number of cameras. Right: noise of each camera.

    Args:
        images: clusters, as :func:`~fastreid_ext.evaluation.cluster_file.read_clusters` reads them.
        output: path of the PNG file to write.
    """
    names = images.camera_names
    figure = Figure(figsize=(13, 4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    _plot_ratios(left, camera_pair_ratios(images), names)
    kept = images.clusters >= 0
    pairs = np.unique(np.stack([images.clusters[kept], images.cameras[kept]]), axis=1)
    cameras = np.bincount(np.bincount(pairs[0]), minlength=len(names) + 1)[1:]
    middle.bar(range(1, len(cameras) + 1), cameras, color=BLUE)
    middle.set(title="Clusters by their number of cameras", xlabel="cameras", ylabel="clusters")
    middle.xaxis.get_major_locator().set_params(integer=True)
    noise = [
        100 * float((images.clusters[images.cameras == c] < 0).mean()) for c in range(len(names))
    ]
    right.bar(range(len(names)), noise, color=VERMILION)
    right.set(title="Images left out as noise (%)", xlabel="camera", ylim=(0, 100))
    right.set_xticks(range(len(names)), [name.split("_")[-1] for name in names])
    for axes in (middle, right):
        bare(axes)
    return save_figure(figure, output)


def camera_pair_ratios(images: ClusteredImages) -> NDArray[np.float64]:
    """Compute for each pair of cameras how much more often clusters pair them than chance would.

    Args:
        images: clusters of N images of K cameras.

    Returns:
        (K, K) ratios, 1 = as often as among all pairs of clustered images; NaN where there are no
        such pairs.
    """
    kept = images.clusters >= 0
    clusters = images.clusters[kept]
    count = len(images.camera_names)
    table = np.zeros((int(clusters.max(initial=-1)) + 1, count))
    np.add.at(table, (clusters, images.cameras[kept]), 1)
    within = _pairs(table).sum(axis=0)
    chance = _pairs(table.sum(axis=0)[None])[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        return (within / within.sum()) / (chance / chance.sum())


def _pairs(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Count the ordered pairs of different images (C, K, K) of each row of counts (C, K)."""
    pairs = table[:, :, None] * table[:, None, :]
    same = np.arange(table.shape[1])
    pairs[:, same, same] -= table
    return pairs


def _plot_ratios(axes: Axes, ratios: NDArray[np.float64], names: Sequence[str]) -> None:
    most = max(2.0, float(np.nanmax(ratios, initial=0)))
    image = axes.imshow(ratios, cmap="cividis", vmin=0, vmax=most)
    short = [name.split("_")[-1] for name in names]
    axes.set_xticks(range(len(names)), short)
    axes.set_yticks(range(len(names)), short)
    axes.set(title="Pairs of cameras within clusters, times chance", xlabel="camera")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for (row, column), value in np.ndenumerate(ratios):
        if np.isfinite(value):
            colour = "black" if image.norm(value) > 0.5 else "white"
            axes.text(column, row, f"{value:.1f}", ha="center", va="center", color=colour, size=9)
