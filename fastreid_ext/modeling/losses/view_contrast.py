"""Contrastive loss between the views of labelled images: a clean view against other identities.

Letters: V views, B images, D feature dimension.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from fastreid_ext.full_precision import in_full_precision
from fastreid_ext.modeling.losses.multi_positive import multi_positive_log_loss


@in_full_precision
def view_contrast_loss(features: Tensor, targets: Tensor, views: int, temperature: float) -> Tensor:
    """Contrast each clean view with its other views, and with all images of other identities.

    The negatives are all views of these images, so that positives and negatives are equally
    corrupted. A network that only sees how corrupted an image is gains nothing.

    Example:
        >>> features = torch.eye(4).repeat(3, 1)  # (V * B, D), three equal views of four images
        >>> targets = torch.arange(4).repeat(3)
        >>> loss = view_contrast_loss(features, targets, views=3, temperature=1.0)
        >>> round(float(loss), 4)  # log((2 e + 9) / (2 e))
        0.9766

    Args:
        features: features (V * B, D) of any norm but 0, view by view; the first view is the clean
            one.
        targets: identities (V * B,) of the rows.
        views: number V >= 2 of views.
        temperature: divisor tau > 0 of the cosines.

    Returns:
        Scalar >= 0; 0 where the batch has one identity only.
    """
    rows = F.normalize(features, dim=1)
    by_view = rows.unflatten(0, (views, -1))  # (V, B, D)
    query = by_view[0]
    positive = torch.einsum("bd,vbd->bv", query, by_view[1:])
    is_same = targets[: len(query), None] == targets[None, :]  # (B, V * B)
    negative = (query @ rows.T).masked_fill(is_same, -torch.inf)
    return multi_positive_log_loss(positive, negative, temperature)
