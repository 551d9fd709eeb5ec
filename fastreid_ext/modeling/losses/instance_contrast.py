"""Losses of ICE between the images of a batch: a student's features and its teacher's.

Letters: B images of this process, A images of all processes, D feature dimension.

[0] Chen et al., "ICE: Inter-instance Contrastive Encoding for Unsupervised Person
    Re-identification", ICCV 2021, https://arxiv.org/abs/2103.16364
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from fastreid_ext.full_precision import in_full_precision


@in_full_precision
def hard_instance_loss(
    similarity: Tensor, targets: Tensor, all_targets: Tensor, temperature: float = 0.1
) -> Tensor:
    """Contrast the least similar image of the own cluster with all images of other clusters.

    Example:
        >>> similarity = torch.tensor([[0.9, 0.5, 0.1]])
        >>> hard_instance_loss(similarity, torch.tensor([0]), torch.tensor([0, 0, 1]))
        tensor(0.0181)

    Args:
        similarity: (B, A) cosine similarities of the student's features to the teacher's.
        targets: (B,) cluster of each row.
        all_targets: (A,) cluster of each column, among them that of each row.
        temperature: divisor > 0 of the similarities.

    Returns:
        Scalar; 0 where all images are of one cluster.
    """
    same = targets[:, None] == all_targets[None, :]
    hardest = similarity.masked_fill(~same, torch.inf).amin(dim=1, keepdim=True)
    others = similarity.masked_fill(same, -torch.inf)
    logits = torch.cat([hardest, others], dim=1) / temperature
    return (logits.logsumexp(dim=1) - logits[:, 0]).mean()


@in_full_precision
def soft_instance_loss(similarity: Tensor, expected: Tensor, temperature: float = 0.4) -> Tensor:
    """Divergence KL(P || Q) of similarities to the images of a batch, averaged over rows.

    P and Q are the softmax of the rows of ``expected`` and of ``similarity``.

    Example:
        >>> similarity = torch.tensor([[0.8, 0.1], [0.3, 0.7]])
        >>> 10 * soft_instance_loss(similarity, torch.tensor([[1.0, 0.2], [0.2, 1.0]]))
        tensor(0.3531)

    Args:
        similarity: (B, A) similarities between differently augmented images, with gradient.
        expected: (B, A) similarities between images that are not augmented; they get no gradient.
        temperature: divisor > 0 of both.
    """
    expected_log = F.log_softmax(expected.detach() / temperature, dim=1)
    found_log = F.log_softmax(similarity / temperature, dim=1)
    return F.kl_div(found_log, expected_log, reduction="batchmean", log_target=True)
