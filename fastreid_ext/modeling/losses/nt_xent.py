"""NT-Xent, SimCLR's contrastive loss: two views of an image against the views of all other images.

Several processes: negatives are the views of all. The gradient is that of one process with the
same batch, where the backbone has ``NORM: syncBN`` or no batch normalisation.

Letters: B images of a process, W processes, A = W B images of all, D feature dimension.

[0] Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020,
    https://arxiv.org/abs/2002.05709, eq. 1
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from fastreid_ext.full_precision import in_full_precision
from fastreid_ext.modeling.losses.multi_positive import (
    multi_positive_log_loss,
    negative_similarities,
)
from fastreid_ext.processes import process_rank, rows_of_all


@in_full_precision
def nt_xent_loss(embedded: Tensor, temperature: float) -> Tensor:
    """Compute eq. 1 of [0] as a mean over the 2 B views of this process.

    Example:
        >>> views = torch.eye(4).repeat(2, 1, 1)  # (2, B, D), two equal views of B = 4 images
        >>> round(float(nt_xent_loss(views, temperature=1.0)), 4)  # log(e + 6) - 1
        1.1654

    Args:
        embedded: features (2, B, D) of two views of each image, of any norm but 0.
        temperature: divisor tau > 0 of the cosines.

    Returns:
        Scalar >= 0; log(2 A - 1) where all cosines are equal.
    """
    embedded = F.normalize(embedded, dim=2)
    others = rows_of_all(embedded.transpose(0, 1)).transpose(0, 1)  # (2, A, D)
    positive = (embedded[0] * embedded[1]).sum(dim=1).repeat(2)  # (2 B,)
    first = process_rank() * embedded.shape[1]
    negative = torch.cat([negative_similarities(view, others, first=first) for view in embedded])
    return multi_positive_log_loss(positive[:, None], negative, temperature)
