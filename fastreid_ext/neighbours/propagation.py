"""Propagation of labels over a graph of a few images, or of a few groups of images.

Nodes are linked where both are among the nearest of each other and similar enough. A label spreads
over the links from its node; how much of it arrives says whether two nodes belong together.

Letters: n nodes, D feature dimension, k nearest nodes, P parts.

[0] Zheng et al., "Online Pseudo Label Generation by Hierarchical Cluster Dynamics for Adaptive
    Person Re-identification" (HCD), ICCV 2021
[1] its code, https://github.com/tangshixiang/HCD
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
ALPHA = 0.99  # share of a label that is passed on, in the code [1]
_NEAREST = 30  # nodes that may be linked when a group is split
_FEW = 0.4  # similarities of a density peak to the next denser node, from and to
_MANY = 0.8


def affinities(
    cosines: Floats, *, nearest: int, floor: float = -np.inf, points: Floats | None = None
) -> Floats:
    """Compute the links between nodes, normalised by the square roots of their sums.

    A link has the weight exp(-(2 - 2 cos)) before it is normalised. A node counts among its own
    nearest and its own sum, but is not linked with itself.

    Example:
        >>> affinities(np.array([[1.0, 0.9], [0.9, 1.0]]), nearest=2).round(4).tolist()
        [[0.0, 0.4502], [0.4502, 0.0]]

    Args:
        cosines: (n, n) similarities of the nodes, symmetric.
        nearest: number k of nearest nodes, of which two linked nodes must be of each other.
        floor: similarity above which nodes are linked.
        points: (n, n) similarities that decide which nodes are linked; None = ``cosines``.

    Returns:
        (n, n) symmetric weights with a diagonal of 0.
    """
    deciding = cosines if points is None else points
    order = np.argsort(-deciding, axis=1, kind="stable")[:, :nearest]
    among = np.zeros(cosines.shape, bool)
    np.put_along_axis(among, order, True, axis=1)
    weights = np.where(among & among.T & (deciding > floor), np.exp(2 * cosines - 2), 0)
    np.fill_diagonal(weights, 1)
    sums = weights.sum(axis=1)
    weights = weights / np.sqrt(sums[:, None] * sums[None, :])
    np.fill_diagonal(weights, 0)
    return weights


def propagated(weights: Floats, alpha: float = ALPHA) -> Floats:
    """Let a label of each node spread over the links until nothing changes.

    Args:
        weights: (n, n) links, see :func:`affinities`.
        alpha: share in [0, 1) of a label that a node passes on.

    Returns:
        (n, n): how much of the label of the column's node arrives at the row's.
    """
    return np.linalg.inv(np.eye(len(weights)) - alpha * weights)


def scores_of_first(weights: Floats, alpha: float = ALPHA) -> Floats:
    """Compute how much of each node's label arrives at the first node.

    Example:
        >>> links = affinities(np.array([[1.0, 0.9], [0.9, 1.0]]), nearest=2)
        >>> scores_of_first(links, alpha=0.5).round(4).tolist()
        [0.0, 0.2371]

    Args:
        weights: (n, n) links, see :func:`affinities`.
        alpha: share in [0, 1) of a label that a node passes on.

    Returns:
        (n,) scores; 0 for the first node, which has no label of its own.
    """
    scores = propagated(weights, alpha)[0]
    scores[0] = 0
    return scores


def farthest_nodes(cosines: Floats, count: int) -> list[int]:
    """Choose nodes far from each other: the first, then the least similar to all chosen ones.

    Example:
        >>> farthest_nodes(np.array([[1, 0.9, 0.1], [0.9, 1, 0.2], [0.1, 0.2, 1]]), 2)
        [0, 2]

    Args:
        cosines: (n, n) similarities of the nodes.
        count: number of nodes to choose; none are chosen of fewer than one more.
    """
    if len(cosines) <= count:
        return []
    chosen = [0]
    closest = cosines[0].copy()
    for _ in range(count - 1):
        closest[chosen[-1]] = np.inf
        chosen.append(int(closest.argmin()))
        closest = np.maximum(closest, cosines[chosen[-1]])
    return chosen


def density_peaks(cosines: Floats, count: int) -> list[int]:
    """Choose nodes of high density whose next denser node is neither close nor far.

    The density of a node is the sum of its similarities to the others. The densest node is always
    chosen; others if their similarity to the most similar denser node is between 0.4 and 0.8, the
    highest first.

    Args:
        cosines: (n, n) similarities of the nodes.
        count: maximum number of chosen nodes.
    """
    density = cosines.sum(axis=1) - 1
    denser = density[None, :] > density[:, None]
    # Of equally dense nodes the first counts as denser.
    ties = density[None, :] == density[:, None]
    denser |= np.tril(ties, k=-1)
    height = np.where(denser, cosines, -np.inf).max(axis=1)
    top = int(np.flatnonzero(~denser.any(axis=1))[0])
    others = np.flatnonzero((height > _FEW) & (height < _MANY))
    ranked = others[np.argsort(-height[others], kind="stable")]
    return [top, *(int(node) for node in ranked if node != top)][:count]


ANCHORS: dict[str, Callable[[Floats, int], list[int]]] = {
    "farthest": farthest_nodes,
    "density": density_peaks,
}


def parts_of(features: Floats, *, anchors: str, parts: int) -> NDArray[np.int64] | None:
    """Split a group: the labels of a few anchors spread over all its nodes.

    Args:
        features: (n, D) features of the nodes, of any length.
        anchors: rule that chooses the anchors, one of :data:`ANCHORS`.
        parts: maximum number P of parts.

    Returns:
        (n,) part of each node, and None where fewer than two anchors are found.
    """
    cosines = features @ features.T
    chosen = ANCHORS[anchors](cosines, parts)
    if len(chosen) < 2:
        return None
    arrived = propagated(affinities(cosines, nearest=_NEAREST))[:, chosen]
    return arrived.argmax(axis=1)
