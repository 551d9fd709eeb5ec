"""Losses of PPLR: labels of the whole image from its parts, and of the parts by their agreement.

A part that sees the same neighbours as the whole image is reliable. The label of the whole image is
refined by what reliable parts predict; a part is trained on its label as far as it agrees, and
towards equal probabilities for the rest.

Letters: B images, P parts, C clusters.

[0] Cho et al., "Part-based Pseudo Label Refinement for Unsupervised Person Re-identification",
    CVPR 2022, https://arxiv.org/abs/2203.14675
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from fastreid_ext.full_precision import in_full_precision


@in_full_precision
def part_guided_loss(
    logits: Tensor, part_logits: Tensor, agreement: Tensor, targets: Tensor, beta: float = 0.5
) -> Tensor:
    """Cross-entropy of the whole image with a mixture of its label and its parts' predictions.

    The predictions of the parts are weighted by the softmax of their agreements, and get no
    gradient.

    Example:
        >>> parts = torch.tensor([[[0.8, 0.2]], [[0.4, 0.6]]]).log()
        >>> whole = torch.tensor([[0.75, 0.25]]).log()
        >>> part_guided_loss(whole, parts, torch.tensor([[1.0, 0.0]]), torch.tensor([0]))
        tensor(0.4566)

    Args:
        logits: (B, C) of the whole image.
        part_logits: (P, B, C) of its parts.
        agreement: (B, P) agreement of each part with the whole image, in [0, 1].
        targets: (B,) clusters of the images.
        beta: share in [0, 1] of the label.
    """
    weights = agreement.softmax(dim=1).to(part_logits.dtype)  # (B, P)
    predicted = torch.einsum("bp,pbc->bc", weights, part_logits.detach().softmax(dim=2))
    log_found = F.log_softmax(logits, dim=1)
    refined = -(predicted * log_found).sum(dim=1).mean()
    return beta * F.nll_loss(log_found, targets) + (1 - beta) * refined


@in_full_precision
def agreement_smoothing_loss(logits: Tensor, targets: Tensor, agreement: Tensor) -> Tensor:
    """Cross-entropy of a part, and the divergence from equal probabilities, by its agreement.

    agreement * CE + (1 - agreement) * KL(uniform || prediction), averaged over the images.

    Example:
        >>> logits = torch.tensor([[2.0, 0.0]])
        >>> agreement_smoothing_loss(logits, torch.tensor([0]), torch.tensor([0.5]))
        tensor(0.2804)

    Args:
        logits: (B, C) of a part.
        targets: (B,) clusters of the images.
        agreement: (B,) agreement of the part with the whole image, in [0, 1].
    """
    log_found = F.log_softmax(logits, dim=1)
    labelled = F.nll_loss(log_found, targets, reduction="none")
    uniform = -log_found.mean(dim=1) - math.log(logits.shape[1])
    return (agreement * labelled + (1 - agreement) * uniform).mean()
