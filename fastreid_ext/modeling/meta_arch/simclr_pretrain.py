"""SimCLR, the plain self-supervised baseline: two views of an image against all other images.

The loss is NT-Xent (:func:`nt_xent_loss`): the cosine of each view with the other view of its image
against the cosines with the views of all other images, of all processes. Labels are not used.

Several processes: the gradient is that of one process with the same batch where the backbone has
``NORM: syncBN``, as in the paper, or no batch normalisation. Otherwise the statistics of a process
tell which views were normalised together.

Letters: B images of a process, C channels of the backbone.

[0] Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020,
    https://arxiv.org/abs/2002.05709, eq. 1; appendix B.2: global batch normalisation
"""

from collections.abc import Mapping
from typing import Any

from fastreid.config import CfgNode, configurable
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from fastreid.modeling.meta_arch.baseline import Baseline
from torch import Tensor

from fastreid_ext.modeling.losses import nt_xent_loss
from fastreid_ext.modeling.meta_arch.contrastive_pretrain import split_views

NT_XENT = "NTXentLoss"  # in MODEL.LOSSES.NAME


@META_ARCH_REGISTRY.register()
class SimCLRPretrain(Baseline):
    """Backbone and ProjectionHead with the NT-Xent loss; evaluated as ContrastivePretrain is.

    Example:
        >>> import torch
        >>> from fastreid_ext.modeling.heads import ProjectionHead
        >>> backbone = torch.nn.Conv2d(3, 8, kernel_size=8, stride=8)
        >>> pixels = {"pixel_mean": [0.0] * 3, "pixel_std": [1.0] * 3}
        >>> head = ProjectionHead(feat_dim=8)
        >>> model = SimCLRPretrain(backbone=backbone, heads=head, **pixels)
        >>> list(model({"images": torch.rand(4, 3, 64, 32), "views": 2}))  # of two images
        ['loss_contrast']

    Args:
        temperature: divisor tau > 0 of the cosines.
        scale: weight of the loss in the total.
        baseline: keyword arguments of fastreid's Baseline.
    """

    takes_views = True

    @configurable
    def __init__(self, *, temperature: float = 0.1, scale: float = 1.0, **baseline: Any) -> None:
        super().__init__(**baseline)
        self.temperature = temperature
        self.scale = scale

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read the arguments from a configuration."""
        keys = cfg.MODEL.LOSSES.NT_XENT
        return super().from_config(cfg) | {"temperature": keys.TEMPERATURE, "scale": keys.SCALE}

    def forward(self, batched_inputs: Mapping[str, Any] | Tensor) -> dict[str, Tensor] | Tensor:
        """Compute the loss of a batch of two views, or in evaluation pooled features (B, C)."""
        images = self.preprocess_image(batched_inputs)
        if not self.training:
            return self.heads(self.backbone(images))
        views = split_views(images, batched_inputs, 2)
        embedded = self.heads(self.backbone(images)).unflatten(0, views.shape[:2])
        return {"loss_contrast": self.scale * nt_xent_loss(embedded, self.temperature)}
