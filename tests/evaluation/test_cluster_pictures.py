"""Pictures of clusters: what they count by hand, and that every kind is shown."""

import json

import cv2
import numpy as np
import pytest

from fastreid_ext.evaluation.cluster_file import ClusteredImages
from fastreid_ext.evaluation.pictures.clusters import (
    camera_pair_ratios,
    plot_camera_mix,
    plot_cluster_curves,
    plot_cluster_sheet,
)

CLUSTERS = np.array([0, 0, 0, 1, 1, 2, 2, -1])
IDENTITIES = np.array([0, 0, 0, 0, 1, 2, 2, 2])
CAMERAS = np.array([0, 0, 1, 0, 1, 1, 1, 0])
ORANGE = (0, 159, 230)  # BGR
BLUE = (178, 114, 0)


@pytest.fixture
def images(tmp_path):
    paths = []
    for number in range(8):
        path = str(tmp_path / f"{number}.png")
        cv2.imwrite(path, np.full((64, 32, 3), 20 * number + 40, np.uint8))
        paths.append(path)
    return ClusteredImages(paths, CAMERAS, ["set_1", "set_2"], CLUSTERS, IDENTITIES)


def has(sheet: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((sheet == colour).all(axis=2).any())


def test_pairs_of_cameras_are_compared_with_chance():
    """Ordered pairs within clusters: 2 of (0, 0), 3 each of (0, 1) and (1, 0), 2 of (1, 1). Of all
    seven clustered images, three of camera 0 and four of camera 1: 6, 12, 12 and 12."""
    images = ClusteredImages([""] * 8, CAMERAS, ["a", "b"], CLUSTERS, None)
    ratios = camera_pair_ratios(images)
    mixed = 3 / 10 / (12 / 42)
    np.testing.assert_allclose(ratios, [[2 / 10 / (6 / 42), mixed], [mixed, 2 / 10 / (12 / 42)]])


def test_cameras_without_pairs_are_left_empty():
    images = ClusteredImages([""] * 3, np.array([0, 1, 1]), ["a", "b"], np.array([0, 0, 0]), None)
    ratios = camera_pair_ratios(images)
    assert np.isnan(ratios[0, 0])
    assert ratios[0, 1] == ratios[1, 1] == 1


def test_sheet_shows_pure_mixed_and_split_clusters(images, tmp_path):
    sheet = cv2.imread(str(plot_cluster_sheet(images, tmp_path / "sheet.png", rows=2, columns=4)))
    assert has(sheet, BLUE)
    assert has(sheet, ORANGE)
    # A title, two pure clusters and a mixed one, a split identity, three headings.
    assert 4 * 136 < sheet.shape[0] < 5 * 136 + 60


def test_sheet_without_identities_shows_clusters_by_size(images, tmp_path):
    unknown = ClusteredImages(images.paths, CAMERAS, images.camera_names, CLUSTERS, None)
    sheet = cv2.imread(str(plot_cluster_sheet(unknown, tmp_path / "sheet.png", columns=4)))
    assert has(sheet, BLUE)
    assert not has(sheet, ORANGE)


def test_camera_mix_and_curves_are_written(images, tmp_path):
    assert plot_camera_mix(images, tmp_path / "cameras.png").stat().st_size > 0
    lines = [
        {"iteration": 1, "clusters/clusters": 3.0, "clusters/noise_share": 0.5},
        {"iteration": 2, "total_loss": 1.0},
        {"iteration": 3, "clusters/clusters": 4.0, "clusters/noise_share": 0.25},
    ]
    metrics = tmp_path / "metrics.json"
    metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert plot_cluster_curves(metrics, tmp_path / "curves.png").stat().st_size > 0
    metrics.write_text(json.dumps({"iteration": 1, "total_loss": 2.0}) + "\n")
    with pytest.raises(ValueError, match=r"lines with clusters, got none; is it the metrics.json"):
        plot_cluster_curves(metrics, tmp_path / "curves.png")
