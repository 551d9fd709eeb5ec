"""CaCL: clusters that many cameras show weigh more. A reconstruction, as no code was published.

[0] Lee et al., "Camera-Driven Representation Learning for Unsupervised Domain Adaptive Person
    Re-Identification", ICCV 2023, https://arxiv.org/abs/2308.11901
"""

from typing import Any

from fastreid.config import CfgNode, configurable
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from torch import Tensor

from fastreid_ext.modeling.losses import camera_diversity_weights, smoothed_cross_entropy
from fastreid_ext.modeling.meta_arch.domain_baseline import DomainBaseline


@META_ARCH_REGISTRY.register()
class CaCL(DomainBaseline):
    """DomainBaseline whose target images weigh as the camera diversity of their cluster says.

    The loss is the mean cross-entropy of the source images plus the weighted mean of the target's.

    Attributes:
        cluster_facts: facts that :meth:`begin_clusters` gets beside features and labels.
        cluster_weights: (C,) weights of the clusters; None before the first clustering.

    Args:
        strength: factor >= 0 of the cameras' entropy in a weight.
        is_normalised: whether the weights have a mean of 1 over the clusters.
        baseline: keyword arguments of DomainBaseline.
    """

    cluster_facts = ("cameras",)

    @configurable
    def __init__(
        self, *, strength: float = 1.0, is_normalised: bool = True, **baseline: Any
    ) -> None:
        super().__init__(**baseline)
        self.strength = strength
        self.is_normalised = is_normalised
        self.cluster_weights: Tensor | None = None

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read the arguments from a configuration."""
        keys = cfg.MODEL.LOSSES.CAMERA_DIVERSITY
        return super().from_config(cfg) | {
            "strength": keys.STRENGTH,
            "is_normalised": keys.NORMALISED,
        }

    def begin_clusters(self, features: Tensor, labels: Tensor, cameras: Tensor) -> None:
        """Set the rows of the classifier and the weights of the clusters for an epoch.

        Args:
            features: (N, D) features of length 1 of all target images, on the CPU.
            labels: (N,) clusters 0 .. C-1; -1 for images that are left out.
            cameras: (N,) camera of each image, counted from 0.
        """
        super().begin_clusters(features, labels)
        weights = camera_diversity_weights(
            labels, cameras, strength=self.strength, is_normalised=self.is_normalised
        )
        self.cluster_weights = weights.to(self.device)

    def classification_losses(self, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Compute the cross-entropy of each domain.

        Args:
            logits: (B, S + C) logits of source images, then as many target images.
            targets: (B,) classes of the images.
        """
        keys = self.loss_kwargs["ce"]
        of_source, of_target = logits.chunk(2)
        identities, clusters = targets.chunk(2)
        weights = None
        if self.cluster_weights is not None:
            weights = self.cluster_weights[clusters - self.num_sources]
        return {
            "loss_cls_source": keys["scale"]
            * smoothed_cross_entropy(of_source, identities, keys["eps"]),
            "loss_cls_target": keys["scale"]
            * smoothed_cross_entropy(of_target, clusters, keys["eps"], weights),
        }
