"""Cells, clusters, divergences and samplers against hand-computed cases."""

import math

import numpy as np
import pytest

from fastreid_ext.bodies.pose_sources import pose_bank
from fastreid_ext.generation.pose_plan.distribution import (
    Cells,
    PoseClusters,
    PosesAndViews,
    divergence,
    pose_features,
    view_divergence,
)
from fastreid_ext.generation.pose_plan.sampler import (
    CanonicalSampler,
    InverseDensitySampler,
    UniformSampler,
)

CELLS = Cells(azimuths=4, elevations=2, elevation_deg=(0.0, 30.0))


def views(azimuths, elevations, poses=None):
    count = len(azimuths)
    poses = np.zeros((count, 24, 3)) if poses is None else poses
    return PosesAndViews(poses, np.array(azimuths, float), np.array(elevations, float))


def test_cells_have_the_front_in_the_middle_of_the_first():
    found = CELLS.of(views([0, 44, 46, 314, 316, 180, 359.9], [0, 14, 16, 29, 31, -5, 15]))
    assert found.tolist() == [0, 0, 3, 7, 1, 4, 1]


def test_a_viewpoint_sampled_of_a_cell_lies_in_it():
    rng = np.random.default_rng(0)
    for cell in range(len(CELLS)):
        sampled = [CELLS.sample(cell, rng) for _ in range(50)]
        assert set(CELLS.of(views(*zip(*sampled, strict=True))).tolist()) == {cell}


def test_divergence_in_closed_form():
    assert divergence(np.array([4, 4, 4])) == 0
    assert divergence(np.array([9, 0, 0])) == pytest.approx(math.log(3))
    expected = 0.75 * math.log(0.75 * 2) + 0.25 * math.log(0.25 * 2)
    assert divergence(np.array([3, 1])) == pytest.approx(expected)
    with pytest.raises(ValueError, match="at least one image to measure, got none"):
        divergence(np.array([0, 0]))


def test_one_viewpoint_is_as_far_from_uniform_as_can_be():
    assert view_divergence(views([10, 12], [3, 4]), CELLS) == pytest.approx(math.log(8))


def test_poses_are_compared_without_heading():
    """A turned body has the same features; a raised arm has others."""
    pose = np.zeros((1, 24, 3))
    turned = pose.copy()
    turned[0, 0] = [0, 2.0, 0]
    raised = pose.copy()
    raised[0, 16] = [0, 0, 1.2]
    assert np.array_equal(pose_features(turned), pose_features(pose))
    moved = np.abs(pose_features(raised) - pose_features(pose)).reshape(23, 3).max(axis=1)
    assert moved.max() > 0.2
    assert (moved[:12] == 0).all()  # legs and trunk stay


def test_clusters_separate_walking_from_unusual_poses():
    walks = np.stack([one.pose for one in pose_bank(["gait"], 30, 0)])
    others = np.stack([one.pose for one in pose_bank(["unusual"], 30, 0)])
    clusters = PoseClusters(np.concatenate([walks, others]), 4)
    of_walks = np.bincount(clusters.of(walks), minlength=4) / 30
    of_others = np.bincount(clusters.of(others), minlength=4) / 30
    assert np.minimum(of_walks, of_others).sum() < 0.4
    with pytest.raises(ValueError, match=r"at least 9 poses to cluster, got 3; lower .*CLUSTERS"):
        PoseClusters(walks[:3], 9)


class TwoClusters:
    """Poses whose first joint is turned are of cluster 1."""

    count = 2

    def of(self, poses):
        return (poses[:, 1, 0] > 0).astype(np.int64)


def test_inverse_density_is_the_formula_of_a_hand_made_histogram():
    """Five images in the cell (0, front low), one in (1, left high)."""
    poses = np.zeros((6, 24, 3))
    poses[5, 1, 0] = 1
    of_set = views([0] * 5 + [90], [1] * 5 + [29], poses)
    bank = np.zeros((3, 24, 3))
    bank[2, 1, 0] = 1
    sampler = InverseDensitySampler(of_set, bank, TwoClusters(), CELLS)
    weights = np.ones((2, 8))
    weights[0, 0] = 1 / 6
    weights[1, 3] = 1 / 2
    np.testing.assert_allclose(sampler.probabilities, weights / weights.sum())
    rng = np.random.default_rng(0)
    wanted = [sampler.sample(i, rng) for i in range(4000)]
    chosen = views([w.azimuth_deg for w in wanted], [w.elevation_deg for w in wanted])
    cluster = (np.array([w.pose for w in wanted]) == 2).astype(int)
    counts = np.bincount(cluster * 8 + CELLS.of(chosen), minlength=16).reshape(2, 8)
    expected = 4000 * sampler.probabilities
    assert ((counts - expected) ** 2 / expected).sum() < 37.7  # chi-square, 15 dof, p 0.001


def test_clusters_without_a_pose_to_choose_are_left_out():
    sampler = InverseDensitySampler(views([0], [1]), np.zeros((2, 24, 3)), TwoClusters(), CELLS)
    assert sampler.probabilities[1].sum() == 0
    assert sampler.probabilities.sum() == pytest.approx(1)


def test_uniform_plans_are_uniform():
    sampler = UniformSampler(5, (0.0, 30.0))
    rng = np.random.default_rng(1)
    wanted = [sampler.sample(i, rng) for i in range(4000)]
    chosen = views([w.azimuth_deg for w in wanted], [w.elevation_deg for w in wanted])
    counts = np.bincount(CELLS.of(chosen), minlength=8)
    assert ((counts - 500) ** 2 / 500).sum() < 24.3  # 7 dof, p 0.001
    poses = np.bincount([w.pose for w in wanted], minlength=5)
    assert ((poses - 800) ** 2 / 800).sum() < 18.5  # 4 dof


def test_views_of_the_set_are_used_as_they_are():
    sampler = UniformSampler(1, (0.0, 30.0), views([10, 20], [1, 2]))
    rng = np.random.default_rng(0)
    found = {(w.azimuth_deg, w.elevation_deg) for w in (sampler.sample(i, rng) for i in range(20))}
    assert found == {(10.0, 1.0), (20.0, 2.0)}


def test_canonical_poses_come_in_turn():
    sampler = CanonicalSampler()
    rng = np.random.default_rng(0)
    azimuths = [sampler.sample(i, rng).azimuth_deg for i in range(6)]
    assert azimuths == [0, 90, 180, 270, 0, 90]
    assert [pose.name for pose in sampler.poses] == ["front", "left", "back", "right"]
