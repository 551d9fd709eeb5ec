"""Reliability of clusters: which of them stay nearly the same at a smaller and at a larger eps.

[0] Ge et al., "Self-paced Contrastive Learning with Hybrid Memory for Domain Adaptive Object
    Re-ID", NeurIPS 2020, https://arxiv.org/abs/2006.02713, section 3.3
"""

import numpy as np
from numpy.typing import NDArray


def noise_apart(labels: NDArray[np.integer]) -> NDArray[np.int64]:
    """Make a cluster of its own of each noise image.

    Example:
        >>> noise_apart(np.array([0, -1, 0, -1]))
        array([0, 1, 0, 2])

    Args:
        labels: (N,) clusters 0 .. C-1, -1 for noise.

    Returns:
        (N,) the same clusters, and C, C+1, ... for the noise images in their order.
    """
    groups = labels.astype(np.int64)
    noise = np.flatnonzero(labels < 0)
    groups[noise] = int(labels.max(initial=-1)) + 1 + np.arange(len(noise))
    return groups


def disagreement(labels: NDArray[np.integer], others: NDArray[np.integer]) -> NDArray[np.float64]:
    """Compare the cluster of each image in two clusterings: 1 - intersection over union.

    With the clusters of a smaller eps this is 0 for a compact cluster, with those of a larger eps
    for an independent one; the scores of [0] are 1 minus it.

    Example:
        >>> disagreement(np.array([0, 0, 0, 1]), np.array([0, 0, 0, 0]))
        array([0.25, 0.25, 0.25, 0.75])

    Args:
        labels: (N,) clusters 0 .. C-1; each noise image, -1, is a cluster of its own.
        others: (N,) the same of another clustering of the images.

    Returns:
        (N,) in [0, 1); 0 = both clusterings have exactly this cluster.
    """
    first = noise_apart(labels)
    second = noise_apart(others)
    pairs, kind, shared = np.unique(
        np.stack([first, second]), axis=1, return_inverse=True, return_counts=True
    )
    union = np.bincount(first)[pairs[0]] + np.bincount(second)[pairs[1]] - shared
    return (1 - shared / union)[kind.reshape(-1)]


def independence_limit(
    labels: NDArray[np.integer], to_loose: NDArray[np.float64], share: float = 0.9
) -> float:
    """Find the disagreement with the loose clusters below which most clusters lie.

    Example:
        >>> labels = np.array([0, 0, 1, 1, -1])
        >>> independence_limit(labels, np.array([0.1, 0.2, 0.5, 0.4, 0.9]))
        0.4

    Args:
        labels: (N,) clusters 0 .. C-1, -1 for noise.
        to_loose: (N,) disagreement with the clusters of a larger eps.
        share: share in [0, 1] of the clusters that are at or below the limit.

    Returns:
        The least disagreement within a cluster, of the cluster at ``share`` in their order;
        clusters of one image are not counted. 0 without clusters.
    """
    several = np.bincount(labels[labels >= 0]) > 1
    least = np.sort(_least_of_each(labels, to_loose)[several])
    if not len(least):
        return 0.0
    return float(least[min(len(least) - 1, round(share * len(least)))])


def reliable_labels(
    labels: NDArray[np.integer],
    to_tight: NDArray[np.float64],
    to_loose: NDArray[np.float64],
    limit: float,
) -> NDArray[np.int64]:
    """Make noise of images whose cluster is not reliable.

    A cluster that mixes with others at a larger eps dissolves; of the others those images stay that
    agree best with a smaller eps. Clusters of which one image is left dissolve too.

    Example:
        >>> labels, loose = np.array([0, 0, 0, -1]), np.zeros(4)
        >>> tight = disagreement(labels, np.array([0, 0, -1, -1]))
        >>> reliable_labels(labels, tight, loose, limit=0.1)
        array([ 0,  0, -1, -1])

    Args:
        labels: (N,) clusters 0 .. C-1, -1 for noise.
        to_tight: (N,) disagreement with the clusters of a smaller eps.
        to_loose: (N,) disagreement with the clusters of a larger eps.
        limit: largest disagreement of a cluster with those of a larger eps, see
            :func:`independence_limit`.

    Returns:
        (N,) clusters counted from 0 in their order of before, -1 for noise.
    """
    is_independent = _least_of_each(labels, to_loose) <= limit
    most_compact = _least_of_each(labels, to_tight)
    kept = labels >= 0
    own = labels[kept]
    kept[kept] = is_independent[own] & (to_tight[kept] <= most_compact[own])
    left = np.where(kept, labels, -1)
    sizes = np.bincount(left[kept], minlength=len(most_compact))
    stays = sizes > 1
    renumbered = np.append(np.where(stays, np.cumsum(stays) - 1, -1), -1)  # the last: noise
    return renumbered[left]


def _least_of_each(labels: NDArray[np.integer], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Find the least value (C,) within each cluster."""
    kept = labels >= 0
    least = np.full(int(labels.max(initial=-1)) + 1, np.inf)
    np.minimum.at(least, labels[kept], values[kept])
    return least
