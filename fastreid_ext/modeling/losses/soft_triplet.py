"""Triplet loss of the hardest pairs of a batch, with a soft margin, over all processes.

fastreid's ``TripletLoss`` with MARGIN 0 is the same for one process; it compares images of one
process only.

Letters: B images of this process, A images of all processes, D feature dimension.

[0] Hermans et al., "In Defense of the Triplet Loss for Person Re-Identification", 2017,
    https://arxiv.org/abs/1703.07737
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from fastreid_ext.full_precision import in_full_precision
from fastreid_ext.processes import rows_of_all


@in_full_precision
def soft_triplet_loss(features: Tensor, targets: Tensor) -> Tensor:
    """Average log(1 + exp(p - n)) over the images that have one of another cluster.

    p is the largest Euclidean distance to an image of the cluster, n the smallest to another one.

    Example:
        >>> features = torch.tensor([[0.0], [0.0], [3.0], [3.0]])  # (B, D)
        >>> loss = soft_triplet_loss(features, torch.tensor([0, 0, 1, 1]))
        >>> round(float(loss), 4)  # log(1 + exp(0 - 3))
        0.0486

    Args:
        features: (B, D) of any length.
        targets: (B,) clusters of the images.

    Returns:
        Scalar >= 0; 0 where the batch has one cluster only.
    """
    pairs = hardest_pairs(features, targets)
    gap = torch.where(pairs.has_negative, pairs.farthest - pairs.nearest, 0.0)
    losses = F.softplus(gap) * pairs.has_negative
    return losses.sum() / pairs.has_negative.sum().clamp(min=1)


class HardestPairs(NamedTuple):
    """The farthest image of the own cluster and the nearest of another one, for each image.

    Attributes:
        farthest: (B,) distances to the positives.
        positives: (B,) rows of the positives among the images of all processes.
        nearest: (B,) distances to the negatives; infinite where there is none.
        negatives: (B,) rows of the negatives among the images of all processes.
        has_negative: (B,) bool, whether another cluster is among the images.
    """

    farthest: Tensor
    positives: Tensor
    nearest: Tensor
    negatives: Tensor
    has_negative: Tensor


def hardest_pairs(features: Tensor, targets: Tensor) -> HardestPairs:
    """Find the hardest positive and negative of each image among those of all processes.

    Args:
        features: (B, D) of any length.
        targets: (B,) clusters of the images.
    """
    everyone = rows_of_all(features)
    is_same = targets[:, None] == rows_of_all(targets)[None, :]
    distances = _distances(features, everyone)
    farthest, positives = distances.masked_fill(~is_same, 0.0).max(dim=1)
    nearest, negatives = distances.masked_fill(is_same, torch.inf).min(dim=1)
    return HardestPairs(farthest, positives, nearest, negatives, (~is_same).any(dim=1))


def _distances(features: Tensor, everyone: Tensor) -> Tensor:
    """Compute Euclidean distances (B, A), at least 1e-6, with a gradient of 0 below that."""
    squared = features.square().sum(dim=1)[:, None] + everyone.square().sum(dim=1)[None, :]
    return (squared - 2 * features @ everyone.T).clamp(min=1e-12).sqrt()
