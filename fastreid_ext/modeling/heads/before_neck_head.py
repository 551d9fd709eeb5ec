"""Head that is tested with the feature before the neck.

[0] Luo et al., "Bag of Tricks and A Strong Baseline for Deep Person Re-identification", CVPRW 2019,
    sec. 3.5: the neck separates the feature of the triplet loss from that of the classifier.
"""

from fastreid.modeling.heads import REID_HEADS_REGISTRY
from fastreid.modeling.heads.embedding_head import EmbeddingHead
from torch import Tensor


@REID_HEADS_REGISTRY.register()
class BeforeNeckHead(EmbeddingHead):
    """EmbeddingHead that returns the pooled feature in evaluation, before batch normalisation.

    fastreid's EmbeddingHead returns the feature after the neck there, whatever
    MODEL.HEADS.NECK_FEAT says. Transformers are mostly tested before the neck (TransReID,
    SOLIDER-REID, CLIP-ReID). Training is fastreid's.

    Example:
        >>> import torch
        >>> from fastreid.config import get_cfg
        >>> head = BeforeNeckHead(get_cfg()).eval()  # of a ResNet-50's 2048 channels
        >>> head(torch.ones(2, 2048, 16, 8)).shape
        torch.Size([2, 2048])
    """

    def forward(
        self, features: Tensor, targets: Tensor | None = None
    ) -> dict[str, Tensor] | Tensor:
        """Turn a map (B, C, h, w) into the losses' inputs, in evaluation into features (B, C)."""
        if self.training:
            return super().forward(features, targets)
        return self.pool_layer(features)[..., 0, 0]
