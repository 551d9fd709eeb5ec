"""BYOL: a network predicts what its own moving average says of another view; no negatives.

The online network (backbone, head, predictor) sees both views, and so does the target network, a
moving average of backbone and head. The prediction from each view is compared with the target's
projection of the other (:func:`byol_loss`). Labels are not used.

Differences to [0]: the momentum is constant, where [0] raises it to 1 along a cosine, and both
views are normalised together in one pass. Several processes: there is nothing to gather. [0]
normalises over all of them; ``NORM: syncBN`` does so in the backbone, while head and predictor
normalise over the images of their process.

Letters: B images of a process, C channels of the backbone, D dimension of a projection.

[0] Grill et al., "Bootstrap Your Own Latent: A New Approach to Self-Supervised Learning",
    NeurIPS 2020, https://arxiv.org/abs/2006.07733
"""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from fastreid.config import CfgNode, configurable
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from fastreid.modeling.meta_arch.baseline import Baseline
from torch import Tensor, nn

from fastreid_ext.modeling.losses import byol_loss
from fastreid_ext.modeling.meta_arch.contrastive_pretrain import move_towards, split_views

BYOL = "BYOLLoss"  # in MODEL.LOSSES.NAME


@META_ARCH_REGISTRY.register()
class BYOLPretrain(Baseline):
    """Online network ``backbone``, ``heads``, ``predictor``; target ``target_backbone`` and heads.

    Evaluated as ContrastivePretrain is, by the pooled feature of the online network.

    Example:
        >>> from fastreid_ext.modeling.heads import ProjectionHead
        >>> backbone = nn.Conv2d(3, 8, kernel_size=8, stride=8)
        >>> pixels = {"pixel_mean": [0.0] * 3, "pixel_std": [1.0] * 3}
        >>> head = ProjectionHead(feat_dim=8, embedding_dim=6, with_norm=True)
        >>> model = BYOLPretrain(backbone=backbone, heads=head, embedding_dim=6, **pixels)
        >>> list(model({"images": torch.rand(4, 3, 64, 32), "views": 2}))  # of two images
        ['loss_byol']

    Args:
        momentum: share in [0, 1) of the target network that stays in each step.
        embedding_dim: dimension D of the head's projections.
        hidden_dim: width of the hidden layer of the predictor; 0 takes four times D.
        scale: weight of the loss in the total.
        baseline: keyword arguments of fastreid's Baseline.
    """

    takes_views = True

    @configurable
    def __init__(
        self,
        *,
        momentum: float = 0.996,
        embedding_dim: int = 256,
        hidden_dim: int = 0,
        scale: float = 1.0,
        **baseline: Any,
    ) -> None:
        super().__init__(**baseline)
        hidden_dim = hidden_dim or 4 * embedding_dim
        self.predictor = nn.Sequential(
            nn.Linear(embedding_dim, hidden_dim),
            nn.BatchNorm1d(hidden_dim),
            nn.ReLU(),
            nn.Linear(hidden_dim, embedding_dim),
        )
        self.target_backbone = copy.deepcopy(self.backbone).requires_grad_(False)
        self.target_heads = copy.deepcopy(self.heads).requires_grad_(False)
        self.momentum = momentum
        self.scale = scale

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read the arguments from a configuration."""
        heads = cfg.MODEL.HEADS
        return super().from_config(cfg) | {
            "momentum": cfg.MODEL.BYOL.MOMENTUM,
            "embedding_dim": heads.EMBEDDING_DIM,
            "hidden_dim": heads.PROJECTION.HIDDEN_DIM,
            "scale": cfg.MODEL.LOSSES.BYOL.SCALE,
        }

    def forward(self, batched_inputs: Mapping[str, Any] | Tensor) -> dict[str, Tensor] | Tensor:
        """Compute the loss of a batch of two views, or in evaluation pooled features (B, C)."""
        images = self.preprocess_image(batched_inputs)
        if not self.training:
            return self.heads(self.backbone(images))
        split_views(images, batched_inputs, 2)
        predicted = self.predictor(self.heads.project(self.backbone(images)))
        # Rows come view by view: rolled by B they stand beside the other view.
        target = self._targets(images).roll(len(images) // 2, dims=0)
        # The mean over both views, times the two terms of [0].
        return {"loss_byol": self.scale * 2 * byol_loss(predicted, target)}

    @torch.no_grad()
    def _targets(self, images: Tensor) -> Tensor:
        """Move the target network towards the online one and project the images, (2 B, D)."""
        move_towards(self.target_backbone, self.backbone, self.momentum)
        move_towards(self.target_heads, self.heads, self.momentum)
        return self.target_heads.project(self.target_backbone(images))
