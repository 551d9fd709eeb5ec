"""HHCL: Cluster-Contrast with a hard and a mean centroid of each cluster.

[0] Hu et al., "Hard-sample Guided Hybrid Contrast Learning for Unsupervised Person
    Re-Identification", IC-NIDC 2021, https://arxiv.org/abs/2109.12333
"""

from typing import Any

from fastreid.config import CfgNode, configurable
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from torch import Tensor

from fastreid_ext.modeling.losses import HybridMemory, hybrid_contrast_loss
from fastreid_ext.modeling.meta_arch.cluster_contrast import ClusterContrast

HYBRID_CONTRAST = "HybridContrastLoss"


@META_ARCH_REGISTRY.register()
class HHCL(ClusterContrast):
    """ClusterContrast with a :class:`~fastreid_ext.modeling.losses.HybridMemory`.

    Args:
        hard_weight: weight of the contrast to hard centroids.
        mean_weight: weight of the contrast to mean centroids.
        contrast: keyword arguments of ClusterContrast.
    """

    @configurable
    def __init__(
        self, *, hard_weight: float = 0.5, mean_weight: float = 0.5, **contrast: Any
    ) -> None:
        super().__init__(**contrast)
        self.hard_weight = hard_weight
        self.mean_weight = mean_weight

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read the arguments from a configuration."""
        keys = cfg.MODEL.LOSSES.HYBRID_CONTRAST
        heads = cfg.MODEL.HEADS
        dim = heads.EMBEDDING_DIM or cfg.MODEL.BACKBONE.FEAT_DIM
        return super().from_config(cfg) | {
            "memory": HybridMemory(heads.NUM_CLASSES, dim, momentum=keys.MOMENTUM),
            "scale": keys.SCALE,
            "temperature": keys.TEMPERATURE,
            "hard_weight": keys.HARD_WEIGHT,
            "mean_weight": keys.MEAN_WEIGHT,
        }

    def contrast(self, features: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss of features (B, D) of clusters (B,)."""
        return hybrid_contrast_loss(
            features,
            self.memory,
            targets,
            temperature=self.temperature,
            hard_weight=self.hard_weight,
            mean_weight=self.mean_weight,
        )
