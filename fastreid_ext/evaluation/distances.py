"""Distances between features, in chunks of bounded memory, on the CPU and on CUDA.

Letters: N images, Q queries, G gallery images, D feature dimension, R rows of one chunk.
"""

import dataclasses
from collections.abc import Iterator
from typing import Literal

import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn import functional as F

from fastreid_ext.evaluation.rank_labels import expect_images

Metric = Literal["cosine", "euclidean"]
METRICS = ("cosine", "euclidean")
# Values held at a time: 128 MiB of float32. Fewer rows make the matrix product slower.
CHUNK_VALUES = 2**25
_SMALLEST_NORM = 1e-12  # as in F.normalize, which fastreid calls


@dataclasses.dataclass(frozen=True)
class Products:
    """Inner products of some queries and the gallery, with the terms that make them distances.

    distance[r, g] = (row_offset[r] + column_offset[g]) + column_scale[g] * values[r, g]

    Attributes:
        values: (R, G) float32 inner products; the next chunk reuses their memory.
        row_offset: (R,) float32 term added to each row.
        column_offset: (G,) float32 term added to each column.
        column_scale: (G,) float32 factor of each column.
    """

    values: Tensor
    row_offset: Tensor
    column_offset: Tensor
    column_scale: Tensor

    def as_distances(self) -> Tensor:
        """Compute the distances (R, G) in place of ``values``."""
        return self.values.mul_(self.column_scale).add_(
            self.row_offset[:, None] + self.column_offset
        )


def checked_features(values: Tensor | ArrayLike, name: str) -> tuple[Tensor, Tensor]:
    """Check features (N, D), convert them to float32 and compute their norms (N,).

    Float32 features are used without a copy.

    Raises:
        ValueError: features are not two-dimensional, or contain NaN or infinity.
    """
    features = torch.as_tensor(values).detach().float()
    if features.ndim != 2:
        raise ValueError(f"expected {name} (N, D), got {tuple(features.shape)}")
    norms = torch.linalg.vector_norm(features, dim=1)  # not finite if any value is not
    suspects = (~norms.isfinite()).nonzero().flatten()
    broken = suspects[~features[suspects].isfinite().all(dim=1)].tolist()
    if broken:
        raise ValueError(
            f"expected finite {name}, got NaN or infinity in {len(broken)} rows, the first at "
            f"{broken[:5]}; did training diverge?"
        )
    return features, norms


class DistanceChunks:
    """Iterable over the distances of all queries to the gallery, some queries at a time.

    No second copy of the features and no Q x G matrix is allocated. "cosine" is 1 - cosine
    similarity, "euclidean" the squared distance: fastreid's two metrics.

    Args:
        query_features: (Q, D) finite features of the queries.
        gallery_features: (G, D) finite features, moved to the device of the queries.
        metric: distance to compute: "cosine" or "euclidean".
        chunk_values: number of distances held at a time.

    Raises:
        ValueError: shapes do not agree, features or distances are not finite, or the metric is
            unknown.
    """

    def __init__(
        self,
        query_features: Tensor | ArrayLike,
        gallery_features: Tensor | ArrayLike,
        metric: Metric,
        *,
        chunk_values: int = CHUNK_VALUES,
    ) -> None:
        if metric not in METRICS:
            raise ValueError(f"unknown metric {metric!r}; known: {', '.join(METRICS)}")
        self.metric = metric
        self._chunk_values = chunk_values
        self.query, self._query_norms = checked_features(query_features, "query_features")
        gallery, norms = checked_features(gallery_features, "gallery_features")
        self.gallery = gallery.to(self.query.device)
        norms = norms.to(self.query.device)
        self._check(norms)
        if metric == "cosine":
            self._column_offset = torch.zeros_like(norms)
            self._column_scale = -1 / norms.clamp(min=_SMALLEST_NORM)
        else:
            self._column_offset = norms.square()
            self._column_scale = torch.full_like(norms, -2)

    def __iter__(self) -> Iterator[Products]:
        """Yield the inner products of successive queries."""
        rows = min(max(1, self._chunk_values // len(self.gallery)), len(self.query))
        buffer = self.query.new_empty((rows, len(self.gallery)))
        for start in range(0, len(self.query), rows):
            chunk = self.query[start : start + rows]
            row_offset = self._query_norms[start : start + rows].square()
            if self.metric == "cosine":
                chunk = F.normalize(chunk, dim=1)
                row_offset = torch.ones_like(row_offset)
            values = torch.mm(chunk, self.gallery.T, out=buffer[: len(chunk)])
            yield Products(values, row_offset, self._column_offset, self._column_scale)

    def _check(self, gallery_norms: Tensor) -> None:
        if self.query.shape[1] != self.gallery.shape[1]:
            raise ValueError(
                f"expected query and gallery features of one dimension, got {self.query.shape[1]} "
                f"and {self.gallery.shape[1]}; were they extracted by the same model?"
            )
        expect_images(len(self.query), len(self.gallery))
        largest = float(self._query_norms.max()) + float(gallery_norms.max())
        if not largest**2 <= torch.finfo(torch.float32).max:
            raise ValueError(
                f"expected features with finite {self.metric} distances, got squares beyond "
                "float32; did training diverge?"
            )
