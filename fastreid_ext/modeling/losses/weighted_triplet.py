"""Weighted regularised triplet loss of AGW, without a margin, and CAJ's squared variant of it.

An image's distances to images of its identity are averaged with softmax weights, so that the far
ones count most, and its distances to all others with softmax weights of the negative distance, so
that the near ones count most. The anchor counts among its own positives with distance 0, as in
fastreid's code.

fastreid's ``TripletLoss`` with MARGIN 0 and HARD_MINING False adds 1e-6 to the sum of the weights,
and exp(-distance) is no larger than that at distances above 14: the weights of the negatives then
sum to less than 1, and their mean distance goes to 0. Here the weights are a softmax of any
distance. That the authors' code does what fastreid's does is recalled and was not read again.

Letters: B images, D feature dimension.

[0] Ye et al., "Deep Learning for Person Re-identification: A Survey and Outlook", TPAMI 2021, eq. 9
[1] Ye et al., "Channel Augmented Joint Learning for Visible-Infrared Recognition", ICCV 2021, and
    ICCV21_CAJ in https://github.com/mangye16/Cross-Modal-Re-ID-baseline
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from fastreid_ext.full_precision import in_full_precision

CAJ_CLAMP = 88.0


@in_full_precision
def weighted_triplet_loss(
    features: Tensor, targets: Tensor, *, is_squared: bool = False, clamp: float = CAJ_CLAMP
) -> Tensor:
    """Compute the mean over all anchors that have an image of another identity.

    With p and n, the weighted distances of an anchor, its loss is log(1 + exp(p - n)) [0]. Squared
    [1], it is log(1 + exp(s)) with s = (p - n)^2, negative where p <= n, and at most ``clamp``. An
    anchor at the clamp has no gradient.

    Example:
        >>> features = torch.tensor([[0.0], [0.0], [3.0], [3.0]])  # (B, D)
        >>> loss = weighted_triplet_loss(features, torch.tensor([0, 0, 1, 1]))
        >>> round(float(loss), 4)  # log(1 + exp(0 - 3))
        0.0486

    Args:
        features: features (B, D) of any norm.
        targets: identities (B,) of the rows.
        is_squared: compute the variant of [1].
        clamp: largest s of the variant, above 0; 88 in [1].

    Returns:
        Scalar >= 0; 0 where the batch has one identity only.
    """
    distances = _distances(features)
    is_same = targets[:, None] == targets[None, :]
    has_negative = (~is_same).any(dim=1)
    far = _weighted_mean(distances, distances, is_same)
    near = _weighted_mean(distances, -distances, ~is_same)
    gap = far - near
    if is_squared:
        gap = (gap.sign() * gap.square()).clamp(max=clamp)
    losses = F.softplus(gap) * has_negative
    return losses.sum() / has_negative.sum().clamp(min=1)


def _distances(features: Tensor) -> Tensor:
    """Compute Euclidean distances (B, B), at least 1e-6, with a gradient of 0 below that."""
    squared = features.square().sum(dim=1)
    products = features @ features.T
    return (squared[:, None] + squared[None, :] - 2 * products).clamp(min=1e-12).sqrt()


def _weighted_mean(values: Tensor, logits: Tensor, mask: Tensor) -> Tensor:
    """Average each row over the mask, weighted by the softmax of the logits; 0 for an empty row."""
    lowest = torch.finfo(logits.dtype).min
    weights = torch.softmax(logits.masked_fill(~mask, lowest), dim=1) * mask
    return (weights * values).sum(dim=1)
