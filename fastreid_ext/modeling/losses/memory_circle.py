"""Circle loss of features against a memory, and class centres that features move: UNRN.

Letters: B batch, M entries of the memory, S classes, D feature dimension, m margin, s cosine.

[0] Sun et al., "Circle Loss: A Unified Perspective of Pair Similarity Optimization", CVPR 2020,
    https://arxiv.org/abs/2002.10857
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from fastreid_ext.full_precision import in_full_precision
from fastreid_ext.modeling.losses.cluster_memory import first_of_each, sequential_update

_LOW = -1e9  # logit of a pair that does not count; finite, as the gradient of infinity is none


@in_full_precision
def memory_circle_loss(
    similarity: Tensor,
    is_positive: Tensor,
    weights: Tensor | None = None,
    *,
    margin: float = 0.25,
    gamma: float = 128.0,
) -> Tensor:
    """Average softplus(LSE over positives + LSE over negatives) over the images.

    Example:
        >>> similarity, is_positive = torch.tensor([[0.5, 0.5]]), torch.tensor([[True, False]])
        >>> memory_circle_loss(similarity, is_positive)
        tensor(48.)

    Args:
        similarity: (B, M) cosine similarities of images and entries, in [-1, 1].
        is_positive: (B, M) bool, whether image and entry are of one class.
        weights: (B, M) factors in [0, 1] of the logits of the pairs; None = 1. They get no
            gradient.
        margin: relaxation m: positives should be above 1 - m, negatives below m.
        gamma: scale > 0 of the logits.

    Returns:
        Scalar >= 0, to which images without a positive, or without a negative, add 0.
    """
    if not similarity.shape[1]:
        return similarity.sum()
    towards = (1 + margin - similarity).relu().detach() * (similarity - (1 - margin))
    away = (similarity + margin).relu().detach() * (similarity - margin)
    logits = gamma * torch.where(is_positive, -towards, away)
    if weights is not None:
        logits = logits * weights.detach()
    positive = logits.masked_fill(~is_positive, _LOW).logsumexp(dim=1)
    negative = logits.masked_fill(is_positive, _LOW).logsumexp(dim=1)
    has_both = is_positive.any(dim=1) & (~is_positive).any(dim=1)
    return torch.where(has_both, F.softplus(positive + negative), 0.0).mean()


@torch.no_grad()
@in_full_precision
def moved_centres(
    centres: Tensor, features: Tensor, targets: Tensor, momentum: float = 0.2
) -> Tensor:
    """Move the centres of the classes of a batch to its features, one after the other.

    Example:
        >>> moved_centres(torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]]), torch.tensor([0]))
        tensor([[0.9701, 0.2425]])

    Args:
        centres: (S, D) centres of length 1.
        features: (B, D) features of any length.
        targets: (B,) classes of the features.
        momentum: share in [0, 1] of a centre that stays.

    Returns:
        (S, D) centres of length 1; those of other classes are as before.
    """
    same = targets[:, None] == targets[None, :]
    features = F.normalize(features, dim=1)
    moved = sequential_update(centres[targets], features, same, momentum)
    centres = centres.clone()
    # One row for each class: equal rows of a matrix product may differ in their last bits.
    centres[targets] = moved[first_of_each(same)].to(centres.dtype)
    return centres
