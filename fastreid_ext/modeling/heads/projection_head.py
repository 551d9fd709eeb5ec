"""Pooling and a two-layer MLP to a unit vector, for contrastive pre-training.

Letters: B batch, C channels of the backbone, h x w map, H hidden width, D output dimension.

[0] Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020,
    https://arxiv.org/abs/2002.05709, sec. 4.2: a non-linear projection, thrown away afterwards
"""

from typing import Any

import torch
from fastreid.config import CfgNode, configurable
from fastreid.layers import pooling
from fastreid.modeling.heads import REID_HEADS_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F


@REID_HEADS_REGISTRY.register()
class ProjectionHead(nn.Module):
    """Unit vectors for a contrastive loss in training, pooled features in evaluation.

    Args:
        feat_dim: C.
        hidden_dim: H; 0 = C.
        embedding_dim: D.
        pool_type: name of fastreid's pooling layer.
    """

    @configurable
    def __init__(
        self,
        *,
        feat_dim: int,
        hidden_dim: int = 0,
        embedding_dim: int = 128,
        pool_type: str = "GlobalAvgPool",
    ) -> None:
        super().__init__()
        hidden_dim = hidden_dim or feat_dim
        self.pool_layer = getattr(pooling, pool_type)()
        self.projection = nn.Sequential(
            nn.Linear(feat_dim, hidden_dim),
            nn.ReLU(),
            nn.Linear(hidden_dim, embedding_dim),
        )

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read the arguments off a configuration."""
        heads = cfg.MODEL.HEADS
        return {
            "feat_dim": cfg.MODEL.BACKBONE.FEAT_DIM,
            "hidden_dim": heads.PROJECTION.HIDDEN_DIM,
            "embedding_dim": heads.EMBEDDING_DIM,
            "pool_type": heads.POOL_LAYER,
        }

    def forward(self, features: Tensor, targets: Tensor | None = None) -> Tensor:
        """Turn a map into vectors.

        Args:
            features: (B, C, h, w).
            targets: not used.

        Returns:
            In training (B, D) of norm 1, float32 at least; in evaluation the pooled feature (B, C),
            not normalised, which is what a downstream network starts from.
        """
        pooled = self.pool_layer(features).flatten(1)
        if not self.training:
            return pooled
        projected = self.projection(pooled)
        return F.normalize(projected.to(torch.promote_types(projected.dtype, torch.float32)), dim=1)
