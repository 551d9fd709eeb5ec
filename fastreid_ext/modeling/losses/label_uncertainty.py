"""Losses that count less where student and teacher disagree about an image: UNRN.

u is the divergence of the student's distribution from the teacher's, omega = exp(-u) in (0, 1] the
weight of the image. Each loss has two forms: "paper", a weight of each image or triplet, and
"code", which repeats what the released code computes: a weight of the whole batch, and a triplet
loss that pulls positives and negatives to equal distances.

Letters: B images of this process, K compared values, C classes, D feature dimension.

[0] Zheng et al., "Exploiting Sample Uncertainty for Domain Adaptive Person Re-Identification",
    AAAI 2021, https://arxiv.org/abs/2012.08733
[1] its code, https://github.com/zkcys001/UDAStrongBaseline
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from fastreid_ext.full_precision import in_full_precision
from fastreid_ext.modeling.losses.smoothed_cross_entropy import smoothed_cross_entropy
from fastreid_ext.modeling.losses.soft_triplet import hardest_pairs
from fastreid_ext.processes import rows_of_all

FORMS = ("paper", "code")


@in_full_precision
def teacher_disagreement(student: Tensor, teacher: Tensor) -> Tensor:
    """Compute the divergence KL(softmax(teacher) || softmax(student)) of each image.

    Example:
        >>> student, teacher = torch.zeros(1, 2), torch.tensor([[3.0, 1.0]]).log()
        >>> teacher_disagreement(student, teacher)
        tensor([0.1308])

    Args:
        student: (B, K) logits of the student.
        teacher: (B, K) logits of the teacher, which get no gradient.

    Returns:
        (B,) divergences u >= 0.
    """
    expected = F.log_softmax(teacher.detach(), dim=1)
    found = F.log_softmax(student, dim=1)
    return (expected.exp() * (expected - found)).sum(dim=1)


@in_full_precision
def uncertain_cross_entropy(
    logits: Tensor, targets: Tensor, weights: Tensor, epsilon: float = 0.1, form: str = "paper"
) -> Tensor:
    """Compute the cross-entropy of images that have weights.

    Example:
        >>> logits, targets = torch.tensor([[3.0, 1.0], [1.0, 1.0]]).log(), torch.tensor([0, 0])
        >>> weights = torch.tensor([1.0, 0.0])
        >>> uncertain_cross_entropy(logits, targets, weights, epsilon=0.0)  # -log(3/4) / 2
        tensor(0.1438)

    Args:
        logits: (B, C) logits of the classes.
        targets: (B,) classes in [0, C).
        weights: (B,) weights omega of the images, in (0, 1].
        epsilon: share in [0, 1) of a label that is spread over all classes.
        form: "paper" = mean of weight times loss; "code" = mean weight, times mean loss, over the
            images of all processes.
    """
    if form == "paper":
        return smoothed_cross_entropy(logits, targets, epsilon, weights)
    losses = F.cross_entropy(logits, targets, label_smoothing=epsilon, reduction="none")
    return rows_of_all(losses).mean() * rows_of_all(weights).mean()


@in_full_precision
def triplet_terms(
    positive: Tensor, negative: Tensor, weights: Tensor, form: str = "paper"
) -> Tensor:
    """Compute the loss of triplets from their distances.

    Example:
        >>> positive, negative = torch.tensor([1.0, 3.0]), torch.tensor([3.0, 1.0])
        >>> triplet_terms(positive, negative, torch.ones(2, 3))
        tensor([0.1269, 2.1269])
        >>> triplet_terms(positive, negative, torch.ones(2, 3), form="code")
        tensor([2.2539, 2.2539])

    Args:
        positive: (B,) distances of anchors to their positives.
        negative: (B,) distances of anchors to their negatives.
        weights: (B, 3) weights omega of anchor, positive and negative.
        form: "paper" = soft margin times the mean of the three weights; "code" = cross-entropy of
            the softmax of both distances to the weights of both pairs.
    """
    gap = positive - negative
    if form == "paper":
        return weights.mean(dim=1) * F.softplus(gap)
    of_positive = weights[:, [0, 1]].mean(dim=1)
    of_negative = weights[:, [0, 2]].mean(dim=1)
    return of_positive * F.softplus(-gap) + of_negative * F.softplus(gap)


@in_full_precision
def uncertain_triplet_loss(
    features: Tensor, targets: Tensor, weights: Tensor, form: str = "paper"
) -> Tensor:
    """Average the loss of the hardest triplets of images that have one of another cluster.

    Example:
        >>> features = torch.tensor([[0.0], [0.0], [3.0], [3.0]])
        >>> targets, weights = torch.tensor([0, 0, 1, 1]), torch.tensor([1.0, 1.0, 0.1, 0.1])
        >>> round(float(uncertain_triplet_loss(features, targets, weights)), 4)
        0.0267

    Args:
        features: (B, D) of any length.
        targets: (B,) clusters of the images.
        weights: (B,) weights omega of the images, which get no gradient.
        form: "paper" or "code", the form of :func:`triplet_terms`.

    Returns:
        Scalar >= 0; 0 where the batch has one cluster only.
    """
    pairs = hardest_pairs(features, targets)
    of_all = rows_of_all(weights.detach())
    own = torch.stack([weights.detach(), of_all[pairs.positives], of_all[pairs.negatives]], dim=1)
    nearest = torch.where(pairs.has_negative, pairs.nearest, 0.0)
    losses = triplet_terms(pairs.farthest, nearest, own, form) * pairs.has_negative
    return losses.sum() / pairs.has_negative.sum().clamp(min=1)
