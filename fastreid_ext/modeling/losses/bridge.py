"""Losses of images between two domains, whose features are mixed from those of a pair: IDM.

Letters: n pairs of a source and a target image, K classes, D feature dimension; lambda_s and
lambda_t = 1 - lambda_s, the shares of source and target in the mixture of a pair.

[0] Dai et al., "IDM: An Intermediate Domain Module for Domain Adaptive Person Re-ID", ICCV 2021,
    https://arxiv.org/abs/2108.02413
[1] its code, https://github.com/SikaStar/IDM
"""

import torch.nn.functional as F
from torch import Tensor

from fastreid_ext.full_precision import in_full_precision

_SMALLEST = 1e-12  # of squared distances and variances, so that their roots have a gradient


@in_full_precision
def bridge_prediction_loss(
    logits: Tensor,
    sources: Tensor,
    targets: Tensor,
    source_shares: Tensor,
    epsilon: float = 0.1,
) -> Tensor:
    """Compute the mean cross-entropy of mixed images to the mixed labels of their pair.

    The label is (1 - epsilon) (lambda_s onehot(y_s) + lambda_t onehot(y_t)) + epsilon / K. The
    shares in it carry no gradient [1].

    Example:
        >>> import torch
        >>> logits = torch.tensor([[3.0, 1.0]]).log()
        >>> pair = (torch.tensor([0]), torch.tensor([1]))
        >>> bridge_prediction_loss(logits, *pair, torch.tensor([0.25]), epsilon=0.1)
        tensor(1.0842)

    Args:
        logits: (n, K) logits of the mixed images.
        sources: (n,) classes of the source images of the pairs.
        targets: (n,) classes of the target images of the pairs.
        source_shares: (n,) shares lambda_s in [0, 1].
        epsilon: share in [0, 1) of a label that is spread over all classes.
    """
    shares = source_shares.detach()
    of_source = F.cross_entropy(logits, sources, label_smoothing=epsilon, reduction="none")
    of_target = F.cross_entropy(logits, targets, label_smoothing=epsilon, reduction="none")
    return (shares * of_source + (1 - shares) * of_target).mean()


@in_full_precision
def bridge_feature_loss(mixed: Tensor, sources: Tensor, targets: Tensor, shares: Tensor) -> Tensor:
    """Compute the mean of lambda_s ||f_mix - f_s|| + lambda_t ||f_mix - f_t||.

    Example:
        >>> import torch
        >>> source = torch.zeros(1, 2)
        >>> target = torch.tensor([[3.0, 4.0]])
        >>> bridge_feature_loss(target / 4, source, target, torch.tensor([[0.75, 0.25]]))
        tensor(1.8750)

    Args:
        mixed: (n, D) features of the mixed images, not normalised.
        sources: (n, D) features of the source images of the pairs.
        targets: (n, D) features of the target images of the pairs.
        shares: (n, 2) shares lambda_s and lambda_t; everything here gets a gradient.
    """
    to_source = _distances(mixed, sources)
    to_target = _distances(mixed, targets)
    return (shares[:, 0] * to_source + shares[:, 1] * to_target).mean()


@in_full_precision
def mixing_diversity_loss(shares: Tensor) -> Tensor:
    """Compute the negative sum of the standard deviations of the shares over the pairs.

    Example:
        >>> import torch
        >>> mixing_diversity_loss(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        tensor(-1.)

    Args:
        shares: (n, 2) shares lambda_s and lambda_t of the pairs.

    Returns:
        Scalar between -1, for shares of 0 and 1 alone, and 0.
    """
    variances = shares.var(dim=0, unbiased=False)
    return -variances.clamp(min=_SMALLEST).sqrt().sum()


def _distances(one: Tensor, other: Tensor) -> Tensor:
    return (one - other).square().sum(dim=1).clamp(min=_SMALLEST).sqrt()
