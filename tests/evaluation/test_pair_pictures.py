"""Distances of pairs, camera bias, feature maps: numbers against loops, and their plots."""

import dataclasses

import cv2
import numpy as np
import pytest
import torch
from sklearn.metrics import roc_curve

from fastreid_ext.evaluation import camera_bias as camera_bias_module
from fastreid_ext.evaluation import pair_distances
from fastreid_ext.evaluation.camera_bias import CameraBias, camera_bias
from fastreid_ext.evaluation.camera_pairs import camera_pair_metrics
from fastreid_ext.evaluation.features import TestFeatures
from fastreid_ext.evaluation.pair_distances import (
    NEGATIVE,
    POSITIVE,
    SAME_CAMERA,
    PairHistograms,
    pair_histograms,
)
from fastreid_ext.evaluation.pictures.camera_bias import plot_camera_bias
from fastreid_ext.evaluation.pictures.distances import plot_distances
from fastreid_ext.evaluation.pictures.feature_map import plot_feature_map
from fastreid_ext.pictures.png import expect_png

QUERIES = 30
GALLERY = 90
IDENTITIES = 6
CAMERAS = 4


@pytest.fixture
def test_set(tmp_path):
    """Make features with a centre per identity and a shift per camera; labels have gaps."""
    rng = np.random.default_rng(0)
    count = QUERIES + GALLERY
    identity = rng.integers(0, IDENTITIES, count)
    camera = rng.integers(0, CAMERAS, count)
    features = rng.normal(size=(IDENTITIES, 8))[identity]
    features += 0.6 * rng.normal(size=(CAMERAS, 8))[camera]
    features += 0.5 * rng.normal(size=features.shape)
    path = str(tmp_path / "image.png")
    cv2.imwrite(path, np.full((64, 32, 3), 128, np.uint8))
    return TestFeatures(
        torch.tensor(features, dtype=torch.float32),
        identity * 7 - 3,
        camera + 2,
        [path] * count,
        QUERIES,
    )


def pairs_by_loops(test, metric="cosine"):
    """Yield (kind, distance, query camera, gallery camera) of every pair."""
    features = test.features.double().numpy()
    for q in range(QUERIES):
        for g in range(QUERIES, len(features)):
            same_identity = test.pids[q] == test.pids[g]
            same_camera = test.camids[q] == test.camids[g]
            kind = (SAME_CAMERA if same_camera else POSITIVE) if same_identity else NEGATIVE
            query = features[q]
            other = features[g]
            distance = np.linalg.norm(query - other)
            if metric == "cosine":
                distance = 1 - query @ other / np.linalg.norm(query) / np.linalg.norm(other)
            yield kind, distance, test.camids[q], test.camids[g]


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_histograms_equal_loops_over_all_pairs(test_set, metric, monkeypatch):
    monkeypatch.setattr(pair_distances, "_CHUNK_PAIRS", 4 * GALLERY)  # several, and a shorter last
    histograms = pair_histograms(test_set, metric, bins=50)
    by_kind = [[], [], []]
    for kind, distance, *_ in pairs_by_loops(test_set, metric):
        by_kind[kind].append(distance)
    for kind in (POSITIVE, SAME_CAMERA, NEGATIVE):
        expected, _ = np.histogram(by_kind[kind], histograms.edges)
        np.testing.assert_array_equal(histograms.counts[kind], expected)
    assert histograms.counts.sum() == QUERIES * GALLERY


def test_equal_error_rate_is_that_of_the_roc_curve(test_set):
    rate, threshold = pair_histograms(test_set).equal_error_rate()
    pairs = [pair for pair in pairs_by_loops(test_set) if pair[0] != SAME_CAMERA]
    is_match = np.array([kind == POSITIVE for kind, *_ in pairs])
    distances = np.array([distance for _, distance, *_ in pairs])
    false_positive, true_positive, _ = roc_curve(is_match, -distances)
    crossing = np.argmin(np.abs(false_positive - (1 - true_positive)))
    assert rate == pytest.approx(false_positive[crossing], abs=0.01)
    assert np.mean(distances[is_match] > threshold) == pytest.approx(rate, abs=0.01)
    assert np.mean(distances[~is_match] <= threshold) == pytest.approx(rate, abs=0.01)


def test_separated_pairs_have_no_error_and_mixed_ones_half():
    edges = np.linspace(0, 2, 5)
    apart = PairHistograms(edges, np.array([[4, 0, 0, 0], [0] * 4, [0, 0, 0, 9]]), "cosine")
    assert apart.equal_error_rate()[0] == 0
    assert apart.overlap() == 0
    alike = PairHistograms(edges, np.array([[2, 2, 2, 2], [0] * 4, [5, 5, 5, 5]]), "cosine")
    assert alike.equal_error_rate() == pytest.approx((0.5, 1.0))
    assert alike.overlap() == pytest.approx(1)


def test_coarse_bins_hold_the_same_pairs(test_set):
    fine = pair_histograms(test_set)
    coarse = fine.coarse(40)
    np.testing.assert_array_equal(coarse.counts.sum(axis=1), fine.counts.sum(axis=1))
    assert 30 <= coarse.counts.shape[1] <= 60
    assert len(coarse.edges) == coarse.counts.shape[1] + 1
    np.testing.assert_array_equal(
        np.histogram([d for k, d, *_ in pairs_by_loops(test_set) if k == 0], coarse.edges)[0],
        coarse.counts[POSITIVE],
    )


def test_one_camera_is_refused(test_set):
    alone = dataclasses.replace(test_set, camids=np.zeros_like(test_set.camids))
    with pytest.raises(ValueError, match="expected pairs of one identity under two cameras"):
        pair_histograms(alone)
    with pytest.raises(ValueError, match=r"at least two cameras, got camera \[0\] only"):
        camera_bias(alone)
    with pytest.raises(ValueError, match="expected identities seen by two cameras, got none"):
        plot_feature_map(alone, "map.png", name="Toy")


def test_one_identity_is_refused(test_set):
    alone = dataclasses.replace(test_set, pids=np.zeros_like(test_set.pids))
    with pytest.raises(ValueError, match="the test set has one identity"):
        pair_histograms(alone)
    with pytest.raises(ValueError, match="expected at least two identities"):
        camera_bias(alone)


def test_features_that_are_not_finite_are_named(test_set):
    test_set.features[7, 0] = torch.nan
    for measure in (pair_histograms, camera_bias):
        with pytest.raises(ValueError, match=r"NaN or infinity for 1 images, the first is .*png"):
            measure(test_set)


def test_camera_bias_equals_loops(test_set, monkeypatch):
    monkeypatch.setattr(camera_bias_module, "_CHUNK_PAIRS", 4 * GALLERY)
    bias = camera_bias(test_set)
    similarity = {}
    for kind, distance, query_camera, gallery_camera in pairs_by_loops(test_set):
        key = (kind == NEGATIVE, query_camera, gallery_camera)
        similarity.setdefault(key, []).append(1 - distance)
    for row, query_camera in enumerate(bias.query_cameras):
        for column, gallery_camera in enumerate(bias.gallery_cameras):
            for is_negative, means in ((True, bias.negatives), (False, bias.positives)):
                values = similarity.get((is_negative, query_camera, gallery_camera))
                expected = np.mean(values) if values else np.nan
                assert means[row, column] == pytest.approx(expected, abs=1e-6, nan_ok=True)


def test_gap_between_one_camera_and_two_by_hand():
    cameras = np.array([1, 2])
    negatives = np.array([[0.5, 0.1], [0.2, np.nan]])
    bias = CameraBias(cameras, cameras, negatives, negatives, 0.0, 0.0)
    assert bias.gap == pytest.approx(0.5 - 0.15)
    apart = CameraBias(cameras, cameras + 2, negatives, negatives, 0.0, 0.0)
    assert np.isnan(apart.gap)


def test_nearest_negative_equals_loops(test_set):
    bias = camera_bias(test_set)
    pairs = np.array(list(pairs_by_loops(test_set))).reshape(QUERIES, GALLERY, 4)
    same = []
    chance = []
    for row in pairs:
        negatives = row[row[:, 0] == NEGATIVE]
        nearest = negatives[negatives[:, 1].argmin()]
        same.append(nearest[2] == nearest[3])
        chance.append(np.mean(negatives[:, 2] == negatives[:, 3]))
    assert bias.nearest_same == pytest.approx(np.mean(same))
    assert bias.nearest_chance == pytest.approx(np.mean(chance))
    assert bias.nearest_same > bias.nearest_chance  # cameras shift these features


def test_plots_have_contrast(test_set, tmp_path):
    pairs = camera_pair_metrics(*test_set.split(test_set.features), *test_set.labels())
    bias = camera_bias(test_set)
    pictures = [
        plot_distances(pair_histograms(test_set), tmp_path / "new" / "distances.png", name="Toy"),
        plot_camera_bias(bias, pairs.rank1, tmp_path / "bias.png", name="Toy"),
        plot_feature_map(test_set, tmp_path / "map.png", name="Toy", identities=4),
        plot_feature_map(test_set, tmp_path / "thumbs.png", name="Toy", thumbnails=True),
    ]
    for picture in pictures:
        assert cv2.imread(str(picture)).std() > 10


def test_plot_camera_bias_without_any_rank1(test_set, tmp_path):
    """Cells without pairs stay empty."""
    bias = camera_bias(test_set)
    empty = np.full_like(bias.negatives, np.nan)
    assert plot_camera_bias(bias, empty, tmp_path / "bias.png", name="Toy").is_file()


def test_plot_feature_map_is_equal_for_equal_seeds(test_set, tmp_path):
    files = [
        plot_feature_map(test_set, tmp_path / f"{k}.png", name="Toy", identities=3, seed=seed)
        for k, seed in enumerate((1, 1, 2))
    ]
    first, second, other = [file.read_bytes() for file in files]
    assert first == second
    assert first != other


def test_expect_png_refuses_other_names(tmp_path):
    with pytest.raises(ValueError, match=r"expected the name of a \.png file .*, got .*map\.pdf"):
        expect_png(tmp_path / "map.pdf")
