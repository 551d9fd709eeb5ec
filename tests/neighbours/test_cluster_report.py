"""Figures of a clustering, worked out by hand."""

import numpy as np
import pytest

from fastreid_ext.neighbours import cluster_report

CAMERAS = np.array([0, 1, 0, 0, 2, 2])


def test_clusters_noise_and_cameras_are_counted():
    report = cluster_report(np.array([0, 0, 0, 1, 1, -1]), CAMERAS)
    assert (report.clusters, report.largest) == (2, 3)
    assert report.noise_share == pytest.approx(1 / 6)
    assert report.cameras == 2  # cameras 0 and 1, then 0 and 2
    assert report.ari is None
    assert report.nmi is None
    assert str(report) == ("2 clusters of at most 3 images and on average 2.0 cameras, 16.7% noise")


def test_equal_groups_score_1_whatever_their_numbers():
    report = cluster_report(np.array([1, 1, 0, 0, 2, 2]), CAMERAS, np.array([7, 7, 3, 3, 5, 5]))
    assert (report.ari, report.nmi) == (1, pytest.approx(1))


def test_noise_counts_as_groups_of_one_image():
    """Pairs together: 2 by clusters, 3 by identities, 2 by both; of 15 pairs. Hubert and Arabie:
    (2 - 2 * 3 / 15) / ((2 + 3) / 2 - 2 * 3 / 15) = 16 / 21."""
    report = cluster_report(np.array([0, 0, 1, 1, -1, -1]), CAMERAS, np.array([4, 4, 6, 6, 9, 9]))
    assert report.ari == pytest.approx(16 / 21)


def test_all_noise_has_no_cluster():
    report = cluster_report(np.full(6, -1), CAMERAS, np.array([0, 0, 1, 1, 2, 2]))
    assert (report.clusters, report.largest, report.noise_share, report.cameras) == (0, 0, 1, 0)
    assert report.ari == 0
