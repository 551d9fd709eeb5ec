"""Agreement of the nearest images in two feature spaces: PPLR's reliability of a part.

Letters: N images, S feature spaces, D feature dimension, K nearest images.

[0] Cho et al., "Part-based Pseudo Label Refinement for Unsupervised Person Re-identification",
    CVPR 2022, https://arxiv.org/abs/2203.14675
"""

import torch
from torch import Tensor

from fastreid_ext.neighbours.jaccard import nearest_by_cosine, unit_features


def cross_agreement(features: Tensor, count: int = 20) -> Tensor:
    """Compute how far the nearest images in each space are those in the first one.

    The image itself is none of its nearest images, whichever others are equal to it.

    Example:
        >>> features = torch.eye(4).repeat(1, 2, 1).view(4, 2, 4)  # two equal spaces
        >>> cross_agreement(features, count=2).flatten()
        tensor([1., 1., 1., 1.])

    Args:
        features: (N, S, D) finite features on any device, at least two images.
        count: number K of nearest images; all other images where there are fewer.

    Returns:
        (N, S - 1) float32 shares in [0, 1] on the CPU: the number of images that both lists hold,
        divided by the number that either holds.
    """
    count = min(count, len(features) - 1)
    spaces = [unit_features(space) for space in features.unbind(dim=1)]
    lists = [nearest_by_cosine(space, count + 1).index[:, 1:] for space in spaces]
    return torch.stack([overlap(lists[0], other) for other in lists[1:]], dim=1)


def overlap(one: Tensor, other: Tensor) -> Tensor:
    """Divide intersection by union of each pair of rows.

    Example:
        >>> overlap(torch.tensor([[1, 2, 3]]), torch.tensor([[2, 3, 4]]))
        tensor([0.5000])

    Args:
        one: (N, K) numbers of images, none twice in a row.
        other: (N, K) numbers of images, none twice in a row.

    Returns:
        (N,) float32 shares in [0, 1].
    """
    both = (one[:, :, None] == other[:, None, :]).sum(dim=(1, 2))
    return both / (2 * one.shape[1] - both)
