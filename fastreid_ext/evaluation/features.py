"""Features of a test set, with labels and image paths."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from fastreid.evaluation import inference_context
from numpy.typing import NDArray
from torch import Tensor, nn

from fastreid_ext.evaluation.distances import Metric
from fastreid_ext.evaluation.feature_rows import FeatureRows
from fastreid_ext.evaluation.ranking import RankMetrics, rank_metrics


@dataclasses.dataclass(frozen=True)
class TestFeatures:
    """Features, labels and paths of a test set, queries first.

    Example:
        >>> pids = np.array([7, 9, 7, 9])
        >>> cameras = np.array([1, 1, 2, 2])
        >>> test = TestFeatures(torch.rand(4, 8), pids, cameras, ["?"] * 4, num_query=2)
        >>> [part.tolist() for part in test.labels()]
        [[7, 9], [7, 9], [1, 1], [2, 2]]

    Attributes:
        features: (N, D) float32 on the CPU.
        pids: (N,) identities of the images.
        camids: (N,) camera ids of the images.
        paths: paths of N image files.
        num_query: number of queries, which come first; the rest is the gallery.
    """

    __test__ = False  # not a test class, whatever pytest thinks of the name

    features: Tensor
    pids: NDArray[np.int64]
    camids: NDArray[np.int64]
    paths: list[str]
    num_query: int

    def labels(self) -> list[NDArray[np.int64]]:
        """Split the labels: query pids, gallery pids, query camids, gallery camids."""
        return [part for ids in (self.pids, self.camids) for part in self.split(ids)]

    def split(self, values: Any) -> tuple[Any, Any]:
        """Split N values into the query part and the gallery part."""
        return values[: self.num_query], values[self.num_query :]

    def expect_finite(self) -> None:
        """Check that features and their norms are finite; else raise ValueError naming an image."""
        lengths = torch.linalg.vector_norm(self.features, dim=1)
        broken = (~lengths.isfinite()).nonzero().flatten().tolist()
        if broken:
            raise ValueError(
                f"expected finite features, got NaN or infinity for {len(broken)} images, the "
                f"first is {self.paths[broken[0]]}; did training diverge?"
            )

    def rows_by_pid(self) -> tuple[dict[int, NDArray[np.int64]], dict[int, NDArray[np.int64]]]:
        """Group by identity the rows of the queries, and those of the gallery."""
        query_pids, gallery_pids, _, _ = self.labels()
        return _rows_by_value(query_pids), _rows_by_value(gallery_pids)

    def metrics(self, metric: Metric = "cosine") -> RankMetrics:
        """Rank the gallery for every query and compute CMC, mAP and mINP."""
        return rank_metrics(*self.split(self.features), *self.labels(), metric=metric)


def _rows_by_value(values: NDArray[np.int64]) -> dict[int, NDArray[np.int64]]:
    order = np.argsort(values, kind="stable")
    known, first = np.unique(values[order], return_index=True)
    return dict(zip(known.tolist(), np.split(order, first[1:]), strict=True))


@torch.no_grad()
def extract_features(
    model: nn.Module, loader: Iterable[dict[str, Any]], num_query: int, *, flip: bool = False
) -> TestFeatures:
    """Extract the features of a test set with ``model`` in evaluation mode.

    Args:
        model: model from a batch to features (B, D).
        loader: test loader of ``fastreid_ext.data``, with batches in order, queries first.
        num_query: number of queries, which come first.
        flip: whether to average with the features of the mirrored images, as TEST.FLIP.
    """
    features = FeatureRows()
    pids = []
    camids = []
    paths = []
    with inference_context(model):
        for batch in loader:
            features.append(batch_features(model, batch, flip=flip))
            pids.append(batch["targets"].cpu())
            camids.append(batch["camids"].cpu())
            paths.extend(batch["img_paths"])
    return TestFeatures(
        features=features.joined(),
        pids=torch.cat(pids).numpy(),
        camids=torch.cat(camids).numpy(),
        paths=paths,
        num_query=num_query,
    )


def batch_features(model: nn.Module, batch: dict[str, Any], *, flip: bool) -> Tensor:
    """Compute the features (B, D) float32 of ``batch["images"]``; ``flip`` averages with mirrored.

    The model must be in evaluation mode. Features are averaged without normalisation, as by
    fastreid's TEST.FLIP.
    """
    features = model(batch)
    if flip:
        mirrored = {**batch, "images": batch["images"].flip(dims=[3])}
        features = (features + model(mirrored)) / 2
    return features.float()
