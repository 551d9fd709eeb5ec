"""SimCLR, the plain self-supervised baseline: two views of an image against all others.

The loss is pytorch-metric-learning's. Labels are not used.

[0] Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020,
    https://arxiv.org/abs/2002.05709
"""

from collections.abc import Mapping
from typing import Any

from fastreid.config import CfgNode, configurable
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from fastreid.modeling.meta_arch.baseline import Baseline
from torch import Tensor

from fastreid_ext.full_precision import in_full_precision
from fastreid_ext.modeling.meta_arch.contrastive_pretrain import views_of


@META_ARCH_REGISTRY.register()
class SimCLRPretrain(Baseline):
    """Backbone and ProjectionHead with the NT-Xent loss; evaluation as in ContrastivePretrain.

    Args:
        temperature: tau > 0.
        scale: weight of the loss.
        baseline: arguments of fastreid's Baseline.
    """

    takes_views = True

    @configurable
    def __init__(self, *, temperature: float = 0.1, scale: float = 1.0, **baseline: Any) -> None:
        # Here, because the import takes two seconds and nothing else needs it.
        from pytorch_metric_learning.losses import NTXentLoss, SelfSupervisedLoss

        super().__init__(**baseline)
        self.contrast = SelfSupervisedLoss(NTXentLoss(temperature=temperature))
        self.scale = scale

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read the arguments off a configuration."""
        keys = cfg.MODEL.LOSSES.CONTRAST
        return super().from_config(cfg) | {"temperature": keys.TEMPERATURE, "scale": keys.SCALE}

    def forward(self, batched_inputs: Mapping[str, Any] | Tensor) -> dict[str, Tensor] | Tensor:
        """Return losses in training, of a batch of two views; else pooled features (B, C)."""
        images = self.preprocess_image(batched_inputs)
        if not self.training:
            return self.heads(self.backbone(images))
        views = views_of(images, batched_inputs, 2)
        embedded = self.heads(self.backbone(images)).unflatten(0, views.shape[:2])
        return {"loss_contrast": self.scale * in_full_precision(self.contrast)(*embedded)}
