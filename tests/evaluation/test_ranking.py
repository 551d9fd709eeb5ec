import numpy as np
import pytest
import torch
from fastreid.evaluation.rank import eval_market1501
from hypothesis import given, settings
from hypothesis import strategies as st

from fastreid_ext.evaluation import distances as chunked
from fastreid_ext.evaluation import ranking_numba
from fastreid_ext.evaluation.ranking import column_title, rank_distances, rank_metrics

from .ranking_problems import sample_problem, slow_scores


@pytest.fixture
def problem():
    return sample_problem()


def labels_of(rng, num_query, num_gallery, identities=4, cameras=3, step=1):
    ids = rng.integers(-2, identities - 2, num_query + num_gallery) * step
    camids = rng.integers(0, cameras, num_query + num_gallery)
    return [part for values in (ids, camids) for part in np.split(values, [num_query])]


def assert_equals_slow_loops(distances, labels):
    expected = slow_scores(distances, *labels)
    valid = [row is not None for row in expected]
    if not any(valid):
        with pytest.raises(ValueError, match="no query identity appears in the gallery"):
            rank_distances(distances, *labels)
        return
    truth = np.array([row for row in expected if row is not None])
    for column, rule in enumerate(("fastreid", "market")):
        got = rank_distances(distances, *labels, ap_rule=rule)
        np.testing.assert_allclose(got.average_precision[valid], truth[:, column], rtol=1e-12)
        assert np.isnan(got.average_precision[~np.array(valid)]).all()
        assert got.mAP == pytest.approx(truth[:, column].mean())
    assert list(got.mAP_by_rule.values()) == pytest.approx(truth.mean(axis=0)[:2])
    assert got.mINP == pytest.approx(truth[:, 2].mean())
    np.testing.assert_allclose(got.cmc, [(truth[:, 3] <= k).mean() for k in range(1, 51)])
    assert got.num_valid == sum(valid)


# --- references


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_rank_metrics_equals_fastreids_python_evaluation(problem, metric):
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


@pytest.mark.slow
def test_rank_distances_equals_fastreids_cython(tmp_path):
    from measuring.host_cython import compiled_evaluate

    query, gallery, *labels = sample_problem(4, 300, 2000, identities=60, noise=2.0)
    distances = np.linalg.norm(query[:, None] - gallery[None], axis=2)
    cmc, precisions, penalties = compiled_evaluate(tmp_path)(distances, *labels, 50)
    got = rank_distances(distances, *labels)
    np.testing.assert_allclose(got.cmc, cmc, atol=1e-6)
    assert got.num_valid == len(precisions) < 300
    assert got.mAP == pytest.approx(precisions.mean(), abs=1e-6)
    assert got.mINP == pytest.approx(penalties.mean(), abs=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_rank_distances_equals_slow_loops_under_heavy_ties(dtype):
    """Few distinct distances, some infinite; huge and negative labels."""
    rng = np.random.default_rng(2)
    for num_gallery in (1, 7, 60, 200):
        labels = labels_of(rng, 20, num_gallery, step=2**40)
        distances = rng.integers(0, 4, (20, num_gallery)).astype(dtype)
        distances[rng.random(distances.shape) < 0.2] = np.inf
        assert_equals_slow_loops(distances, labels)


def test_ranks_by_search_and_by_comparison_are_equal():
    """The number of near images decides which of the two is used."""
    rng = np.random.default_rng(3)
    for distinct in (2, 5, 10**6):
        row = rng.integers(0, distinct, 300).astype(np.float32)
        positives = np.sort(rng.choice(300, 12, replace=False))
        positives = positives[np.argsort(row[positives], kind="stable")]
        rank_of = np.argsort(np.argsort(row, kind="stable")) + 1
        for count in (ranking_numba._ranks_by_search, ranking_numba._ranks_by_comparison):
            np.testing.assert_array_equal(count(row, row[positives], positives), rank_of[positives])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 90), st.integers(2, 5), st.integers(2, 400))
def test_rank_distances_equals_slow_loops(seed, num_gallery, identities, distinct):
    rng = np.random.default_rng(seed)
    labels = labels_of(rng, 6, num_gallery, identities)
    assert_equals_slow_loops(rng.integers(0, distinct, (6, num_gallery)) / 7, labels)


# --- known answers


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
    assert market.ap_rule == "market"
    assert got.mAP_by_rule == market.mAP_by_rule == {"fastreid": got.mAP, "market": market.mAP}


@pytest.mark.parametrize("of", ["matrix", "chunks", "features"])
def test_junk_is_removed_before_ranking_and_distractors_are_not(of, caplog):
    """The positive is third behind an image of -1 and one of 0: second where -1 is junk."""
    distances = np.array([[0.1, 0.2, 0.3, 0.4]], np.float32)
    labels = [[7], [-1, 0, 7, 7], [0], [1, 1, 1, 0]]

    def ranked(**arguments):
        if of == "features":
            return rank_metrics([[0.0]], distances.T, *labels, metric="euclidean", **arguments)
        given = distances if of == "matrix" else iter([torch.from_numpy(distances)])
        return rank_distances(given, *labels, **arguments)

    assert ranked(junk_pid=-1).mAP == 1 / 2
    assert ranked(junk_pid=0).mAP == 1 / 2
    assert not caplog.records
    assert ranked().mAP == pytest.approx(1 / 3)
    assert "1 gallery images of identity -1 are ranked as distractors" in caplog.text


def test_junk_pid_of_queries_or_the_whole_gallery_is_refused():
    distances = np.zeros((1, 2))
    with pytest.raises(ValueError, match="expected no query of identity 3, which marks junk"):
        rank_distances(distances, [3], [3, 4], [0], [1, 1], junk_pid=3)
    with pytest.raises(ValueError, match="every gallery image is of identity 4"):
        rank_distances(distances, [3], [4, 4], [0], [1, 1], junk_pid=4)


def test_hand_computed_features():
    """Cosine ranks by angle, euclidean by distance: the far image has the query's direction."""
    query = [[1.0, 0.0]]
    gallery = [[9.0, 1.0], [0.8, 0.6]]
    labels = [[1], [1, 2], [0], [1, 1]]
    assert rank_metrics(query, gallery, *labels).mAP == 1
    assert rank_metrics(query, gallery, *labels, metric="euclidean").mAP == 1 / 2


def test_ties_are_ranked_by_gallery_position():
    labels = [[1], [2, 1, 2], [0], [1, 1, 1]]
    assert rank_distances(np.zeros((1, 3)), *labels).mAP == pytest.approx(1 / 2)


def test_float64_distances_are_not_rounded():
    distances = np.array([[1 + 1e-12, 1.0]])
    assert rank_distances(distances, [1], [2, 1], [0], [1, 1]).mAP == 1


def test_gallery_smaller_than_fifty_fills_the_curve():
    cmc = rank_distances(np.array([[0.2, 0.1]]), [1], [1, 2], [0], [1, 1]).cmc
    assert cmc.shape == (50,)
    assert cmc[0] == 0
    assert (cmc[1:] == 1).all()


def test_table_columns_name_their_rule(problem):
    columns = rank_metrics(*problem, ap_rule="market").percentages()
    assert columns["mAP (market)"] < columns["mAP"]  # whatever was asked for
    titles = list(map(column_title, columns))
    assert titles == ["Rank-1", "Rank-5", "Rank-10", "mAP (fastreid)", "mINP", "mAP (market)"]
    assert column_title("MSMT17/mAP") == "MSMT17/mAP (fastreid)"


# --- invariances


@st.composite
def tie_free(draw):
    """Sample distances without ties, with labels; the first query always has a match."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    num_gallery = draw(st.integers(2, 60))
    labels = labels_of(rng, 5, num_gallery)
    query_pids, gallery_pids, query_camids, gallery_camids = labels
    gallery_pids[0] = query_pids[0]
    gallery_camids[0] = query_camids[0] + 1
    distances = rng.permuted(np.tile(np.arange(num_gallery) / 8, (5, 1)), axis=1)
    return rng, distances, labels


def precisions_of(distances, labels, rule="fastreid"):
    return rank_distances(distances, *labels, ap_rule=rule).average_precision


@settings(max_examples=40, deadline=None)
@given(tie_free(), st.sampled_from(["fastreid", "market"]))
def test_the_order_of_the_gallery_does_not_matter_without_ties(problem, rule):
    rng, distances, labels = problem
    query_pids, gallery_pids, query_camids, gallery_camids = labels
    order = rng.permutation(len(gallery_pids))
    turned = [query_pids, gallery_pids[order], query_camids, gallery_camids[order]]
    np.testing.assert_allclose(
        precisions_of(distances[:, order], turned, rule), precisions_of(distances, labels, rule)
    )


@settings(max_examples=40, deadline=None)
@given(tie_free(), st.sampled_from(["fastreid", "market"]))
def test_a_distractor_never_raises_ap_and_junk_never_changes_it(problem, rule):
    rng, distances, (query_pids, gallery_pids, query_camids, gallery_camids) = problem
    before = precisions_of(
        distances, [query_pids, gallery_pids, query_camids, gallery_camids], rule
    )
    longer = np.insert(distances, 0, rng.uniform(-1, distances.max() + 1, 5), axis=1)
    camids = np.insert(gallery_camids, 0, query_camids[0])
    distractor = [query_pids, np.insert(gallery_pids, 0, 10**9), query_camids, camids]
    after = precisions_of(longer, distractor, rule)
    is_valid = ~np.isnan(before)
    assert (after[is_valid] <= before[is_valid] + 1e-12).all()
    junk = [query_pids, np.insert(gallery_pids, 0, query_pids[0]), query_camids, camids]
    assert precisions_of(longer, junk, rule)[0] == before[0]


@settings(max_examples=40, deadline=None)
@given(tie_free())
def test_a_nearer_match_never_lowers_ap(problem):
    _, distances, labels = problem
    nearer = distances.copy()
    nearer[0, 0] -= 3  # a match of the first query
    for rule in ("fastreid", "market"):
        assert precisions_of(nearer, labels, rule)[0] >= precisions_of(distances, labels, rule)[0]


@settings(max_examples=20, deadline=None)
@given(tie_free())
def test_only_the_order_of_distances_matters(problem):
    _, distances, labels = problem
    np.testing.assert_array_equal(
        precisions_of(np.exp(distances), labels), precisions_of(distances, labels)
    )


def test_rank_metrics_does_not_depend_on_chunks_and_threads(problem, monkeypatch):
    whole = rank_metrics(*problem)
    monkeypatch.setattr(
        chunked.DistanceChunks.__init__, "__kwdefaults__", {"chunk_values": 7 * 120}
    )
    np.testing.assert_allclose(
        rank_metrics(*problem).average_precision, whole.average_precision, rtol=1e-6
    )
    monkeypatch.undo()
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        threaded = rank_metrics(*problem)
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(threaded.average_precision, whole.average_precision)


def test_rank_metrics_of_tensors_and_labels_with_gaps(problem):
    query, gallery, query_pids, gallery_pids, *camids = problem
    got = rank_metrics(
        torch.from_numpy(query).requires_grad_(),
        torch.from_numpy(gallery),
        torch.from_numpy(query_pids * 1000 - 5),
        gallery_pids * 1000.0 - 5,
        *camids,
    )
    assert got.mAP == pytest.approx(rank_metrics(*problem).mAP)


def test_rank_metrics_converts_half_precision_and_leaves_inputs_unchanged(problem):
    query, gallery, *labels = problem
    rounded = query.astype(np.float16), torch.from_numpy(gallery).bfloat16()
    kept = query.copy(), gallery.copy()
    converted = rank_metrics(rounded[0].astype(np.float32), rounded[1].float(), *labels)
    np.testing.assert_array_equal(
        rank_metrics(*rounded, *labels).average_precision, converted.average_precision
    )
    rank_metrics(query, gallery, *labels)
    np.testing.assert_array_equal(query, kept[0])
    np.testing.assert_array_equal(gallery, kept[1])


def test_rank_distances_leaves_distances_unchanged():
    distances = np.random.default_rng(0).random((3, 8)).astype(np.float32)
    kept = distances.copy()
    rank_distances(distances, [0, 1, 2], [0, 1, 2, 0, 1, 2, 0, 1], [0] * 3, [1] * 8)
    np.testing.assert_array_equal(distances, kept)


def test_features_of_length_zero_are_at_distance_one():
    """As in fastreid, without NaN."""
    gallery = [[0.0, 0.0], [-1.0, 0.0], [1.0, 0.0]]
    assert rank_metrics([[1.0, 0.0]], gallery, [1], [1, 2, 3], [0], [1] * 3).mAP == 1 / 2


# --- wrong input


def test_queries_without_a_match_are_skipped_counted_and_logged(problem, caplog):
    got = rank_metrics(*problem)
    skipped = np.isnan(got.average_precision).sum()
    assert skipped == 40 - got.num_valid > 0
    assert f"{skipped} of 40 queries have no match under another camera" in caplog.text


def test_rank_metrics_refuses_wrong_features(problem):
    query, gallery, *labels = problem
    broken = query.copy()
    broken[3, 2] = np.nan
    with pytest.raises(ValueError, match=r"expected finite query_features.*the first at \[3\]"):
        rank_metrics(broken, gallery, *labels)
    with pytest.raises(ValueError, match=r"expected gallery_features \(N, D\), got \(120,\)"):
        rank_metrics(query, gallery[:, 0], *labels)
    for metric in ("cosine", "euclidean"):
        with pytest.raises(ValueError, match="got squares beyond float32"):
            rank_metrics(query * 1e25, gallery, *labels, metric=metric)
    with pytest.raises(ValueError, match="one dimension, got 16 and 8"):
        rank_metrics(query, gallery[:, :8], *labels)
    with pytest.raises(ValueError, match="unknown metric 'cosin'"):
        rank_metrics(query, gallery, *labels, metric="cosin")


def test_rank_metrics_refuses_wrong_labels(problem):
    query, gallery, *labels = problem
    with pytest.raises(ValueError, match="at least one query and one gallery image, got 40 and 0"):
        rank_metrics(query, gallery[:0], labels[0], [], labels[2], [])
    for wrong in (labels[0] + 0.5, np.where(labels[0] == 0, np.nan, 1), labels[0].astype(str)):
        with pytest.raises(
            ValueError, match="expected whole numbers as identity and camera labels"
        ):
            rank_metrics(query, gallery, wrong, *labels[1:])
    with pytest.raises(ValueError, match="expected 1-D labels"):
        rank_metrics(query, gallery, labels[0][:, None], *labels[1:])
    with pytest.raises(ValueError, match="expected 40 query and 120 gallery labels"):
        rank_metrics(query, gallery, labels[0][:-1], *labels[1:])
    with pytest.raises(ValueError, match="no query identity appears in the gallery"):
        rank_distances(np.zeros((1, 2)), [1], [1, 2], [0], [0, 1])  # all junk


def test_rank_distances_refuses_wrong_arguments():
    labels = [[1], [1, 2], [0], [1, 1]]
    with pytest.raises(ValueError, match="unknown ap_rule"):
        rank_distances(np.zeros((1, 2)), *labels, ap_rule="voc")
    with pytest.raises(ValueError, match=r"expected distances \(Q, G\) without NaN"):
        rank_distances(np.full((1, 2), np.nan), *labels)
    with pytest.raises(ValueError, match="expected 3 query and 2 gallery labels"):
        rank_distances(np.zeros((3, 2)), *labels)
    with pytest.raises(ValueError, match="expected 1 rows of distances, got 2"):
        rank_distances(iter([torch.zeros(1, 2), torch.zeros(1, 2)]), *labels)
