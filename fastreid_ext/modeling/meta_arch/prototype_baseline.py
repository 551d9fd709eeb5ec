"""Baseline with a contrast to prototypes: the Re-ID model of DCAC, without its diffusion branch.

[0] Li et al., "Unleashing the Potential of Pre-Trained Diffusion Models for Generalizable Person
    Re-Identification" (DCAC), Sensors 2025, section 4.2, https://arxiv.org/abs/2502.06619
"""

from collections.abc import Mapping
from typing import Any

from fastreid.config import CfgNode, configurable
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from fastreid.modeling.meta_arch.baseline import Baseline
from torch import Tensor, nn

from fastreid_ext.modeling.losses import PrototypeMemory, prototype_contrast_loss

PROTOTYPE = "PrototypeContrastLoss"
_CLASSIFIER_STD = 0.001  # of the initial weights of DCAC's classifier; 0.01 in fastreid


@META_ARCH_REGISTRY.register()
class PrototypeBaseline(Baseline):
    """fastreid's Baseline with a memory of prototypes, one for each training identity.

    A hook of the trainer rebuilds the prototypes at the start of every epoch from the training
    images without augmentation; each batch updates them.

    Args:
        memory: prototypes of all training identities.
        prototype_scale: weight of the contrast in the total loss.
        temperature: divisor > 0 of the similarities to prototypes.
        baseline: keyword arguments of fastreid's Baseline.
    """

    @configurable
    def __init__(
        self,
        *,
        memory: PrototypeMemory,
        prototype_scale: float = 1.0,
        temperature: float = 0.01,
        **baseline: Any,
    ) -> None:
        super().__init__(**baseline)
        self.memory = memory
        self.prototype_scale = prototype_scale
        self.temperature = temperature
        nn.init.normal_(self.heads.weight, std=_CLASSIFIER_STD)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read the arguments from a configuration."""
        keys = cfg.MODEL.LOSSES.PROTOTYPE
        heads = cfg.MODEL.HEADS
        dim = heads.EMBEDDING_DIM or cfg.MODEL.BACKBONE.FEAT_DIM
        return super().from_config(cfg) | {
            "memory": PrototypeMemory(heads.NUM_CLASSES, dim, keys.MOMENTUM),
            "prototype_scale": keys.SCALE,
            "temperature": keys.TEMPERATURE,
        }

    def losses(self, outputs: Mapping[str, Tensor], gt_labels: Tensor) -> dict[str, Tensor]:
        """Compute fastreid's losses and ``loss_prototype``, then update the prototypes.

        Args:
            outputs: outputs of the head in training.
            gt_labels: identities (B,) of the images.
        """
        losses = super().losses(outputs, gt_labels)
        if PROTOTYPE not in self.loss_kwargs["loss_names"]:
            return losses
        features = outputs["features"]
        # A copy, because the update comes before the backward pass.
        prototypes = self.memory.prototypes.clone()
        contrast = prototype_contrast_loss(features, prototypes, gt_labels, self.temperature)
        losses["loss_prototype"] = self.prototype_scale * contrast
        self.memory.update(features.detach(), gt_labels)
        return losses
