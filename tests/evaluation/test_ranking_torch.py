"""Ranking with tensor operations, as on a GPU: equal to the compiled loops, also on the CPU."""

import numpy as np
import pytest
import torch

from fastreid_ext.evaluation.distances import DistanceChunks
from fastreid_ext.evaluation.query_scores import score_chunks, score_on_device
from fastreid_ext.evaluation.rank_labels import RankLabels, SameIdentity
from fastreid_ext.evaluation.ranking import rank_metrics

from .ranking_problems import sample_problem


def assert_same_scores(distances, labels):
    labels = RankLabels.checked(*labels)
    same = SameIdentity.of(labels)
    expected = score_chunks([distances], labels)
    half = len(distances) // 2
    for rows in (slice(0, half), slice(half, len(distances))):
        scores, first = score_on_device(distances[rows], labels, same, rows)
        np.testing.assert_array_equal(first, expected.first_match[rows])
        for column, name in enumerate(("fastreid_ap", "market_ap", "inverse_penalty")):
            np.testing.assert_allclose(scores[:, column], getattr(expected, name)[rows], rtol=1e-12)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_score_on_device_equals_the_compiled_loops(metric):
    query, gallery, *labels = sample_problem()
    distances = [p.as_distances().clone() for p in DistanceChunks(query, gallery, metric)]
    assert_same_scores(torch.cat(distances), labels)


@pytest.mark.parametrize("num_gallery", [1, 7, 90])
def test_score_on_device_equals_the_compiled_loops_under_heavy_ties(num_gallery):
    rng = np.random.default_rng(num_gallery)
    for _ in range(5):
        *_, query_pids, gallery_pids, query_camids, gallery_camids = sample_problem(
            int(rng.integers(1000)), 20, num_gallery, identities=4, cameras=2
        )
        distances = rng.integers(-2, 3, (20, num_gallery)).astype(np.float32)
        distances[rng.random(distances.shape) < 0.1] = np.inf
        distances[distances == 0] *= rng.choice([-1, 1])  # -0 equals 0
        labels = [query_pids, gallery_pids, query_camids, gallery_camids]
        assert_same_scores(torch.from_numpy(distances), labels)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_gpu_equals_cpu(metric):
    query, gallery, *labels = sample_problem(5, 200, 3000, identities=60, dim=64)
    expected = rank_metrics(query, gallery, *labels, metric=metric)
    # The gallery is on the CPU and is moved to the device of the queries.
    got = rank_metrics(torch.from_numpy(query).cuda(), gallery, *labels, metric=metric)
    assert got.percentages() == pytest.approx(expected.percentages(), abs=0.01)
