"""Distance of two sets of features as distributions: maximum mean discrepancy.

Letters: N and M features of two sets, D feature dimension, k kernel.

[0] Gretton et al., "A Kernel Two-Sample Test", JMLR 2012, eq. 5
"""

import torch
from torch import Tensor

KERNELS = ("gaussian", "linear")


def squared_mmd(
    first: Tensor, second: Tensor, *, kernel: str = "gaussian", bandwidth: float = 1.0
) -> float:
    """Compute mean k(x, x') + mean k(y, y') - 2 mean k(x, y) over all pairs, equal ones included.

    Example:
        >>> first = torch.tensor([[0.0], [2.0]])
        >>> second = torch.tensor([[3.0], [5.0]])
        >>> squared_mmd(first, second, kernel="linear")
        9.0
        >>> round(squared_mmd(first, second, bandwidth=1.0), 5)
        0.82096

    Args:
        first: (N, D) features of the first set.
        second: (M, D) features of the second set.
        kernel: "gaussian", exp(-d^2 / (2 bandwidth^2)), or "linear", whose result is the squared
            distance of the means.
        bandwidth: scale > 0 of distances in the Gaussian kernel.

    Returns:
        Number of at least 0; 0 for equal sets.
    """
    first = first.double()
    second = second.double()
    if kernel == "linear":
        return float((first.mean(dim=0) - second.mean(dim=0)).square().sum())
    means = [
        (torch.cdist(one, other).square() / (-2 * bandwidth**2)).exp().mean()
        for one, other in ((first, first), (second, second), (first, second))
    ]
    return max(float(means[0] + means[1] - 2 * means[2]), 0.0)


def median_distance(first: Tensor, second: Tensor) -> float:
    """Compute the median of the distances between features of two sets, a usual bandwidth.

    Args:
        first: (N, D) features of the first set.
        second: (M, D) features of the second set.
    """
    return float(torch.cdist(first.double(), second.double()).median())
