import numpy as np
import pytest

from fastreid_ext.evaluation.camera_pairs import camera_pair_metrics
from fastreid_ext.evaluation.ranking import rank_distances

from .ranking_problems import sample_problem, slow_scores


def test_camera_pair_metrics_equal_slow_loops_on_each_part_of_the_gallery():
    query, gallery, query_pids, gallery_pids, query_camids, gallery_camids = sample_problem(4)
    got = camera_pair_metrics(
        query, gallery, query_pids, gallery_pids, query_camids + 3, gallery_camids + 3
    )
    unit = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in (query, gallery)]
    distances = 1 - unit[0] @ unit[1].T
    np.testing.assert_array_equal(got.query_cameras, [3, 4, 5, 6, 7])
    for row, camera in enumerate(range(5)):
        for column, other in enumerate(range(5)):
            ours = query_camids == camera
            theirs = gallery_camids == other
            part = distances[ours][:, theirs]
            labels = query_pids[ours], gallery_pids[theirs], query_camids[ours]
            scores = slow_scores(part, *labels, gallery_camids[theirs])
            truth = [row for row in scores if row is not None]
            assert got.queries[row, column] == len(truth)
            if truth:
                mean = np.mean(truth, axis=0)
                assert got.mAP[row, column] == pytest.approx(mean[0])
                assert got.mAP_market[row, column] == pytest.approx(mean[1])
                assert got.rank1[row, column] == np.mean([first == 1 for *_, first in truth])
            else:
                assert np.isnan(got.mAP[row, column])
                assert np.isnan(got.cmc[row, column]).all()


def test_camera_paired_with_itself_is_empty():
    """All its matches would be junk."""
    got = camera_pair_metrics(*sample_problem())
    assert (np.diag(got.queries) == 0).all()
    assert (got.queries.sum(axis=1) > 0).all()


def test_camera_pair_metrics_known_answer():
    """The match ranks behind a negative at camera 1, before one at camera 2; none at camera 3."""
    query = [[1.0, 0.0]]
    angles = np.radians([10, 5, 20, 30, 1])
    gallery = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    got = camera_pair_metrics(query, gallery, [7], [7, 8, 7, 8, 9], [0], [1, 1, 2, 2, 3])
    np.testing.assert_array_equal(got.rank1, [[0, 1, np.nan]])
    np.testing.assert_allclose(got.mAP, [[1 / 2, 1, np.nan]])
    np.testing.assert_allclose(got.mAP_market, [[1 / 4, 1, np.nan]])
    np.testing.assert_array_equal(got.queries, [[1, 1, 0]])


def test_camera_pair_metrics_of_two_cameras_equal_the_whole_evaluation():
    query, gallery, query_pids, gallery_pids, *_ = sample_problem()
    camids = np.zeros(len(query_pids), int), np.ones(len(gallery_pids), int)
    got = camera_pair_metrics(query, gallery, query_pids, gallery_pids, *camids, metric="euclidean")
    distances = np.linalg.norm(query[:, None] - gallery[None], axis=2)
    whole = rank_distances(distances, query_pids, gallery_pids, *camids)
    assert got.mAP[0, 0] == pytest.approx(whole.mAP)
    np.testing.assert_allclose(got.cmc[0, 0], whole.cmc)


def test_camera_pair_metrics_refuse_missing_features():
    query, gallery, *labels = sample_problem()
    with pytest.raises(ValueError, match="expected 40 query and 119 gallery labels"):
        camera_pair_metrics(query, gallery[1:], *labels)
