"""Head with a feature of the whole map and one of each of its stripes.

Letters: B batch, C channels of the backbone, h x w feature map, P stripes, N clusters.

[0] Cho et al., "Part-based Pseudo Label Refinement for Unsupervised Person Re-identification",
    CVPR 2022, https://arxiv.org/abs/2203.14675
"""

from typing import Any

import torch
from fastreid.config import CfgNode, configurable
from fastreid.layers import get_norm
from fastreid.modeling.heads import REID_HEADS_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F


class NeckHead(nn.Module):
    """Batch normalisation of a pooled feature, and a classifier without bias.

    Example:
        >>> head = NeckHead(8, num_classes=5, norm="BN")
        >>> head(torch.rand(2, 8, 1, 1)).shape, head.weight.shape
        (torch.Size([2, 8]), torch.Size([5, 8]))

    Args:
        dim: number C of channels.
        num_classes: number N of rows of the classifier.
        norm: name of fastreid's normalisation layer, e.g. "BN"; its bias stays 0.
    """

    def __init__(self, dim: int, *, num_classes: int, norm: str) -> None:
        super().__init__()
        self.neck = get_norm(norm, dim, bias_freeze=True)
        # By this name, matching recognises a classifier of other clusters.
        self.weight = nn.Parameter(torch.empty(num_classes, dim))
        nn.init.normal_(self.weight, std=0.01)

    def forward(self, pooled: Tensor) -> Tensor:
        """Normalise a pooled map (B, C, 1, 1) to a feature (B, C)."""
        return self.neck(pooled).flatten(1)


@REID_HEADS_REGISTRY.register()
class StripeHead(nn.Module):
    """Average of the whole map and of each of P stripes, each with a neck and a classifier.

    Example:
        >>> head = StripeHead(feat_dim=8, num_classes=5)
        >>> outputs = head(torch.rand(2, 8, 24, 8))
        >>> outputs["features"].shape, outputs["logits"].shape  # the whole, then the stripes
        (torch.Size([4, 2, 8]), torch.Size([4, 2, 5]))

    Args:
        feat_dim: number C of the backbone's channels.
        num_classes: number N of rows of each classifier.
        parts: number P of stripes, from top to bottom.
        norm: name of fastreid's normalisation layer, e.g. "BN".
    """

    @configurable
    def __init__(
        self, *, feat_dim: int, num_classes: int, parts: int = 3, norm: str = "BN"
    ) -> None:
        super().__init__()
        self.parts = parts
        settings = {"num_classes": num_classes, "norm": norm}
        self.global_head = NeckHead(feat_dim, **settings)
        for part in range(parts):
            self.add_module(f"part{part + 1}_head", NeckHead(feat_dim, **settings))

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read the arguments from a configuration."""
        heads = cfg.MODEL.HEADS
        return {
            "feat_dim": cfg.MODEL.BACKBONE.FEAT_DIM,
            "num_classes": heads.NUM_CLASSES,
            "parts": heads.STRIPES,
            "norm": heads.NORM,
        }

    def branches(self) -> list[NeckHead]:
        """List the head of the whole map and those of the stripes, from top to bottom."""
        return list(self.children())

    def forward(
        self, features: Tensor, targets: Tensor | None = None
    ) -> Tensor | dict[str, Tensor]:
        """Compute the feature (B, C) of the whole map, or in training what the losses need.

        Args:
            features: map (B, C, h, w) of the backbone, h at least P.
            targets: clusters (B,), which a plain linear classifier does not need.

        Returns:
            In training ``features`` (1 + P, B, C), after the necks, and ``logits`` (1 + P, B, N).
        """
        if not self.training:
            return self.global_head(F.adaptive_avg_pool2d(features, 1))
        found = self.all_features(features)
        logits = [
            F.linear(feature, head.weight)
            for feature, head in zip(found, self.branches(), strict=True)
        ]
        return {"features": found, "logits": torch.stack(logits)}

    def all_features(self, features: Tensor) -> Tensor:
        """Compute the features (1 + P, B, C) of the whole map (B, C, h, w) and of its stripes."""
        stripes = F.adaptive_avg_pool2d(features, (self.parts, 1))  # (B, C, P, 1)
        pooled = [F.adaptive_avg_pool2d(features, 1), *stripes.split(1, dim=2)]
        return torch.stack([head(part) for head, part in zip(self.branches(), pooled, strict=True)])
