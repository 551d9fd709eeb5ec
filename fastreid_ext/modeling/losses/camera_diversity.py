"""Weights of clusters by the diversity of their cameras: CaCL, as reconstructed.

A cluster that several cameras show is a person rather than a place. The paper's formula is not
public; this is 1 + strength H / ln A with the entropy H of a cluster's cameras.

Letters: N images, C clusters, A cameras that show an image in a cluster.

[0] Lee et al., "Camera-Driven Representation Learning for Unsupervised Domain Adaptive Person
    Re-Identification", ICCV 2023, https://arxiv.org/abs/2308.11901
"""

import torch
from torch import Tensor


def camera_entropies(labels: Tensor, cameras: Tensor) -> Tensor:
    """Compute the entropy (C,) of the cameras of each cluster, from 0 for one camera to ln A.

    Example:
        >>> camera_entropies(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 2, 2]))
        tensor([0.6931, 0.0000], dtype=torch.float64)

    Args:
        labels: (N,) clusters 0 .. C-1, each used; -1 for images that are left out.
        cameras: (N,) camera of each image, counted from 0.
    """
    kept = labels >= 0
    counts = torch.zeros(int(labels.max()) + 1, int(cameras.max()) + 1, dtype=torch.float64)
    ones = torch.ones(int(kept.sum()), dtype=torch.float64)
    counts.index_put_((labels[kept], cameras[kept]), ones, accumulate=True)
    shares = counts / counts.sum(dim=1, keepdim=True)
    return torch.xlogy(shares, shares).sum(dim=1).abs()  # of terms of at most 0


def camera_diversity_weights(
    labels: Tensor, cameras: Tensor, *, strength: float = 1.0, is_normalised: bool = True
) -> Tensor:
    """Compute the weight 1 + strength H / ln A of each cluster.

    With one camera all weights are 1: the entropy alone would make the loss zero.

    Example:
        >>> cameras = torch.tensor([0, 1, 2, 2, 1, 2, 3, 3, 3])
        >>> labels = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2])
        >>> camera_diversity_weights(labels, cameras)
        tensor([1.2648, 1.0296, 0.7056])

    Args:
        labels: (N,) clusters 0 .. C-1, each used; -1 for images that are left out.
        cameras: (N,) camera of each image, counted from 0.
        strength: factor >= 0 of the entropy; 0 gives all clusters the weight 1.
        is_normalised: whether the weights are divided by their mean over the clusters.

    Returns:
        (C,) float32 weights.
    """
    entropies = camera_entropies(labels, cameras)
    active = len(cameras[labels >= 0].unique())
    if active > 1:
        entropies = entropies / torch.tensor(active, dtype=torch.float64).log()
    weights = 1 + strength * entropies
    return (weights / weights.mean() if is_normalised else weights).float()
