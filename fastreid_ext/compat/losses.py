"""Repairs of fastreid's losses: full precision, and no wait of the processor for the device.

A wait (``nonzero``, ``if tensor:``, ``float(tensor)``) stops the processor until the device has
finished all work queued so far, so that the device idles while the next work is queued. fastreid
waits 3 times in a step of BoT, 6 times in SBS and 31 times in MGN.
"""

import functools
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fastreid_ext.full_precision import in_full_precision

# Margin of the ranking loss that replaces an infinite soft-margin loss, as in fastreid.
OVERFLOW_MARGIN = 0.3


def compute_losses_in_full_precision() -> None:
    """Compute every loss of fastreid in float32 or wider, and without waiting for the device.

    Under autocast fastreid computes distances in half precision. Its triplet loss is then NaN in
    float16 from a feature norm of 256 on, has infinite gradients where two features are equal, and
    in bfloat16 has rounding errors larger than its margin from norm 80 on. Values in float32 are
    those of fastreid.
    """
    from fastreid.modeling import losses
    from fastreid.modeling.losses import circle_loss
    from fastreid.modeling.meta_arch import distiller, moco

    if hasattr(losses.triplet_loss, "_fastreid_ext"):
        return
    for host, repaired in (
        (losses.triplet_loss, triplet_loss),
        (losses.cross_entropy_loss, cross_entropy_loss),
        (losses.focal_loss, losses.focal_loss),
        (circle_loss.pairwise_circleloss, circle_loss.pairwise_circleloss),
        (circle_loss.pairwise_cosface, circle_loss.pairwise_cosface),
    ):
        _replace_in_host(host, _repaired(host, repaired))
    for owner, name in ((moco.Memory, "forward"), (distiller.Distiller, "jsdiv_loss")):
        host = getattr(owner, name)
        setattr(owner, name, _repaired(host, host))


def compute_margins_in_full_precision() -> None:
    """Compute the margin layers of classifiers in float32 or wider, and without waiting.

    In half precision cosines above 0.9998 round to 1, where the arc cosine of ``ArcSoftmax`` has an
    infinite gradient. Values in float32 are those of fastreid.
    """
    from fastreid.layers import any_softmax

    for layer, forward in (
        (any_softmax.CosSoftmax, _cos_softmax),
        (any_softmax.ArcSoftmax, _arc_softmax),
        (any_softmax.CircleSoftmax, _circle_softmax),
    ):
        if not hasattr(layer.forward, "_fastreid_ext"):
            layer.forward = _repaired(layer.forward, forward)


def triplet_loss(
    embedding: Tensor, targets: Tensor, margin: float, norm_feat: bool, hard_mining: bool
) -> Tensor:
    """Compute fastreid's triplet loss without its ``if loss == inf``.

    Args:
        embedding: features (B, D) of any norm.
        targets: identities (B,) of the features.
        margin: margin of the ranking loss; 0 selects the soft margin.
        norm_feat: whether distances are cosine instead of Euclidean.
        hard_mining: whether the hardest positive and negative count instead of weighted means.

    Returns:
        Scalar >= 0.
    """
    from fastreid.modeling.losses import triplet_loss  # noqa: F401  loads the module

    host = sys.modules["fastreid.modeling.losses.triplet_loss"]  # the package's name is a function
    distances = (host.cosine_dist if norm_feat else host.euclidean_dist)(embedding, embedding)
    is_same = targets[:, None] == targets[None, :]
    mine = host.hard_example_mining if hard_mining else host.weighted_example_mining
    positive, negative = mine(distances, is_same.float(), (~is_same).float())
    ones = torch.ones_like(negative)
    if margin > 0:
        return F.margin_ranking_loss(negative, positive, ones, margin=margin)
    difference = negative - positive
    with torch.no_grad():
        overflows = F.soft_margin_loss(difference, ones) == torch.inf
    # The branch not taken must have finite gradients: 0 * inf is NaN.
    soft = F.soft_margin_loss(difference.masked_fill(overflows, 0), ones)
    ranking = F.margin_ranking_loss(negative, positive, ones, margin=OVERFLOW_MARGIN)
    return torch.where(overflows, ranking, soft)


def cross_entropy_loss(
    pred_class_outputs: Tensor, gt_classes: Tensor, eps: float, alpha: float = 0.2
) -> Tensor:
    """Compute fastreid's cross-entropy with label smoothing without its ``nonzero``.

    Args:
        pred_class_outputs: logits (B, C) of the classifier.
        gt_classes: labels (B,) in 0..C-1.
        eps: share of the label spread over other classes; below 0 it is ``alpha`` times the
            predicted probability of the label.
        alpha: factor of adaptive smoothing.

    Returns:
        Sum over the images, divided by the number of images whose loss is not 0.
    """
    log_probabilities = F.log_softmax(pred_class_outputs, dim=1)
    with torch.no_grad():
        labels = gt_classes[:, None]
        smoothing = eps
        if eps < 0:
            smoothing = alpha * F.softmax(pred_class_outputs, dim=1).gather(1, labels)
        targets = torch.ones_like(log_probabilities)
        targets *= smoothing / (pred_class_outputs.size(1) - 1)
        targets.scatter_(1, labels, 1 - smoothing)
    losses = (-targets * log_probabilities).sum(dim=1)
    counted = (losses.detach() != 0).sum().clamp(min=1)
    return losses.sum() / counted


def _cos_softmax(self: Any, logits: Tensor, targets: Tensor) -> Tensor:
    return (logits - self.m * _one_hot(logits, targets)).mul_(self.s)


def _arc_softmax(self: Any, logits: Tensor, targets: Tensor) -> Tensor:
    return (logits.acos() + self.m * _one_hot(logits, targets)).cos().mul_(self.s)


def _circle_softmax(self: Any, logits: Tensor, targets: Tensor) -> Tensor:
    cosines = logits.detach()
    positive = torch.clamp_min(1 + self.m - cosines, 0) * (logits - (1 - self.m))
    negative = torch.clamp_min(cosines + self.m, 0) * (logits - self.m)
    return torch.where(_one_hot(logits, targets) > 0, positive, negative).mul_(self.s)


def _one_hot(logits: Tensor, targets: Tensor) -> Tensor:
    """Encode labels as (B, C), 1 at the label and 0 elsewhere; rows of label -1 are 0."""
    is_label = (targets != -1).to(logits.dtype)[:, None]
    return torch.zeros_like(logits).scatter_(1, targets.clamp(min=0)[:, None], is_label)


def _repaired(host: Callable, function: Callable) -> Callable:
    """Wrap ``function`` in full precision under the name and signature of ``host``."""
    wrapped = functools.wraps(host)(in_full_precision(function))
    wrapped._fastreid_ext = True
    return wrapped


def _replace_in_host(original: Callable, repaired: Callable) -> None:
    """Replace a function wherever a module of fastreid has imported it by name."""
    for name, module in list(sys.modules.items()):
        if name.startswith("fastreid.") and vars(module).get(original.__name__) is original:
            setattr(module, original.__name__, repaired)
