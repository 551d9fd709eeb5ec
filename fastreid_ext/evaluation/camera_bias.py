"""Camera bias: how much features depend on the camera.

Without bias, images of two identities are equally similar whichever cameras took them.

Letters: Q queries, G gallery images, A cameras of the queries, C cameras of the gallery.
"""

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fastreid_ext.evaluation.distances import DistanceChunks
from fastreid_ext.evaluation.features import TestFeatures

_CHUNK_PAIRS = 2**23


@dataclasses.dataclass(frozen=True)
class CameraBias:
    """Similarities by pair of cameras; NaN for cells without pairs.

    Attributes:
        query_cameras: (A,) camera ids of the queries, ascending.
        gallery_cameras: (C,) camera ids of the gallery, ascending.
        negatives: (A, C) mean cosine similarity of images of two identities.
        positives: (A, C) mean cosine similarity of images of one identity; pairs of one camera,
            which the evaluation leaves out, are on the diagonal.
        nearest_same: share in [0, 1] of queries whose most similar negative is of the query's own
            camera.
        nearest_chance: expected ``nearest_same`` if the negative is chosen at random.
    """

    query_cameras: NDArray[np.int64]
    gallery_cameras: NDArray[np.int64]
    negatives: NDArray[np.float64]
    positives: NDArray[np.float64]
    nearest_same: float
    nearest_chance: float

    @property
    def gap(self) -> float:
        """Difference of the mean similarity of negatives within one camera and across two.

        0 without bias; NaN if no camera has both queries and gallery images.
        """
        own = self.query_cameras[:, None] == self.gallery_cameras[None]
        known = ~np.isnan(self.negatives)
        if not (own & known).any() or not (~own & known).any():
            return float("nan")
        return float(self.negatives[own & known].mean() - self.negatives[~own & known].mean())


def camera_bias(test: TestFeatures) -> CameraBias:
    """Measure how similarity depends on the pair of cameras.

    Example:
        >>> import torch
        >>> pids = np.array([7, 9, 7, 9])
        >>> cameras = np.array([1, 1, 2, 2])
        >>> test = TestFeatures(torch.eye(4), pids, cameras, ["?"] * 4, num_query=2)
        >>> camera_bias(test).negatives  # mean cosines of camera 1 with camera 2
        array([[0.]])

    Raises:
        ValueError: all images are of one camera or one identity, or features are not finite.
    """
    cameras = np.unique(test.camids)
    if len(cameras) < 2:
        raise ValueError(
            f"expected images of at least two cameras, got camera {cameras.tolist()} only; a "
            "camera bias shows in comparison with other cameras"
        )
    test.expect_finite()
    _, _, query_camids, gallery_camids = test.labels()
    positives, negatives = _mean_similarities(test)
    same, chance = _nearest_negatives(test)
    return CameraBias(
        np.unique(query_camids), np.unique(gallery_camids), negatives, positives, same, chance
    )


def _mean_similarities(test: TestFeatures) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute the mean similarities of positives and negatives, (A, C).

    The sum of all products between two groups is the product of the groups' sums, so only the
    positives are computed one by one.
    """
    query, gallery = test.split(test.features)
    _, _, query_camids, gallery_camids = test.labels()
    query_camera = np.unique(query_camids, return_inverse=True)[1]
    gallery_camera = np.unique(gallery_camids, return_inverse=True)[1]
    of_all = _camera_sums(query, query_camera) @ _camera_sums(gallery, gallery_camera).T
    pairs = np.outer(np.bincount(query_camera), np.bincount(gallery_camera))
    positive_sums = np.zeros(pairs.shape)
    positive_pairs = np.zeros(pairs.shape, np.int64)
    rows, columns = test.rows_by_pid()
    for pid in rows.keys() & columns.keys():
        where = np.ix_(query_camera[rows[pid]], gallery_camera[columns[pid]])
        similarity = _unit(query, rows[pid]) @ _unit(gallery, columns[pid]).T
        np.add.at(positive_sums, where, similarity.double().numpy())
        np.add.at(positive_pairs, where, 1)
    positives = _ratio(positive_sums, positive_pairs)
    negatives = _ratio(of_all - positive_sums, pairs - positive_pairs)
    return positives, negatives


def _camera_sums(features: Tensor, camera: NDArray[np.int64]) -> NDArray[np.float64]:
    groups = [np.flatnonzero(camera == number) for number in range(camera.max() + 1)]
    return np.stack(
        [_unit(features, group).sum(dim=0, dtype=torch.float64).numpy() for group in groups]
    )


def _unit(features: Tensor, rows: NDArray[np.int64]) -> Tensor:
    return F.normalize(features[torch.from_numpy(rows)], dim=1)


def _ratio(sums: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)


def _nearest_negatives(test: TestFeatures) -> tuple[float, float]:
    """Compute the share of queries whose nearest negative is of their own camera, and chance."""
    query_pids, _, query_camids, gallery_camids = test.labels()
    _, columns = test.rows_by_pid()
    in_camera = dict(zip(*np.unique(gallery_camids, return_counts=True), strict=True))
    none = np.empty(0, np.int64)
    same = []
    chance = []
    chunks = DistanceChunks(*test.split(test.features), "cosine", chunk_values=_CHUNK_PAIRS)
    rows = (row for products in chunks for row in products.as_distances())
    for row, pid, camera in zip(rows, query_pids.tolist(), query_camids.tolist(), strict=True):
        own = columns.get(pid, none)
        negatives = len(gallery_camids) - len(own)
        if negatives:
            row[torch.from_numpy(own)] = torch.inf
            same.append(gallery_camids[int(row.argmin())] == camera)
            same_camera = in_camera.get(camera, 0) - np.count_nonzero(gallery_camids[own] == camera)
            chance.append(same_camera / negatives)
    if not same:
        raise ValueError(
            "expected at least two identities in the test set, got one; check its identity labels"
        )
    return float(np.mean(same)), float(np.mean(chance))
