import numpy as np
import pytest
import torch
from fastreid.evaluation.rerank import re_ranking
from fastreid.utils.compute_dist import build_dist, compute_jaccard_distance
from torch.nn import functional as F

from fastreid_ext.evaluation.reranking import reranked_distances
from fastreid_ext.neighbours import knn, reciprocal_sets
from fastreid_ext.neighbours.knn import nearest, nearest_on_device

from .ranking_problems import sample_problem

SETTINGS = [(20, 6, 0.3), (7, 1, 0.0), (5, 3, 1.0), (9, 12, 0.5)]


def features(seed=0, noise=1.0, num_query=60, num_gallery=200):
    query, gallery, *_ = sample_problem(seed, num_query, num_gallery, identities=25, noise=noise)
    return torch.from_numpy(query), torch.from_numpy(gallery)


def reranked(query, gallery, **arguments):
    return torch.cat(list(reranked_distances(query, gallery, **arguments))).numpy()


def released(query, gallery, k1, k2, lambda_value, metric):
    """Re-rank with fastreid's dense function, on fastreid's distances."""
    parts = [(query, gallery), (query, query), (gallery, gallery)]
    return re_ranking(*(build_dist(*pair, metric) for pair in parts), k1, k2, lambda_value)


def as_evaluator(query, gallery, k1, k2, lambda_value, metric):
    """Re-rank as fastreid's evaluator for TEST.RERANK, with faiss on the CPU."""
    original = build_dist(query, gallery, metric)
    if metric == "cosine":
        query = F.normalize(query, dim=1)
        gallery = F.normalize(gallery, dim=1)
    everything = torch.cat([query, gallery])
    jaccard = compute_jaccard_distance(everything, k1=k1, k2=k2, search_option=3)
    jaccard = jaccard[: len(query), len(query) :]
    return jaccard * (1 - lambda_value) + original * lambda_value


REFERENCES = {"released": released, "evaluator": as_evaluator}


@pytest.mark.parametrize("rule", REFERENCES)
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("noise", [0.6, 1.0, 50.0])
def test_reranking_equals_fastreids_dense_code(rule, metric, noise):
    """Noise 50 hides the identities, so that few neighbours are mutual."""
    query, gallery = features(noise=noise)
    for k1, k2, share in SETTINGS:
        if rule == "evaluator" and metric == "euclidean" and noise > 1:
            continue  # exp(-squared distance) underflows for all but the image itself
        expected = REFERENCES[rule](query, gallery, k1, k2, share, metric)
        got = reranked(query, gallery, k1=k1, k2=k2, lambda_value=share, metric=metric, rule=rule)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, expected, rtol=2e-6, atol=2e-6)


def test_reranking_does_not_depend_on_chunk_sizes(monkeypatch):
    """Rows, pairs and blocks are split unevenly."""
    query, gallery = features()
    whole = reranked(query, gallery)
    monkeypatch.setattr("fastreid_ext.evaluation.reranking._CHUNK_VALUES", 7 * 200)
    monkeypatch.setattr(reciprocal_sets, "_COMPLETED_CHUNK", 3)
    monkeypatch.setattr(reciprocal_sets, "_ROW_CHUNK", 11)
    monkeypatch.setattr(reciprocal_sets, "_PAIR_CHUNK", 50)
    monkeypatch.setattr(knn, "_BLOCK_SIDE", 37)
    chunks = list(reranked_distances(query, gallery))
    assert [len(chunk) for chunk in chunks] == [7] * 8 + [4]
    np.testing.assert_allclose(torch.cat(chunks).numpy(), whole, atol=1e-6)


def test_reranking_does_not_depend_on_threads():
    query, gallery = features()
    alone = reranked(query, gallery)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        together = nearest(torch.cat([query, gallery]), 9, subtracted_from_zero)
        np.testing.assert_allclose(reranked(query, gallery), alone, atol=1e-6)
    finally:
        torch.set_num_threads(before)
    found = nearest(torch.cat([query, gallery]), 9, subtracted_from_zero)
    assert torch.equal(together.index, found.index)


@pytest.mark.parametrize("rule", REFERENCES)
def test_reranking_with_the_search_of_a_gpu(rule, monkeypatch):
    """All code after the search is the same on every device."""
    query, gallery = features()
    expected = reranked(query, gallery, rule=rule)
    monkeypatch.setattr("fastreid_ext.evaluation.reranking.nearest", nearest_on_device)
    np.testing.assert_allclose(reranked(query, gallery, rule=rule), expected, atol=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("rule", REFERENCES)
def test_reranking_on_a_gpu_equals_the_cpu(rule):
    query, gallery = features()
    chunks = list(reranked_distances(query.cuda(), gallery, rule=rule))
    assert chunks[0].is_cuda
    expected = reranked(query, gallery, rule=rule)
    np.testing.assert_allclose(torch.cat(chunks).cpu().numpy(), expected, atol=1e-5)


def subtracted_from_zero(products, rows, columns):
    return products.neg_()


@pytest.mark.parametrize("search", [nearest, nearest_on_device])
@pytest.mark.parametrize("side", [1, 10, 64, 2048])
def test_nearest_equals_a_stable_sort(search, side, monkeypatch):
    """Integer features have many ties; blocks of every size order them by position."""
    monkeypatch.setattr(knn, "_BLOCK_SIDE", side)
    monkeypatch.setattr(knn, "_CHUNK_VALUES", side * 150)
    generator = torch.Generator().manual_seed(side)
    whole = torch.randint(-2, 3, (150, 4), generator=generator).float()
    found = search(whole, 9, subtracted_from_zero)
    distances = -(whole @ whole.T)
    order = distances.argsort(dim=1, stable=True)[:, :9]
    assert torch.equal(found.index, order)
    assert torch.equal(found.distance, distances.gather(1, order))
    assert torch.equal(found.largest, distances.amax(dim=1))


def test_reranking_known_answer():
    """Rank two pairs on a line with k1 = k2 = 1: each set is an image and its pair.

    By the released rule, with d the squared distance: the query at 0, gallery at 1, 10, 11. The
    largest d of the query is 121, of its pair 100; weights are exp(-d^2 / largest^2).
    """
    query = torch.tensor([[0.0]])
    gallery = torch.tensor([[1.0], [10.0], [11.0]])
    arguments = {"k1": 1, "k2": 1, "metric": "euclidean", "rule": "released"}
    got = reranked(query, gallery, lambda_value=0.0, **arguments)[0]
    of_query = np.exp([0, -((1 / 121) ** 2)]) / np.exp([0, -((1 / 121) ** 2)]).sum()
    of_pair = np.exp([-((1 / 100) ** 2), 0]) / np.exp([-((1 / 100) ** 2), 0]).sum()
    shared = np.minimum(of_query, of_pair).sum()
    np.testing.assert_allclose(got, [1 - shared / (2 - shared), 1, 1], atol=1e-6)
    got = reranked(query, gallery, lambda_value=1.0, **arguments)[0]
    np.testing.assert_allclose(got, np.array([1, 100, 121]) ** 2 / 121**2, rtol=1e-6)


def test_reranking_with_more_neighbours_than_images():
    """Every set has all images; only the weights differ."""
    query, gallery = features(num_query=3, num_gallery=4)
    expected = released(query, gallery, 50, 1, 0.3, "cosine")
    got = reranked(query, gallery, k1=50, k2=1, rule="released")
    np.testing.assert_allclose(got, expected, atol=1e-6)
    assert np.isfinite(reranked(query, gallery, k1=50, k2=60)).all()


def test_reranking_of_copies_of_one_image_is_finite():
    """All distances tie, so an image can be missing in its own set, which is then empty."""
    for same in (torch.ones(30, 8), torch.ones(30, 4), torch.zeros(30, 4)):
        for rule in REFERENCES:
            for metric in ("cosine", "euclidean"):
                got = reranked(same[:10], same[10:], k1=3, k2=2, rule=rule, metric=metric)
                assert np.isfinite(got).all()


def test_reranking_of_long_features_is_finite():
    """By rounding, exp(-squared distance) would be 0 even for the image itself."""
    query, gallery = features()
    assert np.isfinite(reranked(1e5 * query, 1e5 * gallery, metric="euclidean")).all()


def test_reranking_refuses_wrong_arguments():
    query, gallery = features()
    with pytest.raises(ValueError, match="expected k1 and k2 of at least 1, got 0 and 6"):
        reranked_distances(query, gallery, k1=0)
    with pytest.raises(ValueError, match=r"expected lambda in \[0, 1\], got 1.5"):
        reranked_distances(query, gallery, lambda_value=1.5)
    with pytest.raises(ValueError, match="unknown rule 'dense'; known: evaluator, released"):
        reranked_distances(query, gallery, rule="dense")
    with pytest.raises(ValueError, match="expected finite gallery_features"):
        reranked_distances(query, gallery * torch.nan)
    with pytest.raises(ValueError, match="at least one query and one gallery image, got 60 and 0"):
        reranked_distances(query, gallery[:0])


def test_reranking_warns_if_neighbours_have_no_weight(caplog):
    """Features of length 50 are so far apart that exp(-squared distance) is 0."""
    query, gallery = features()
    reranked(query, gallery, metric="cosine")
    assert not caplog.records
    plain = torch.cdist(50 * query, 50 * gallery).square().argsort(dim=1)
    got = reranked(50 * query, 50 * gallery, metric="euclidean", lambda_value=0.3)
    assert (torch.from_numpy(got).argsort(dim=1) == plain).float().mean() > 0.9
    assert "re-ranking changes almost nothing" in caplog.text
    assert "TEST.METRIC cosine" in caplog.text
    caplog.clear()
    reranked(50 * query, 50 * gallery, metric="euclidean", rule="released")
    assert not caplog.records
