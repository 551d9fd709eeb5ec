"""Samplers of pose and viewpoint for new images.

Letters: M poses to choose from, K clusters of poses, C cells of viewpoints.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fastreid_ext.bodies.pose_sources import NamedPose, canonical_poses
from fastreid_ext.generation.pose_plan.distribution import Cells, PoseClusters, PosesAndViews


@dataclasses.dataclass(frozen=True)
class Wanted:
    """Pose and viewpoint of an image.

    Attributes:
        pose: position of the pose among those to choose from.
        azimuth_deg: azimuth of the camera in degrees.
        elevation_deg: elevation of the camera in degrees.
    """

    pose: int
    azimuth_deg: float
    elevation_deg: float


class UniformSampler:
    """Choose every pose and viewpoint alike, or the viewpoints of a set if they are given.

    Args:
        poses: number M of poses to choose from.
        elevation_deg: lowest and highest elevation in degrees.
        views: images whose viewpoints are used; None for all viewpoints.
    """

    def __init__(
        self, poses: int, elevation_deg: Sequence[float], views: PosesAndViews | None = None
    ) -> None:
        self._poses = poses
        self._elevation_deg = elevation_deg
        self._views = views

    def sample(self, number: int, rng: np.random.Generator) -> Wanted:
        """Sample pose and viewpoint of the image ``number`` of an identity."""
        pose = int(rng.integers(self._poses))
        if self._views is None:
            azimuth = float(rng.uniform(0, 360))
            return Wanted(pose, azimuth, float(rng.uniform(*self._elevation_deg)))
        row = rng.integers(len(self._views))
        views = self._views
        return Wanted(pose, float(views.azimuth_deg[row]), float(views.elevation_deg[row]))


class InverseDensitySampler:
    """Choose what a set lacks: a cell of n images of the set weighs 1 / (n + 1).

    A cell is a cluster of poses and a cell of viewpoints. Cells whose cluster has no pose to choose
    from are left out. Within a cell the viewpoint is uniform, and so is the choice of the pose.

    Args:
        of_set: poses and viewpoints of the set.
        poses: (M, 24, 3) poses to choose from.
        clusters: clusters of the poses.
        cells: cells in which viewpoints are counted.
    """

    def __init__(
        self,
        of_set: PosesAndViews,
        poses: NDArray[np.floating],
        clusters: PoseClusters,
        cells: Cells,
    ) -> None:
        self._cells = cells
        cluster_of = clusters.of(poses)
        self._members = [np.flatnonzero(cluster_of == k) for k in range(clusters.count)]
        place = clusters.of(of_set.poses) * len(cells) + cells.of(of_set)
        counts = np.bincount(place, minlength=clusters.count * len(cells))
        weights = 1 / (counts.reshape(clusters.count, len(cells)) + 1)
        weights[[not len(members) for members in self._members]] = 0
        self.probabilities = weights / weights.sum()  # (K, C)

    def sample(self, number: int, rng: np.random.Generator) -> Wanted:
        """Sample pose and viewpoint of the image ``number`` of an identity."""
        place = rng.choice(self.probabilities.size, p=self.probabilities.ravel())
        cluster, cell = divmod(int(place), len(self._cells))
        members = self._members[cluster]
        return Wanted(int(rng.choice(members)), *self._cells.sample(cell, rng))


class CanonicalSampler:
    """Show one neutral step from front, left, back and right, in turn."""

    def __init__(self) -> None:
        self._views = [(azimuth, elevation) for _, azimuth, elevation in canonical_poses()]

    @property
    def poses(self) -> list[NamedPose]:
        """Poses to choose from, named after the views."""
        return [pose for pose, _, _ in canonical_poses()]

    def sample(self, number: int, rng: np.random.Generator) -> Wanted:
        """Return pose and viewpoint of the image ``number`` of an identity."""
        place = number % len(self._views)
        return Wanted(place, *self._views[place])


Sampler = UniformSampler | InverseDensitySampler | CanonicalSampler
