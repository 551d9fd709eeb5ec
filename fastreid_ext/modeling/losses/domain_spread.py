"""Losses that spread each domain and mix the domains: those of MetaBIN's meta-training.

Letters: B images of a batch, D channels of a feature.

[0] Choi et al., "Meta Batch-Instance Normalization for Generalizable Person Re-Identification",
    CVPR 2021, section 3.3, https://arxiv.org/abs/2011.14670
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def scatter_loss(features: Tensor, domains: Tensor) -> Tensor:
    """Average the cosine of each feature with the centre of its domain; eq. 4 of [0].

    Features are scaled to length 1 first. A lower loss spreads the domains.

    Example:
        >>> features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
        >>> round(scatter_loss(features, torch.tensor([0, 0, 1, 1])).item(), 4)
        0.8536

    Args:
        features: (B, D) pooled features of all domains.
        domains: (B,) int, domain of each image.

    Returns:
        Scalar in [-1, 1]; each domain counts equally.
    """
    features = F.normalize(features, dim=1)
    means = []
    for domain in domains.unique():
        own = features[domains == domain]
        centre = F.normalize(own.mean(dim=0), dim=0)
        means.append((own @ centre).mean())
    return torch.stack(means).mean()


def shuffle_loss(features: Tensor, targets: Tensor, domains: Tensor) -> Tensor:
    """Pull other domains near and push other persons of the own domain away; eq. 5 of [0].

    For each image d_p is the distance to the farthest image of another domain, d_n the one to the
    nearest image of another person of its own domain; the loss is the mean of
    softplus(d_p - d_n). Distances are Euclidean, of features that are not normalised.

    Example:
        >>> features = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
        >>> loss = shuffle_loss(features, torch.arange(4), torch.tensor([0, 0, 1, 1]))
        >>> round(loss.item(), 4)
        3.5928

    Args:
        features: (B, D) pooled features of at least two domains.
        targets: (B,) int, identity of each image.
        domains: (B,) int, domain of each image; each shows at least two identities.

    Returns:
        Scalar >= 0.
    """
    squared = (features[:, None] - features[None]).pow(2).sum(dim=2)
    distances = squared.clamp(min=1e-12).sqrt()
    is_own = domains[:, None] == domains[None]
    is_other_person = targets[:, None] != targets[None]
    farthest = distances.masked_fill(is_own, 0).amax(dim=1)
    nearest = distances.masked_fill(~(is_own & is_other_person), torch.inf).amin(dim=1)
    return F.softplus(farthest - nearest).mean()
