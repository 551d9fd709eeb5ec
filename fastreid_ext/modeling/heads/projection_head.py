"""Head for contrastive pre-training: pooling and a two-layer MLP to a unit vector.

Letters: B batch, C channels of the backbone, h x w map, H hidden width, D output dimension.

[0] Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020,
    https://arxiv.org/abs/2002.05709, sec. 4.2: a non-linear projection, thrown away afterwards
"""

from typing import Any

from fastreid.config import CfgNode, configurable
from fastreid.layers import pooling
from fastreid.modeling.heads import REID_HEADS_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F

from fastreid_ext.full_precision import at_least_float32


@REID_HEADS_REGISTRY.register()
class ProjectionHead(nn.Module):
    """Head that gives unit vectors in training and pooled features in evaluation.

    Example:
        >>> import torch
        >>> head = ProjectionHead(feat_dim=64, embedding_dim=16)
        >>> vectors = head(torch.rand(2, 64, 16, 8))
        >>> vectors.shape, round(vectors.norm(dim=1).sum().item(), 4)
        (torch.Size([2, 16]), 2.0)

    Args:
        feat_dim: number C of the backbone's channels.
        hidden_dim: hidden width H of the MLP; 0 takes C.
        embedding_dim: dimension D of the unit vectors.
        with_norm: whether batch normalisation follows the hidden layer, as in BYOL.
        pool_type: name of fastreid's pooling layer.
    """

    @configurable
    def __init__(
        self,
        *,
        feat_dim: int,
        hidden_dim: int = 0,
        embedding_dim: int = 128,
        with_norm: bool = False,
        pool_type: str = "GlobalAvgPool",
    ) -> None:
        super().__init__()
        hidden_dim = hidden_dim or feat_dim
        self.pool_layer = getattr(pooling, pool_type)()
        self.projection = nn.Sequential(
            nn.Linear(feat_dim, hidden_dim),
            *([nn.BatchNorm1d(hidden_dim)] if with_norm else []),
            nn.ReLU(),
            nn.Linear(hidden_dim, embedding_dim),
        )

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read the arguments from a configuration."""
        heads = cfg.MODEL.HEADS
        return {
            "feat_dim": cfg.MODEL.BACKBONE.FEAT_DIM,
            "hidden_dim": heads.PROJECTION.HIDDEN_DIM,
            "embedding_dim": heads.EMBEDDING_DIM,
            "with_norm": heads.PROJECTION.WITH_NORM,
            "pool_type": heads.POOL_LAYER,
        }

    def forward(self, features: Tensor, targets: Tensor | None = None) -> Tensor:
        """Compute one vector for each image.

        Args:
            features: map (B, C, h, w) of the backbone.
            targets: identities (B,), which are not used.

        Returns:
            In training (B, D) of norm 1, in float32 or wider. In evaluation the pooled feature
            (B, C), not normalised, from which a downstream network starts.
        """
        if not self.training:
            return self.pool_layer(features).flatten(1)
        return F.normalize(at_least_float32(self.project(features)), dim=1)

    def project(self, features: Tensor) -> Tensor:
        """Compute the output of the MLP, (B, D) of any norm."""
        return self.projection(self.pool_layer(features).flatten(1))
