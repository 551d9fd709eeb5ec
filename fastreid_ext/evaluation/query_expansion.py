"""Weighted average query expansion (AQE): fastreid's ``aqe`` in bounded memory.

fastreid keeps all N x N similarities; here only those of the nearest images are kept.

Letters: N images, D feature dimension, K nearest images, the image itself included.

[0] Chum et al., "Total Recall", ICCV 2007; weights as in Radenovic et al., TPAMI 2018 (alpha)
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from fastreid_ext.neighbours.knn import nearest

_ROW_CHUNK = 256  # images averaged together: 4 bytes x K x D each


def expanded(
    query: Tensor, gallery: Tensor, *, times: int, neighbours: int, alpha: float
) -> tuple[Tensor, Tensor]:
    """Replace each feature by the weighted mean of its nearest features, in query and gallery.

    Args:
        query: (Q, D) float32 features, not necessarily normalised.
        gallery: (G, D) float32 features on the same device.
        times: number of rounds of expansion, ``TEST.AQE.QE_TIME``.
        neighbours: number K of nearest images, ``TEST.AQE.QE_K``, at least 1; all images if there
            are fewer.
        alpha: exponent in weight = cosine similarity ** alpha. With a fraction, negative
            similarities give NaN, in fastreid too; the ranking then refuses the features.

    Returns:
        Query (Q, D) and gallery (G, D) features, not normalised.

    Example:
        >>> features = torch.eye(2)
        >>> query, _ = expanded(features[:1], features, times=1, neighbours=2, alpha=3.0)
        >>> query
        tensor([[1., 0.]])
    """
    features = torch.cat([query, gallery])
    for _ in range(times):
        near = nearest(F.normalize(features, dim=1), min(neighbours, len(features)), _negated)
        weights = near.distance.neg().pow(alpha)
        features = torch.cat(
            [
                (features[index] * weight[..., None]).mean(dim=1)
                for index, weight in zip(
                    near.index.split(_ROW_CHUNK), weights.split(_ROW_CHUNK), strict=True
                )
            ]
        )
    return features[: len(query)], features[len(query) :]


def _negated(products: Tensor, rows: slice, columns: slice) -> Tensor:
    return products.neg_()
