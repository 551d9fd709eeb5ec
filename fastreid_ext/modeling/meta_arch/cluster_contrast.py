"""Cluster-Contrast: features are told apart by the centroids of all clusters.

[0] Dai et al., "Cluster Contrast for Unsupervised Person Re-Identification", ACCV 2022,
    https://arxiv.org/abs/2103.11568
"""

from collections.abc import Mapping
from typing import Any

import torch
from fastreid.config import CfgNode, configurable
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from fastreid.modeling.meta_arch.baseline import Baseline
from torch import Tensor, nn

from fastreid_ext.modeling.losses import ClusterMemory, prototype_contrast_loss

CLUSTER_CONTRAST = "ClusterContrastLoss"


@META_ARCH_REGISTRY.register()
class ClusterContrast(Baseline):
    """fastreid's Baseline with a memory of cluster centroids in place of the classifier.

    The memory moves after a step that has changed the weights, by the features that this step
    looked at; a skipped step leaves it alone.

    Args:
        memory: centroids of the clusters.
        scale: weight of the loss in the total loss.
        temperature: divisor > 0 of the similarities to centroids.
        baseline: keyword arguments of fastreid's Baseline.
    """

    @configurable
    def __init__(
        self,
        *,
        memory: nn.Module,
        scale: float = 1.0,
        temperature: float = 0.05,
        **baseline: Any,
    ) -> None:
        super().__init__(**baseline)
        self.memory = memory
        self.scale = scale
        self.temperature = temperature
        self._seen: tuple[Tensor, Tensor] | None = None
        # The classifier would be weights without a gradient.
        rows = self.heads.weight
        self.heads.weight = nn.Parameter(rows.new_zeros(0, rows.shape[1]), requires_grad=False)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read the arguments from a configuration."""
        keys = cfg.MODEL.LOSSES.CLUSTER_CONTRAST
        heads = cfg.MODEL.HEADS
        dim = heads.EMBEDDING_DIM or cfg.MODEL.BACKBONE.FEAT_DIM
        return super().from_config(cfg) | {
            "memory": ClusterMemory(
                heads.NUM_CLASSES, dim, momentum=keys.MOMENTUM, rule=keys.UPDATE
            ),
            "scale": keys.SCALE,
            "temperature": keys.TEMPERATURE,
        }

    def begin_clusters(self, features: Tensor, labels: Tensor) -> None:
        """Set the memory for an epoch.

        Args:
            features: (N, D) features of length 1 of all training images, on the CPU.
            labels: (N,) clusters 0 .. C-1; -1 for images that are left out.
        """
        self._seen = None
        self.memory.begin(features, labels)

    def losses(self, outputs: Mapping[str, Tensor], gt_labels: Tensor) -> dict[str, Tensor]:
        """Compute ``loss_cluster`` and remember the features for :meth:`end_step`.

        Args:
            outputs: outputs of the head in training.
            gt_labels: clusters (B,) of the images.
        """
        features = outputs["features"]
        self._seen = (features.detach(), self.rows_of_memory(gt_labels))
        return {"loss_cluster": self.scale * self.contrast(features, gt_labels)}

    def rows_of_memory(self, targets: Tensor) -> Tensor:
        """Return the rows (B,) of the memory that the step moves: those of the clusters."""
        return targets

    def contrast(self, features: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss of features (B, D) of clusters (B,)."""
        return prototype_contrast_loss(features, self.memory.used, targets, self.temperature)

    @torch.no_grad()
    def end_step(self, is_applied: bool) -> None:
        """Move the memory by the features of the step, if it has changed the weights.

        Args:
            is_applied: whether the step has changed the weights.
        """
        if is_applied and self._seen is not None:
            self.memory.update(*self._seen)
        self._seen = None
