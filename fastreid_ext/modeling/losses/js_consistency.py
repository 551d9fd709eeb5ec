"""Pull the predictions for several views of an image together (Jensen-Shannon divergence).

Letters: B batch, C classes, V views, p_v = softmax of the logits of view v.

    JS = 1/V sum_v KL(p_v || M),    M = 1/V sum_v p_v

[0] Hendrycks et al., "AugMix: A Simple Data Processing Method to Improve Robustness and
    Uncertainty", ICLR 2020, https://arxiv.org/abs/1912.02781, eq. 1
[1] Chen et al., "Benchmarks for Corruption Invariant Person Re-identification", NeurIPS 2021,
    https://arxiv.org/abs/2111.00880: this loss with weight 12 for Re-ID
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from fastreid_ext.full_precision import in_full_precision

# The mean M is clamped to [1e-7, 1] before its logarithm, as in [0] and [1].
SMALLEST_MEAN = 1e-7


@in_full_precision
def js_consistency_loss(logits: Sequence[Tensor]) -> Tensor:
    """Compute the Jensen-Shannon divergence between views, in nats, as a mean over the batch.

    Example:
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 2.0]])  # (B, C)
        >>> js_consistency_loss([logits, logits.flip(1)]).item() < math.log(2)
        True

    Args:
        logits: one tensor (B, C) of finite numbers for each of V >= 2 views, in any order.

    Returns:
        Scalar: 0 for equal views, ln V at most (ln 3 for three). The clamp can take it below 0, by
        less than 4e-8 a class.

    Raises:
        ValueError: there are fewer than two views, or their shapes are not one (B, C).
    """
    shapes = [tuple(view.shape) for view in logits]
    if len(shapes) < 2 or len(set(shapes)) > 1 or len(shapes[0]) != 2 or 0 in shapes[0]:
        raise ValueError(
            "expected logits (B, C) of at least two views, all of one shape and none empty, got "
            f"{shapes}; give a list with one tensor for each view"
        )
    log_probabilities = torch.stack(list(logits)).log_softmax(dim=2)  # (V, B, C)
    # In logarithms: a probability that underflows to 0 has no gradient of its own logarithm.
    log_mean = log_probabilities.logsumexp(dim=0) - math.log(len(shapes))  # (B, C)
    log_mean = log_mean.clamp(min=math.log(SMALLEST_MEAN), max=0.0)
    divergences = (log_probabilities.exp() * (log_probabilities - log_mean)).sum(dim=2)
    return divergences.mean()
