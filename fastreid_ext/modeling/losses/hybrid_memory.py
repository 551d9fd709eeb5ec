"""Memory with a hard and a mean centroid of each cluster: HHCL.

The hard centroid moves to the least similar feature of the batch, the mean one to the batch's mean
feature, both as in :mod:`fastreid_ext.modeling.losses.cluster_memory`. A feature is told apart by
each kind on its own.

Letters: N training images, B batch, D feature dimension, C clusters, R rows with room for clusters.

[0] Hu et al., "Hard-sample Guided Hybrid Contrast Learning for Unsupervised Person
    Re-Identification", IC-NIDC 2021, https://arxiv.org/abs/2109.12333
[1] its code, https://github.com/bupt-ai-cz/HHCL-ReID
"""

from torch import Tensor, nn

from fastreid_ext.modeling.losses.cluster_memory import ClusterMemory
from fastreid_ext.modeling.losses.prototype_contrast import prototype_contrast_loss


class HybridMemory(nn.Module):
    """Two memories of the clusters of an epoch, with different rules.

    Example:
        >>> import torch
        >>> memory = HybridMemory(rows=8, dim=2, momentum=0.1)
        >>> memory.begin(torch.eye(2), torch.arange(2))
        >>> memory.update(torch.tensor([[0.0, 1.0], [0.6, 0.8]]), torch.tensor([0, 0]))
        >>> memory.hard.used[0], memory.mean.used[0]
        (tensor([0.1104, 0.9939]), tensor([0.4155, 0.9096]))

    Args:
        rows: number R of clusters for which there is room.
        dim: dimension D of a feature.
        momentum: share in [0, 1] of a centroid that stays in an update.
    """

    def __init__(self, rows: int, dim: int, *, momentum: float = 0.1) -> None:
        super().__init__()
        self.hard = ClusterMemory(rows, dim, momentum=momentum, rule="hard")
        self.mean = ClusterMemory(rows, dim, momentum=momentum, rule="mean")

    def begin(self, features: Tensor, labels: Tensor) -> None:
        """Set both centroids of each cluster to its normalised mean feature."""
        self.hard.begin(features, labels)
        self.mean.begin(features, labels)

    def update(self, features: Tensor, targets: Tensor) -> None:
        """Move the centroids of the clusters (B,) that features (B, D) of any length show."""
        self.hard.update(features, targets)
        self.mean.update(features, targets)


def hybrid_contrast_loss(
    features: Tensor,
    memory: HybridMemory,
    targets: Tensor,
    *,
    temperature: float = 0.05,
    hard_weight: float = 0.5,
    mean_weight: float = 0.5,
) -> Tensor:
    """Compute the weighted sum of the contrasts to hard and to mean centroids.

    Example:
        >>> import torch
        >>> memory = HybridMemory(rows=2, dim=2)
        >>> memory.begin(torch.eye(2), torch.arange(2))
        >>> features = torch.eye(2)
        >>> hybrid_contrast_loss(features, memory, torch.arange(2), temperature=0.5)
        tensor(0.1269)

    Args:
        features: (B, D) of any length.
        memory: hard and mean centroids.
        targets: (B,) cluster of the image of each feature.
        temperature: divisor > 0 of the cosine similarities.
        hard_weight: weight of the contrast to hard centroids, mu.
        mean_weight: weight of the contrast to mean centroids, 1 - mu in [0]; mu (1 - mu) in [1].
    """
    hard = prototype_contrast_loss(features, memory.hard.used, targets, temperature)
    mean = prototype_contrast_loss(features, memory.mean.used, targets, temperature)
    return hard_weight * hard + mean_weight * mean
