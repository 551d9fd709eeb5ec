"""Head of Batch DropBlock: two branches on one feature map.

Letters: B batch, C channels of the backbone, h x w feature map, D dimension of a branch's feature,
N identities.

    global:  map -> average pool                             -> reduce C -> 512   = g -> classifier
    part:    map -> residual block -> BatchDrop -> max pool  -> reduce C -> 1024  = p -> classifier

A reduction is a linear map, batch normalisation and ReLU. g and p serve the triplet loss, the
classifiers and testing alike; a test feature is [g, p].

[0] Dai et al., "Batch DropBlock Network for Person Re-identification and Beyond", ICCV 2019,
    https://arxiv.org/abs/1811.07130; where it is silent, the authors' published settings.
"""

import math
from typing import Any

import torch
from fastreid.config import CfgNode, configurable
from fastreid.layers import get_norm
from fastreid.modeling.backbones.resnet import Bottleneck
from fastreid.modeling.heads import REID_HEADS_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F

from fastreid_ext.modeling.heads.batch_drop import BatchDrop

# Outputs of one branch in training, under the names that fastreid's heads use.
BranchOutputs = dict[str, Tensor]


class BranchHead(nn.Module):
    """Branch that pools a map, reduces it to a feature and classifies the feature.

    Example:
        >>> pool = nn.AdaptiveAvgPool2d(1)
        >>> head = BranchHead(pool, in_channels=64, out_channels=16, num_classes=10, norm="BN")
        >>> outputs = head(torch.rand(2, 64, 16, 8))
        >>> outputs["features"].shape, outputs["cls_outputs"].shape
        (torch.Size([2, 16]), torch.Size([2, 10]))

    Args:
        pool: layer from a map (B, C, h, w) to (B, C, 1, 1).
        in_channels: number C of the map's channels.
        out_channels: dimension D of the feature.
        num_classes: number N of identities; 0 where only features are wanted.
        norm: name of fastreid's normalisation layer, e.g. "BN".
    """

    def __init__(
        self, pool: nn.Module, *, in_channels: int, out_channels: int, num_classes: int, norm: str
    ) -> None:
        super().__init__()
        self.pool = pool
        # On a 1 x 1 map this is a linear layer. No bias: the normalisation would subtract it.
        self.reduction = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 1, bias=False),
            get_norm(norm, out_channels),
            nn.ReLU(),
        )
        # By these names and shapes, matching recognises a classifier of other identities.
        self.weight = nn.Parameter(torch.empty(num_classes, out_channels))
        self.bias = nn.Parameter(torch.zeros(num_classes))
        nn.init.kaiming_normal_(self.reduction[0].weight)
        # Kaiming by the inputs. The authors' code takes the outputs (identities): much the same at
        # Market-1501's 751, but with few identities the first logits are large, the start slow.
        nn.init.normal_(self.weight, std=math.sqrt(2 / out_channels))

    def forward(self, features: Tensor) -> Tensor | BranchOutputs:
        """Compute the feature (B, D), and in training the logits (B, N), under fastreid's names."""
        reduced = self.reduction(self.pool(features)).flatten(1)
        if not self.training:
            return reduced
        logits = F.linear(reduced, self.weight, self.bias)
        return {"cls_outputs": logits, "pred_class_logits": logits, "features": reduced}


@REID_HEADS_REGISTRY.register()
class BDBHead(nn.Module):
    """Global and part branch of Batch DropBlock, on any backbone with a feature map.

    Example:
        >>> head = BDBHead(feat_dim=64, num_classes=10).eval()
        >>> head(torch.rand(2, 64, 16, 8)).shape  # [g, p]
        torch.Size([2, 1536])

    Args:
        feat_dim: number C of the backbone's channels, a multiple of 4.
        num_classes: number N of identities in training.
        global_dim: feature dimension D of the global branch.
        part_dim: feature dimension D of the part branch.
        drop_height: share in (0, 1] of the rows that BatchDrop zeroes.
        drop_width: share in (0, 1] of the columns that BatchDrop zeroes.
        norm: name of fastreid's normalisation layer, e.g. "BN".
    """

    @configurable
    def __init__(
        self,
        *,
        feat_dim: int,
        num_classes: int,
        global_dim: int = 512,
        part_dim: int = 1024,
        drop_height: float = 0.33,
        drop_width: float = 1.0,
        norm: str = "BN",
    ) -> None:
        super().__init__()
        if feat_dim <= 0 or feat_dim % Bottleneck.expansion:
            raise ValueError(
                f"expected a feature map with a multiple of {Bottleneck.expansion} channels, got "
                f"{feat_dim}; set MODEL.BACKBONE.FEAT_DIM to the width of the backbone"
            )
        self.global_head = BranchHead(
            nn.AdaptiveAvgPool2d(1),
            in_channels=feat_dim,
            out_channels=global_dim,
            num_classes=num_classes,
            norm=norm,
        )
        self.part_block = Bottleneck(feat_dim, feat_dim // Bottleneck.expansion, norm)
        self.batch_drop = BatchDrop(drop_height, drop_width)
        self.part_head = BranchHead(
            nn.AdaptiveMaxPool2d(1),
            in_channels=feat_dim,
            out_channels=part_dim,
            num_classes=num_classes,
            norm=norm,
        )

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read the arguments from a configuration."""
        heads = cfg.MODEL.HEADS
        return {
            "feat_dim": cfg.MODEL.BACKBONE.FEAT_DIM,
            "num_classes": heads.NUM_CLASSES,
            "global_dim": heads.BDB.GLOBAL_DIM,
            "part_dim": heads.BDB.PART_DIM,
            "drop_height": heads.BDB.DROP_HEIGHT,
            "drop_width": heads.BDB.DROP_WIDTH,
            "norm": heads.NORM,
        }

    def forward(
        self, features: Tensor, targets: Tensor | None = None
    ) -> Tensor | dict[str, BranchOutputs]:
        """Compute the test feature, or in training the outputs of both branches.

        Args:
            features: map (B, C, h, w) of the backbone.
            targets: identities (B,), which a plain linear classifier does not need.

        Returns:
            In eval mode [g, p] of shape (B, 512 + 1024), not normalised. In training
            ``{"global": outputs, "part": outputs}``.
        """
        branches = {
            "global": self.global_head(features),
            "part": self.part_head(self.batch_drop(self.part_block(features))),
        }
        return branches if self.training else torch.cat(list(branches.values()), dim=1)
