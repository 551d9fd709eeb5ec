"""Clusters of features by k-means.

Letters: N images, D feature dimension, K clusters.
"""

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from torch import Tensor


def kmeans_labels(
    features: Tensor, clusters: int, *, starts: int = 1, seed: int = 0
) -> NDArray[np.int64]:
    """Cluster features by scikit-learn's k-means, begun by k-means++.

    Example:
        >>> import torch
        >>> labels = kmeans_labels(torch.tensor([[0.0], [5.0], [0.1], [5.1]]), 2)
        >>> bool(labels[0] == labels[2] != labels[1] == labels[3])
        True

    Args:
        features: (N, D) features on any device.
        clusters: number K of clusters, from 1 to N.
        starts: number of runs with other first centres, of which the best one counts.
        seed: seed of the first centres, at least 0.

    Returns:
        (N,) clusters 0 .. K-1; one may have no image if fewer than K features differ.

    Raises:
        ValueError: there are more clusters than images.
    """
    if clusters > len(features):
        raise ValueError(
            f"expected at most as many clusters as images, got {clusters} clusters of "
            f"{len(features)} images; lower MODEL.GLT.CLUSTERS, or add images"
        )
    model = KMeans(clusters, n_init=starts, random_state=seed)
    return model.fit_predict(features.detach().cpu().float().numpy()).astype(np.int64)
