"""Triplet loss of the hardest pairs of a batch, with a soft margin, over all processes.

fastreid's ``TripletLoss`` with MARGIN 0 is the same for one process; it compares images of one
process only.

Letters: B images of this process, A images of all processes, D feature dimension.

[0] Hermans et al., "In Defense of the Triplet Loss for Person Re-Identification", 2017,
    https://arxiv.org/abs/1703.07737
"""

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
    everyone = rows_of_all(features)
    is_same = targets[:, None] == rows_of_all(targets)[None, :]
    distances = _distances(features, everyone)
    farthest = distances.masked_fill(~is_same, 0.0).amax(dim=1)
    has_negative = (~is_same).any(dim=1)
    nearest = distances.masked_fill(is_same, torch.inf).amin(dim=1)
    gap = torch.where(has_negative, farthest - nearest, 0.0)
    losses = F.softplus(gap) * has_negative
    return losses.sum() / has_negative.sum().clamp(min=1)


def _distances(features: Tensor, everyone: Tensor) -> Tensor:
    """Compute Euclidean distances (B, A), at least 1e-6, with a gradient of 0 below that."""
    squared = features.square().sum(dim=1)[:, None] + everyone.square().sum(dim=1)[None, :]
    return (squared - 2 * features @ everyone.T).clamp(min=1e-12).sqrt()
