"""Exact k-reciprocal re-ranking in bounded memory: no N x N matrix, on the CPU and on CUDA.

Only K distances per image and sparse weights are kept. The re-ranked distances come in chunks of
queries, for ``ranking.rank_distances``.

Letters: N images = Q queries + G gallery images, D feature dimension, R rows of one chunk.

fastreid has two variants under this name, and both are here:

- rule "evaluator": the variant of its TEST.RERANK (``compute_jaccard_distance``): the image itself
  counts among the k1 nearest, weights are exp(-squared distance), and the metric's distance is
  added unchanged.
- rule "released": ``fastreid.evaluation.rerank.re_ranking``, the authors' released code: k1
  nearest besides the image itself, and squared distances divided by the largest of the image, both
  in the weights and in the sum.

Equal distances are ordered by position; fastreid leaves them to an unstable sort or to faiss.

[0] Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017
"""

import logging
from collections.abc import Iterator
from typing import Literal

import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn import functional as F

from fastreid_ext.evaluation.distances import DistanceChunks, Metric
from fastreid_ext.neighbours.knn import Nearest, nearest
from fastreid_ext.neighbours.reciprocal_sets import (
    Members,
    Overlaps,
    SparseRows,
    expanded_sets,
)

Rule = Literal["evaluator", "released"]
RULES: tuple[Rule, ...] = ("evaluator", "released")
_ALONE = 0.999  # weight of an image in its own set above which its neighbours do not count
_CHUNK_VALUES = 2**23  # re-ranked distances held at a time: 32 MiB of float32

logger = logging.getLogger(__name__)


def reranked_distances(
    query_features: Tensor | ArrayLike,
    gallery_features: Tensor | ArrayLike,
    *,
    k1: int = 20,
    k2: int = 6,
    lambda_value: float = 0.3,
    metric: Metric = "cosine",
    rule: Rule = "evaluator",
) -> Iterator[Tensor]:
    """Yield the re-ranked distances of successive queries to the gallery.

    Args:
        query_features: (Q, D) finite features of the queries.
        gallery_features: (G, D) finite features, moved to the device of the queries.
        k1: number of nearest images searched for mutual ones, at least 1; ``k1`` of [0].
        k2: number of nearest images to average weights over, at least 1; 1 does not average.
        lambda_value: weight of the original distance in [0, 1]; the rest is the Jaccard distance.
        metric: distance to re-rank: "cosine" or "euclidean" (squared, as in fastreid).
        rule: variant of re-ranking, "evaluator" or "released"; see the module docstring.

    Returns:
        Iterator over float32 tensors (R, G), all Q rows in order.

    Raises:
        ValueError: invalid features, as in ``ranking.rank_metrics``, or arguments out of range;
            raised by the call, not by the first chunk.

    Example:
        >>> features = torch.eye(3)
        >>> [tuple(chunk.shape) for chunk in reranked_distances(features[:1], features)]
        [(1, 3)]
    """
    _check(k1, k2, lambda_value, rule)
    chunks = DistanceChunks(query_features, gallery_features, metric, chunk_values=_CHUNK_VALUES)
    return _reranked(chunks, k1, k2, lambda_value, rule)


def _check(k1: int, k2: int, lambda_value: float, rule: str) -> None:
    if k1 < 1 or k2 < 1:
        raise ValueError(f"expected k1 and k2 of at least 1, got {k1} and {k2}")
    if not 0 <= lambda_value <= 1:
        raise ValueError(f"expected lambda in [0, 1], got {lambda_value}")
    if rule not in RULES:
        raise ValueError(f"unknown rule {rule!r}; known: {', '.join(RULES)}")


def _reranked(
    chunks: DistanceChunks, k1: int, k2: int, lambda_value: float, rule: Rule
) -> Iterator[Tensor]:
    num_query = len(chunks.query)
    num_images = len(chunks.query) + len(chunks.gallery)
    near, weights = _weights(chunks, k1, k2, rule)
    if k2 > 1:
        weights = weights.averaged(near.index[:, :k2])
    overlaps = Overlaps(weights, num_images, num_query)
    start = 0
    for products in chunks:
        rows = slice(start, start + len(products.values))
        start = rows.stop
        shared = overlaps.of(rows)
        jaccard = (1 - shared / (2 - shared)).clamp_(min=0)
        original = products.as_distances()
        if rule == "released":
            original = original.square_().div_(near.largest[rows, None])
        yield jaccard.mul_(1 - lambda_value).add_(original, alpha=lambda_value)


def _weights(chunks: DistanceChunks, k1: int, k2: int, rule: Rule) -> tuple[Nearest, SparseRows]:
    """Compute the nearest images and the weighted sets of all N images [0, eq. 7]."""
    pairs = _Pairs(chunks, rule)
    num_images = len(pairs.features)
    # fastreid's evaluator searches k1 images only and averages over no more.
    count = min(k1 if rule == "evaluator" else k1 + 1, num_images)
    searched = count if rule == "evaluator" else min(max(count, k2), num_images)
    near = nearest(pairs.features, searched, pairs.as_distances)
    near.largest.clamp_(min=torch.finfo(torch.float32).tiny)  # a divisor; 0 for copies of one image
    half = min(round(k1 / 2) + 1, count)
    members = expanded_sets(near.index[:, :count], near.distance[:, :count], half)
    distance = members.completed(pairs.distances)
    if rule == "released":
        distance = distance / near.largest[members.row]
    elif chunks.metric == "cosine":
        distance = 2 * distance  # squared distance of unit vectors
    least = distance.new_full((num_images,), torch.inf)
    least.scatter_reduce_(0, members.row, distance, "amin")
    weight = torch.exp(least[members.row] - distance)  # shifted, so that no sum is 0
    total = weight.new_zeros(num_images).index_add_(0, members.row, weight)
    weight = weight / total[members.row]
    _warn_of_vanishing_weights(members, weight)
    return near, SparseRows(members.row, members.column, weight)


def _warn_of_vanishing_weights(members: Members, weight: Tensor) -> None:
    """Warn if nearly every image is alone in its set, so that no ranking can change.

    Features that are not normalised can be so far apart that exp(-squared distance) is 0.
    """
    own = weight[members.row == members.column]
    alone = (own > _ALONE).float().mean().item() if len(own) else 0.0
    if alone > _ALONE:
        logger.warning(
            "re-ranking changes almost nothing: the neighbours of %.1f %% of the images have no "
            "weight, because their distances are too large for exp(-squared distance); set "
            "TEST.METRIC cosine, which normalises the features, or TEST.RERANK.RULE released",
            100 * alone,
        )


class _Pairs:
    """Distances between any of the N images; squared for the rule "released"."""

    def __init__(self, chunks: DistanceChunks, rule: Rule) -> None:
        self._is_cosine = chunks.metric == "cosine"
        self._is_squared = rule == "released"
        self.features = torch.cat([chunks.query, chunks.gallery])
        if self._is_cosine:
            self.features = F.normalize(self.features, dim=1)
        self._squares = torch.linalg.vector_norm(self.features, dim=1).square()

    def as_distances(self, products: Tensor, rows: slice, columns: slice) -> Tensor:
        """Turn the inner products of rows and columns into distances, in place."""
        offset = self._squares[rows, None] + self._squares[columns]
        return self._as_distances(products, offset)

    def distances(self, row: Tensor, column: Tensor) -> Tensor:
        """Compute the (m,) distances between images at the (m,) positions ``row``, ``column``."""
        products = torch.linalg.vecdot(self.features[row], self.features[column])
        offset = self._squares[row] + self._squares[column]
        return self._as_distances(products, offset)

    def _as_distances(self, products: Tensor, offset: Tensor) -> Tensor:
        if self._is_cosine:
            distances = products.neg_().add_(1)
        else:
            distances = products.mul_(-2).add_(offset)
        return distances.square_() if self._is_squared else distances
