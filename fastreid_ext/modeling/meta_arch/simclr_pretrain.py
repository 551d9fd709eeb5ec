"""SimCLR, the plain self-supervised baseline: two views of an image against all others.

The loss is NT-Xent. For each of the 2 B views of a process: its cosine with the other view of its
image against those with the views of all other images, of all processes. Labels are not used.

Several processes: the gradient is that of one process with the same batch where the backbone has
``NORM: syncBN``, as in the paper, or no batch normalisation. Otherwise views that are normalised
together know each other by it.

Letters: B images of a process, W processes, A = W B images of all, D dimension.

[0] Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020,
    https://arxiv.org/abs/2002.05709, eq. 1; appendix B.2: global batch normalisation
"""

from collections.abc import Mapping
from typing import Any

import torch
from fastreid.config import CfgNode, configurable
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from fastreid.modeling.meta_arch.baseline import Baseline
from torch import Tensor
from torch.nn import functional as F

from fastreid_ext.full_precision import in_full_precision
from fastreid_ext.modeling.losses import multi_positive_log_loss
from fastreid_ext.modeling.meta_arch.contrastive_pretrain import to_negatives, views_of
from fastreid_ext.processes import process_rank, rows_of_all

NT_XENT = "NTXentLoss"  # in MODEL.LOSSES.NAME


@META_ARCH_REGISTRY.register()
class SimCLRPretrain(Baseline):
    """Backbone and ProjectionHead with the NT-Xent loss; evaluation as in ContrastivePretrain.

    Args:
        temperature: tau > 0.
        scale: weight of the loss.
        baseline: arguments of fastreid's Baseline.
    """

    takes_views = True

    @configurable
    def __init__(self, *, temperature: float = 0.1, scale: float = 1.0, **baseline: Any) -> None:
        super().__init__(**baseline)
        self.temperature = temperature
        self.scale = scale

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read the arguments off a configuration."""
        keys = cfg.MODEL.LOSSES.NT_XENT
        return super().from_config(cfg) | {"temperature": keys.TEMPERATURE, "scale": keys.SCALE}

    def forward(self, batched_inputs: Mapping[str, Any] | Tensor) -> dict[str, Tensor] | Tensor:
        """Return losses in training, of a batch of two views; else pooled features (B, C)."""
        images = self.preprocess_image(batched_inputs)
        if not self.training:
            return self.heads(self.backbone(images))
        views = views_of(images, batched_inputs, 2)
        embedded = self.heads(self.backbone(images)).unflatten(0, views.shape[:2])
        return {"loss_contrast": self.scale * nt_xent_loss(embedded, self.temperature)}


@in_full_precision
def nt_xent_loss(embedded: Tensor, temperature: float) -> Tensor:
    """Mean over the 2 B views of this process of NT-Xent, eq. 1 of [0].

    Example:
        >>> views = torch.eye(4).repeat(2, 1, 1)  # (2, B, D), two equal views of B = 4 images
        >>> round(float(nt_xent_loss(views, temperature=1.0)), 4)  # log(e + 6) - 1
        1.1654

    Args:
        embedded: (2, B, D), rows of norm 1.
        temperature: tau > 0.

    Returns:
        Scalar >= 0; log(2 A - 1) where all cosines are equal.
    """
    embedded = F.normalize(embedded, dim=2)
    others = rows_of_all(embedded.transpose(0, 1)).transpose(0, 1)  # (2, A, D)
    positive = (embedded[0] * embedded[1]).sum(dim=1).repeat(2)  # (2 B,)
    first = process_rank() * embedded.shape[1]
    negative = torch.cat([to_negatives(view, others, None, first) for view in embedded])
    return multi_positive_log_loss(positive[:, None], negative, temperature)
