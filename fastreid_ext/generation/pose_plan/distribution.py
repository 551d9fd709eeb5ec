"""Distribution of poses and viewpoints of a set, and how far it is from uniform.

A viewpoint falls into a cell of azimuth and elevation, a pose into one of the clusters of k-means.
Poses are compared by the places of their joints, relative to the pelvis and without heading, on a
body of mean shape.

Letters: N images, K clusters of poses.

[0] "Pose-Diversified Augmentation with Diffusion Model for Person Re-Identification", 2024,
    figure 3, https://arxiv.org/abs/2406.16042
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from fastreid_ext.bodies.body_fits import BodyFits
from fastreid_ext.bodies.body_model import load_body


@dataclasses.dataclass(frozen=True, eq=False)
class PosesAndViews:
    """Poses and viewpoints of N images.

    Attributes:
        poses: (N, 24, 3) axis-angle vectors in radians; row 0 does not count.
        azimuth_deg: (N,) azimuths of the cameras in degrees, 0 in front, 90 at the body's left.
        elevation_deg: (N,) elevations of the cameras in degrees, positive looks down.
    """

    poses: NDArray[np.floating]
    azimuth_deg: NDArray[np.floating]
    elevation_deg: NDArray[np.floating]

    def __len__(self) -> int:
        """Return N, the number of images."""
        return len(self.poses)

    @classmethod
    def of_fits(cls, fits: BodyFits, rows: Sequence[int]) -> "PosesAndViews":
        """Read poses and viewpoints of some rows of body fits."""
        views = np.array([fits.viewpoint(row) for row in rows]).reshape(-1, 2)
        return cls(fits.poses[list(rows)], views[:, 0], views[:, 1])

    def joined(self, other: "PosesAndViews") -> "PosesAndViews":
        """Append other images."""
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        return PosesAndViews(*(np.concatenate(pair) for pair in pairs))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cells:
    """Cells in which viewpoints are counted.

    Attributes:
        azimuths: number of equal parts of 360 degrees.
        elevations: number of equal parts of the elevations.
        elevation_deg: lowest and highest elevation in degrees; those beyond count in the outer
            cells.
    """

    azimuths: int = 12
    elevations: int = 3
    elevation_deg: tuple[float, float] = (0.0, 30.0)

    def __len__(self) -> int:
        """Return the number of cells."""
        return self.azimuths * self.elevations

    def of(self, views: PosesAndViews) -> NDArray[np.int64]:
        """Find the cell (N,) of each viewpoint; the first has azimuth 0 in its middle.

        Example:
            >>> views = PosesAndViews(np.zeros((2, 24, 3)), np.array([-5, 90]), np.array([0, 29]))
            >>> Cells().of(views).tolist()
            [0, 11]
        """
        width = 360 / self.azimuths
        across = ((views.azimuth_deg + width / 2) % 360 // width).astype(np.int64)
        low, high = self.elevation_deg
        share = (views.elevation_deg - low) / (high - low) * self.elevations
        up = share.astype(np.int64).clip(0, self.elevations - 1)
        return across % self.azimuths * self.elevations + up

    def sample(self, cell: int, rng: np.random.Generator) -> tuple[float, float]:
        """Sample a viewpoint (azimuth, elevation) in degrees, uniform within a cell."""
        across, up = divmod(cell, self.elevations)
        width = 360 / self.azimuths
        azimuth = (across - 0.5 + rng.random()) * width % 360
        low, high = self.elevation_deg
        return float(azimuth), float(low + (up + rng.random()) * (high - low) / self.elevations)


class PoseClusters:
    """Clusters of poses by k-means.

    Args:
        poses: (N, 24, 3) poses that are clustered.
        count: number K of clusters, at most N.
        seed: seed of the first means of k-means.

    Raises:
        ValueError: fewer poses than clusters.
    """

    def __init__(self, poses: NDArray[np.floating], count: int, seed: int = 0) -> None:
        if len(poses) < count:
            raise ValueError(
                f"expected at least {count} poses to cluster, got {len(poses)}; lower "
                "GENERATION.POSE_PLAN.POSE_CLUSTERS"
            )
        self.count = count
        self._means = KMeans(count, n_init=3, random_state=seed).fit(pose_features(poses))

    def of(self, poses: NDArray[np.floating]) -> NDArray[np.int64]:
        """Find the cluster (N,) of each pose."""
        return self._means.predict(pose_features(poses)).astype(np.int64)


def pose_features(poses: NDArray[np.floating]) -> NDArray[np.float64]:
    """Compute the places of joints (N, 69) in metres, relative to the pelvis, without heading."""
    upright = np.array(poses, dtype=np.float64)
    upright[:, 0] = 0
    still = np.zeros((len(upright), 3))
    joints = load_body().joints_batch(np.zeros((len(upright), 10)), upright, still)
    return (joints[:, 1:] - joints[:, :1]).reshape(len(upright), -1)


def divergence(counts: NDArray[np.integer]) -> float:
    """Compute the Kullback-Leibler divergence of counts from the uniform distribution, in nats.

    0 for equal counts, the logarithm of the number of cells if all lie in one.

    Example:
        >>> divergence(np.array([5, 5])), round(divergence(np.array([3, 0])), 4)
        (0.0, 0.6931)

    Raises:
        ValueError: nothing was counted.
    """
    total = counts.sum()
    if total == 0:
        raise ValueError("expected at least one image to measure, got none")
    shares = counts[counts > 0] / total
    return float((shares * np.log(shares * len(counts))).sum())


def view_divergence(views: PosesAndViews, cells: Cells) -> float:
    """Compute the divergence of viewpoints from uniform, in nats."""
    return divergence(np.bincount(cells.of(views), minlength=len(cells)))


def pose_divergence(poses: PosesAndViews, clusters: PoseClusters) -> float:
    """Compute the divergence of poses from uniform over clusters, in nats."""
    return divergence(np.bincount(clusters.of(poses.poses), minlength=clusters.count))
