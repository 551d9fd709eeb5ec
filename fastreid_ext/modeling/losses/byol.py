"""BYOL's loss: squared distance of unit vectors, a prediction and its target, without negatives.

Letters: B images, D feature dimension.

[0] Grill et al., "Bootstrap Your Own Latent: A New Approach to Self-Supervised Learning",
    NeurIPS 2020, https://arxiv.org/abs/2006.07733, eq. 2
"""

from torch import Tensor
from torch.nn import functional as F

from fastreid_ext.full_precision import in_full_precision


@in_full_precision
def byol_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Compute the mean over B images of ``|p / |p| - z / |z||^2 = 2 - 2 cos(p, z)``.

    The target z is a constant: no gradient flows into it.

    Example:
        >>> import torch
        >>> predicted = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
        >>> byol_loss(predicted, torch.eye(2)).item(), byol_loss(predicted, -torch.eye(2)).item()
        (0.0, 4.0)

    Args:
        predicted: predictions p (B, D) of any norm but 0.
        target: projections z (B, D) of any norm but 0.

    Returns:
        Scalar in [0, 4].
    """
    cosines = (F.normalize(predicted, dim=1) * F.normalize(target.detach(), dim=1)).sum(dim=1)
    return (2 - 2 * cosines).mean()
