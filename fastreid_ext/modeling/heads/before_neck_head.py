"""fastreid's head, but tested with the feature before the neck.

[0] Luo et al., "Bag of Tricks and A Strong Baseline for Deep Person Re-identification", CVPRW 2019,
    sec. 3.5: the neck separates the feature of the triplet loss from that of the classifier.
"""

from fastreid.modeling.heads import REID_HEADS_REGISTRY
from fastreid.modeling.heads.embedding_head import EmbeddingHead
from torch import Tensor


@REID_HEADS_REGISTRY.register()
class BeforeNeckHead(EmbeddingHead):
    """EmbeddingHead that gives the pooled feature in evaluation, which BN has not touched.

    fastreid's own gives the feature after the neck there, whatever MODEL.HEADS.NECK_FEAT says.
    Transformers are mostly tested before it (TransReID, SOLIDER-REID, CLIP-ReID). Training is the
    host's.
    """

    def forward(
        self, features: Tensor, targets: Tensor | None = None
    ) -> dict[str, Tensor] | Tensor:
        """Turn a map (B, C, h, w) into losses' inputs, or in evaluation into features (B, C)."""
        if self.training:
            return super().forward(features, targets)
        return self.pool_layer(features)[..., 0, 0]
