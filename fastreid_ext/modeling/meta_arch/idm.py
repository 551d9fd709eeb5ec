"""IDM: images between the domains, mixed from pairs, bridge the source and the target.

[0] Dai et al., "IDM: An Intermediate Domain Module for Domain Adaptive Person Re-ID", ICCV 2021,
    https://arxiv.org/abs/2108.02413
[1] its code, https://github.com/SikaStar/IDM
"""

import re
from collections.abc import Mapping
from typing import Any

from fastreid.config import CfgNode, configurable
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from torch import Tensor

from fastreid_ext.modeling.domain_mixing import mix_after
from fastreid_ext.modeling.losses import (
    bridge_feature_loss,
    bridge_prediction_loss,
    mixing_diversity_loss,
)
from fastreid_ext.modeling.meta_arch.domain_baseline import DomainBaseline

BRIDGE = "BridgeLoss"
_STAGE = re.compile(r"backbone\.(?:layer|NL_)(\d)\.")


@META_ARCH_REGISTRY.register()
class IDM(DomainBaseline):
    """DomainBaseline with mixed images from a stage of the backbone on.

    In training the batch [source; target] becomes [source; target; mixed], where the i-th source
    and target images are a pair. Classification counts 1 - mu_1, the bridge loss on predictions
    mu_1. Mixed images have no triplets, as their labels are mixed.

    Attributes:
        mixing: module between two stages, not used in evaluation; None without one.

    Args:
        stage: stage of the backbone after which images are mixed, 0 (stem) to 4; -1 = not at all.
        width: number of channels of the backbone's output.
        prediction_weight: weight mu_1 in [0, 1] of the bridge loss on predictions.
        feature_weight: weight mu_2 of the bridge loss on features.
        diversity_weight: weight mu_3 of the diversity of the shares.
        baseline: keyword arguments of DomainBaseline.
    """

    @configurable
    def __init__(
        self,
        *,
        stage: int,
        width: int,
        prediction_weight: float = 0.7,
        feature_weight: float = 0.1,
        diversity_weight: float = 1.0,
        **baseline: Any,
    ) -> None:
        super().__init__(**baseline)
        self.stage = stage
        self.prediction_weight = prediction_weight
        self.feature_weight = feature_weight
        self.diversity_weight = diversity_weight
        self.mixing = None if stage < 0 else mix_after(self.backbone, stage, width)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read the arguments from a configuration."""
        keys = cfg.MODEL.LOSSES.BRIDGE
        return super().from_config(cfg) | {
            "stage": cfg.MODEL.IDM.STAGE,
            "width": cfg.MODEL.BACKBONE.FEAT_DIM,
            "prediction_weight": keys.PREDICTION_WEIGHT,
            "feature_weight": keys.FEATURE_WEIGHT,
            "diversity_weight": keys.DIVERSITY_WEIGHT,
        }

    def domains_of(self, name: str) -> int:
        """Count the domains that a layer sees: three behind the module, two before it.

        Args:
            name: full name of the layer, such as "backbone.layer1.0.bn1".
        """
        if self.mixing is None:
            return 2
        if not name.startswith("backbone."):
            return 3
        found = _STAGE.match(name)
        stage = int(found[1]) if found else 0
        return 2 if stage <= self.stage else 3

    def losses(self, outputs: Mapping[str, Any], gt_labels: Tensor) -> dict[str, Tensor]:
        """Compute the losses of source and target, and those of the mixed images.

        Args:
            outputs: outputs of the head for 2n images and n mixed ones.
            gt_labels: classes (2n,) of the images.
        """
        if self.mixing is None:
            return super().losses(outputs, gt_labels)
        images = len(gt_labels)
        names = ("cls_outputs", "features")
        losses = super().losses({name: outputs[name][:images] for name in names}, gt_labels)
        mixed = {name: outputs[name][images:] for name in names}
        losses["loss_cls"] = (1 - self.prediction_weight) * losses["loss_cls"]
        return losses | self._of_mixed(mixed, outputs["features"][:images], gt_labels)

    def _of_mixed(
        self, mixed: Mapping[str, Tensor], features: Tensor, targets: Tensor
    ) -> dict[str, Tensor]:
        """Compute the losses of mixed images from those of the pairs, features (2n, D)."""
        shares = self.mixing.take_shares()
        logits = mixed["cls_outputs"][:, : self.num_clusters]
        prediction = bridge_prediction_loss(
            logits, *targets.chunk(2), shares[:, 0], self.loss_kwargs["ce"]["eps"]
        )
        feature = bridge_feature_loss(mixed["features"], *features.chunk(2), shares)
        return {
            "loss_bridge_prediction": self.prediction_weight * prediction,
            "loss_bridge_feature": self.feature_weight * feature,
            "loss_diversity": self.diversity_weight * mixing_diversity_loss(shares),
        }
