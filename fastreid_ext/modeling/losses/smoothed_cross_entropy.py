"""Cross-entropy with smoothed labels, as the domain-adaptive methods have it.

fastreid's spreads the share epsilon over the K - 1 wrong classes, this one over all K classes.

Letters: B batch, K classes.

[0] Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR 2016, sec. 7,
    https://arxiv.org/abs/1512.00567
"""

import torch.nn.functional as F
from torch import Tensor

from fastreid_ext.full_precision import in_full_precision


@in_full_precision
def smoothed_cross_entropy(
    logits: Tensor, targets: Tensor, epsilon: float = 0.1, weights: Tensor | None = None
) -> Tensor:
    """Compute the mean cross-entropy to (1 - epsilon) onehot(target) + epsilon / K.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[3.0, 1.0]]).log()
        >>> smoothed_cross_entropy(logits, torch.tensor([0]), epsilon=0.1)
        tensor(0.3426)

    Args:
        logits: (B, K) logits of the classes.
        targets: (B,) classes in [0, K).
        epsilon: share in [0, 1) of a label that is spread over all classes.
        weights: (B,) factors >= 0 of the images; None = 1. Their sum does not normalise the mean.
    """
    if weights is None:
        return F.cross_entropy(logits, targets, label_smoothing=epsilon)
    losses = F.cross_entropy(logits, targets, label_smoothing=epsilon, reduction="none")
    return (weights * losses).mean()
