import numpy as np
import pytest
import torch
from fastreid.evaluation.rank import eval_market1501

from fastreid_ext.evaluation import distances
from fastreid_ext.evaluation.ranking import rank_distances, rank_metrics


@pytest.fixture
def problem():
    """Features in which identity matters, five cameras, some queries without a valid match."""
    rng = np.random.default_rng(0)
    pids = rng.integers(0, 12, 160)
    centres = rng.normal(size=(12, 16))
    features = (centres[pids] + 1.2 * rng.normal(size=(160, 16))).astype(np.float32)
    camids = rng.integers(0, 5, 160)
    camids[pids == 11] = 3  # seen by one camera only: never a valid query
    split = 40
    return (
        features[:split],
        features[split:],
        pids[:split],
        pids[split:],
        camids[:split],
        camids[split:],
    )


def official_average_precision(order, good, junk):
    """The loop of Market-1501's evaluation: trapezoids between successive images of the list."""
    precision_before, recall_before, area, hits, seen = 1.0, 0.0, 0.0, 0, 0
    for image in order:
        if image in junk:
            continue
        if image in good:
            hits += 1
        recall, precision = hits / len(good), hits / (seen + 1)
        area += (recall - recall_before) * (precision_before + precision) / 2
        precision_before, recall_before = precision, recall
        seen += 1
    return area


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_equals_fastreids_python_evaluation(problem, metric):
    query, gallery, *labels = problem
    got = rank_metrics(query, gallery, *labels, metric=metric)
    if metric == "cosine":
        query = query / np.linalg.norm(query, axis=1, keepdims=True)
        gallery = gallery / np.linalg.norm(gallery, axis=1, keepdims=True)
    distances = np.linalg.norm(query[:, None] - gallery[None], axis=2)
    cmc, precisions, penalties = eval_market1501(distances, *labels, 50)
    np.testing.assert_allclose(got.cmc, cmc, atol=1e-6)
    assert got.mAP == pytest.approx(np.mean(precisions), abs=1e-7)
    assert got.mINP == pytest.approx(np.mean(penalties), abs=1e-7)
    assert got.num_valid == len(precisions) < len(query)
    np.testing.assert_allclose(
        got.average_precision[~np.isnan(got.average_precision)], precisions, atol=1e-7
    )


def test_market_rule_equals_the_official_loop(problem):
    query, gallery, query_pids, gallery_pids, query_camids, gallery_camids = problem
    distances = np.linalg.norm(query[:, None] - gallery[None], axis=2)
    expected = []
    for row, pid, camid in zip(distances, query_pids, query_camids, strict=True):
        same = gallery_pids == pid
        good = set(np.flatnonzero(same & (gallery_camids != camid)))
        junk = set(np.flatnonzero(same & (gallery_camids == camid)))
        if good:
            expected.append(official_average_precision(np.argsort(row), good, junk))
    got = rank_distances(
        distances, query_pids, gallery_pids, query_camids, gallery_camids, ap_rule="market"
    )
    assert got.mAP == pytest.approx(np.mean(expected), abs=1e-9)


def test_hand_computed_list():
    """Ranks of the two positives are 1 and 3 (one junk image between them is removed)."""
    distances = np.array([[0.1, 0.2, 0.3, 0.4, 0.5]])
    labels = [[7], [7, 7, 8, 7, 9], [0], [1, 0, 1, 2, 1]]
    got = rank_distances(distances, *labels)
    assert got.cmc[0] == 1
    assert got.mAP == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert got.mINP == pytest.approx(2 / 3)
    market = rank_distances(distances, *labels, ap_rule="market")
    assert market.mAP == pytest.approx(((1 + 1) / 2 + (1 / 2 + 2 / 3) / 2) / 2)


def test_ties_are_ranked_by_gallery_position():
    labels = [[1], [2, 1, 2], [0], [1, 1, 1]]
    assert rank_distances(np.zeros((1, 3)), *labels).mAP == pytest.approx(1 / 2)
    rng = np.random.default_rng(1)
    distances = rng.integers(0, 4, (30, 60)).astype(np.float32)
    pids, camids = rng.integers(0, 5, 90), rng.integers(0, 3, 90)
    labels = [pids[:30], pids[30:], camids[:30], camids[30:]]
    stable = distances + np.arange(60) * 1e-4
    assert rank_distances(distances, *labels).mAP == rank_distances(stable, *labels).mAP


def test_equals_a_stable_sort_under_heavy_ties():
    """Random small problems: few distinct distances, some infinite, huge ids, every float type."""
    rng = np.random.default_rng(2)
    for dtype in (np.float16, np.float32, np.float64):
        for num_gallery in (1, 7, 60):
            ids = rng.integers(-2, 3, 20 + num_gallery) * 2**40
            camids = rng.integers(0, 3, 20 + num_gallery)
            distances = rng.integers(0, 4, (20, num_gallery)).astype(dtype)
            distances[rng.random(distances.shape) < 0.2] = np.inf
            labels = [part for values in (ids, camids) for part in np.split(values, [20])]
            expected = stable_sort_precisions(distances, *labels)
            if not expected:
                continue
            got = rank_distances(distances, *labels)
            valid = got.average_precision[~np.isnan(got.average_precision)]
            np.testing.assert_allclose(valid, expected, rtol=1e-12)


def stable_sort_precisions(distances, query_pids, gallery_pids, query_camids, gallery_camids):
    precisions = []
    for row, pid, camid in zip(distances, query_pids, query_camids, strict=True):
        order = np.argsort(row, kind="stable")
        order = order[(gallery_pids[order] != pid) | (gallery_camids[order] != camid)]
        ranks = np.flatnonzero(gallery_pids[order] == pid) + 1
        if len(ranks):
            precisions.append(np.mean(np.arange(1, len(ranks) + 1) / ranks))
    return precisions


def test_float64_distances_are_not_rounded():
    distances = np.array([[1 + 1e-12, 1.0]])
    assert rank_distances(distances, [1], [2, 1], [0], [1, 1]).mAP == 1


def test_chunks_change_nothing(problem, monkeypatch):
    whole = rank_metrics(*problem)
    monkeypatch.setattr(distances, "CHUNK_VALUES", 7 * len(problem[1]))
    chunked = rank_metrics(*problem)
    np.testing.assert_allclose(chunked.average_precision, whole.average_precision, rtol=1e-6)


def test_takes_tensors_and_ids_with_gaps(problem):
    query, gallery, query_pids, gallery_pids, *camids = problem
    got = rank_metrics(
        torch.from_numpy(query).requires_grad_(),
        torch.from_numpy(gallery),
        torch.from_numpy(query_pids * 1000 + 5),
        gallery_pids * 1000 + 5,
        *camids,
    )
    assert got.mAP == pytest.approx(rank_metrics(*problem).mAP)


def test_gallery_smaller_than_fifty_fills_the_curve():
    cmc = rank_distances(np.array([[0.2, 0.1]]), [1], [1, 2], [0], [1, 1]).cmc
    assert cmc.shape == (50,)
    assert cmc[0] == 0
    assert (cmc[1:] == 1).all()


def test_says_what_is_wrong(problem):
    query, gallery, *labels = problem
    broken = query.copy()
    broken[3, 2] = np.nan
    with pytest.raises(ValueError, match=r"expected finite query_features.*the first at \[3\]"):
        rank_metrics(broken, gallery, *labels)
    with pytest.raises(ValueError, match="at least one query and one gallery image, got 40 and 0"):
        rank_metrics(query, gallery[:0], labels[0], [], labels[2], [])
    with pytest.raises(ValueError, match="got squares beyond float32"):
        rank_metrics(query * 1e25, gallery, *labels, metric="euclidean")
    with pytest.raises(ValueError, match="expected whole numbers as person and camera ids"):
        rank_metrics(query, gallery, labels[0] + 0.5, *labels[1:])
    with pytest.raises(ValueError, match="one dimension, got 16 and 8"):
        rank_metrics(query, gallery[:, :8], *labels)
    with pytest.raises(ValueError, match="no query identity appears in the gallery"):
        rank_distances(np.zeros((1, 2)), [1], [1, 2], [0], [0, 1])
    with pytest.raises(ValueError, match="unknown metric 'cosin'"):
        rank_metrics(query, gallery, *labels, metric="cosin")
    with pytest.raises(ValueError, match="unknown ap_rule"):
        rank_distances(np.zeros((1, 2)), [1], [1, 2], [0], [1, 1], ap_rule="voc")
    with pytest.raises(ValueError, match="expected 40 query and 120 gallery labels"):
        rank_metrics(query, gallery, labels[0][:-1], *labels[1:])
