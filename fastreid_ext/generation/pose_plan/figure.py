"""Plot the viewpoints and poses of a set before and after a plan: figure 3 of the paper."""

from pathlib import Path

import numpy as np
from fastreid.config import CfgNode
from matplotlib.figure import Figure
from sklearn.manifold import TSNE

from fastreid_ext.generation.pose_guided.training_images import training_images
from fastreid_ext.generation.pose_plan.distribution import (
    PosesAndViews,
    pose_divergence,
    pose_features,
    view_divergence,
)
from fastreid_ext.generation.pose_plan.plan import (
    Plan,
    cells_of,
    clusters_of,
    poses_and_views,
    poses_to_choose,
)
from fastreid_ext.pictures.png import COLOURS, save_figure

_MOST_POINTS = 1500  # of each kind, for t-SNE
_PERPLEXITY = 30


def plot_distribution(cfg: CfgNode, plan: Plan, output: Path) -> dict[str, tuple[float, float]]:
    """Plot viewpoints (polar) and poses (t-SNE) of a set: before, added, after.

    Args:
        cfg: configuration of the plan.
        plan: plan of the images that are added.
        output: PNG file to write.

    Returns:
        Divergence of views and of poses from uniform, in nats, of "before", "added" and "after".
    """
    added = plan.added
    parts = {"before": plan.of_set, "added": added, "after": plan.of_set.joined(added)}
    shown = {"before": ["before"], "added": ["added"], "after": ["before", "added"]}
    return _plot(cfg, parts, shown, np.stack(list(plan.poses.values())), output)


def plot_set(cfg: CfgNode, output: Path) -> tuple[float, float]:
    """Plot viewpoints and poses of a set as it is; no plan is needed or made.

    Returns:
        Divergence of views and of poses from uniform, in nats, equal to those of "before" in
        :func:`plot_distribution`.
    """
    of_set = poses_and_views(training_images(cfg))
    bank = np.stack([pose.pose for pose in poses_to_choose(cfg, of_set)])
    return _plot(cfg, {"set": of_set}, {"set": ["set"]}, bank, output)["set"]


def _plot(
    cfg: CfgNode,
    parts: dict[str, PosesAndViews],
    shown: dict[str, list[str]],
    bank: np.ndarray,
    output: Path,
) -> dict[str, tuple[float, float]]:
    """Plot a column for each entry of ``shown``, which names the parts that it has points of."""
    cells = cells_of(cfg)
    clusters = clusters_of(cfg, next(iter(parts.values())).poses, bank)
    found = {
        name: (view_divergence(part, cells), pose_divergence(part, clusters))
        for name, part in parts.items()
    }
    kinds = list(dict.fromkeys(kind for own in shown.values() for kind in own))
    chosen = {kind: _some(parts[kind], cfg.SEED) for kind in kinds}
    places = dict(zip(kinds, _places(list(chosen.values()), max(cfg.SEED, 0)), strict=True))
    limits = np.abs(np.concatenate(list(places.values()))).max() * 1.05
    columns = len(shown)
    figure = Figure(figsize=(max(4.6, 3.7 * columns), 7.4), layout="constrained")
    for column, (name, own) in enumerate(shown.items()):
        polar = figure.add_subplot(2, columns, column + 1, projection="polar")
        flat = figure.add_subplot(2, columns, columns + column + 1)
        for kind in own:
            colour = COLOURS[kinds.index(kind)]
            one = chosen[kind]
            angle = np.radians(one.azimuth_deg)
            polar.scatter(angle, one.elevation_deg, s=5, color=colour, alpha=0.5, label=kind)
            at = places[kind]
            flat.scatter(at[:, 0], at[:, 1], s=5, color=colour, alpha=0.5, label=kind)
        _polar_axes(polar, list(parts.values())[-1])
        polar.set_title(f"{name}: views, {found[name][0]:.2f} nats from uniform", fontsize=10)
        flat.set_title(f"{name}: poses, {found[name][1]:.2f} nats from uniform", fontsize=10)
        flat.set_xlim(-limits, limits)
        flat.set_ylim(-limits, limits)
        flat.set_xticks([])
        flat.set_yticks([])
        flat.legend(loc="upper right", fontsize=8, frameon=False)
    save_figure(figure, output)
    return found


def _polar_axes(axes, views: PosesAndViews) -> None:  # noqa: ANN001 (matplotlib's class is private)
    """Put the front of the body at the bottom, and the horizon in the middle."""
    axes.set_theta_zero_location("S")
    axes.set_theta_direction(1)
    axes.set_xticks(np.radians([0, 90, 180, 270]), ["front", "left", "back", "right"], fontsize=8)
    low = min(0.0, float(np.percentile(views.elevation_deg, 1)))
    axes.set_rlim(low, max(30.0, float(np.percentile(views.elevation_deg, 99))))
    axes.tick_params(axis="y", labelsize=7)


def _some(part: PosesAndViews, seed: int) -> PosesAndViews:
    rng = np.random.default_rng(max(seed, 0))
    rows = np.sort(rng.permutation(len(part))[:_MOST_POINTS])
    return PosesAndViews(part.poses[rows], part.azimuth_deg[rows], part.elevation_deg[rows])


def _places(parts: list[PosesAndViews], seed: int) -> list[np.ndarray]:
    """Embed the poses of all parts in one plane; equal poses are moved apart a little."""
    features = np.concatenate([pose_features(part.poses) for part in parts])
    rng = np.random.default_rng(seed)
    features += rng.normal(0, 1e-3, features.shape)
    perplexity = min(_PERPLEXITY, max(1, (len(features) - 1) // 3))
    plane = TSNE(2, perplexity=perplexity, random_state=seed, init="pca").fit_transform(features)
    plane -= plane.mean(axis=0)
    return np.split(plane, np.cumsum([len(part) for part in parts])[:-1])
