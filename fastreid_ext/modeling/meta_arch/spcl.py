"""SpCL: features are told apart by clusters and by images in no cluster, from a memory of images.

[0] Ge et al., "Self-paced Contrastive Learning with Hybrid Memory for Domain Adaptive Object
    Re-ID", NeurIPS 2020, https://arxiv.org/abs/2006.02713
"""

from collections.abc import Mapping
from typing import Any

from fastreid.config import CfgNode, configurable
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from torch import Tensor

from fastreid_ext.modeling.losses import InstanceMemory, instance_contrast_loss
from fastreid_ext.modeling.meta_arch.cluster_contrast import ClusterContrast

INSTANCE_CONTRAST = "InstanceContrastLoss"


@META_ARCH_REGISTRY.register()
class SpCL(ClusterContrast):
    """ClusterContrast with an :class:`~fastreid_ext.modeling.losses.InstanceMemory`.

    Args:
        contrast: keyword arguments of ClusterContrast; the memory has a row for each training
            image.
    """

    @configurable
    def __init__(self, **contrast: Any) -> None:
        super().__init__(**contrast)
        self._indices: Tensor | None = None

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read the arguments from a configuration."""
        keys = cfg.MODEL.LOSSES.INSTANCE_CONTRAST
        heads = cfg.MODEL.HEADS
        dim = heads.EMBEDDING_DIM or cfg.MODEL.BACKBONE.FEAT_DIM
        return super().from_config(cfg) | {
            "memory": InstanceMemory(heads.NUM_CLASSES, dim, momentum=keys.MOMENTUM),
            "scale": keys.SCALE,
            "temperature": keys.TEMPERATURE,
        }

    def remembered_features(self) -> Tensor:
        """Return the memory (N, D), which is clustered from the second epoch on."""
        return self.memory.features

    def forward(self, batched_inputs: Mapping[str, Any]) -> Any:
        """Compute losses in training, where the batch has ``indices``, else features (B, D)."""
        if self.training:
            self._indices = batched_inputs["indices"]
        return super().forward(batched_inputs)

    def rows_of_memory(self, targets: Tensor) -> Tensor:
        """Return the positions (B,) of the batch's images, which the step moves."""
        return self._indices

    def contrast(self, features: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss of features (B, D) of classes (B,)."""
        return instance_contrast_loss(features, self.memory, targets, self.temperature)
