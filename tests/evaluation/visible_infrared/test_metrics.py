"""Rules of SYSU-MM01, RegDB and LLCM: against slow loops, and cases in which one rule decides."""

import numpy as np
import pytest

from fastreid_ext.evaluation.visible_infrared import (
    drawn_ranking,
    llcm_metrics,
    regdb_metrics,
    sysu_metrics,
)


def slow(similarity, q_pids, q_cams, g_pids, g_cams, hidden, collapse=True):
    """CMC (50,), mAP and mINP by loops; ``hidden(q, g)`` says which images a query lacks."""
    cmcs = []
    precisions = []
    penalties = []
    for q, row in enumerate(similarity):
        order = [g for g in np.argsort(-row, kind="stable") if not hidden(q, g)]
        pids = [g_pids[g] for g in order]
        matches = [place for place, pid in enumerate(pids, start=1) if pid == q_pids[q]]
        if not matches:
            continue
        distinct = list(dict.fromkeys(pids)) if collapse else pids
        rank = distinct.index(q_pids[q]) + 1
        cmcs.append([rank <= k for k in range(1, 51)])
        precisions.append(np.mean([i / place for i, place in enumerate(matches, start=1)]))
        penalties.append(len(matches) / matches[-1])
    return np.mean(cmcs, axis=0), np.mean(precisions), np.mean(penalties)


def normalised(features):
    return features / np.linalg.norm(features, axis=1, keepdims=True)


@pytest.fixture
def problem():
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((7, 6))
    q_pids = rng.integers(0, 7, 40)
    g_pids = np.repeat(np.arange(1, 8), 12)  # identity 0 has queries only, 7 images only
    return {
        "query": centres[q_pids] + rng.standard_normal((40, 6)),
        "q_pids": q_pids,
        "q_cams": rng.choice([3, 6], 40),
        "gallery": centres[g_pids % 7] + rng.standard_normal((84, 6)),
        "g_pids": g_pids,
        "g_cams": np.tile([1, 2, 4, 5], 21),
        "draws": [rng.choice(84, 30, replace=False) for _ in range(3)],
    }


def arrays(problem):
    return [problem[key] for key in ("query", "q_pids", "q_cams", "gallery", "g_pids", "g_cams")]


@pytest.mark.parametrize("search", ["all", "indoor"])
@pytest.mark.parametrize("chunk_values", [2**23, 60])
def test_sysu_equals_slow_loops(problem, search, chunk_values, monkeypatch):
    monkeypatch.setattr(drawn_ranking, "_CHUNK_VALUES", chunk_values)
    found = sysu_metrics(*arrays(problem), problem["draws"], search=search)
    query, q_pids, q_cams, gallery, g_pids, g_cams = arrays(problem)
    expected = []
    for draw in problem["draws"]:
        own = draw if search == "all" else draw[np.isin(g_cams[draw], [1, 2])]
        similarity = normalised(query) @ normalised(gallery[own]).T

        def hidden(q, g, own=own):
            return q_cams[q] == 3 and g_cams[own[g]] == 2

        expected.append(slow(similarity, q_pids, q_cams, g_pids[own], g_cams[own], hidden))
    cmc, ap, inp = map(np.stack, zip(*expected, strict=True))
    assert found.cmc_per_draw == pytest.approx(cmc)
    assert found.mAP_per_draw == pytest.approx(ap)
    assert found.mINP_per_draw == pytest.approx(inp)
    assert found.cmc == pytest.approx(cmc.mean(axis=0))
    assert (found.mAP, found.mINP) == pytest.approx((ap.mean(), inp.mean()))
    assert (found.num_valid < 40).all()


def test_llcm_equals_slow_loops_from_either_drawn_side(problem):
    query, q_pids, _, gallery, g_pids, g_cams = arrays(problem)
    q_cams = np.arange(40) % 4 + 1
    draws = []
    for start in range(3):
        keys = list(zip(g_pids, g_cams, strict=True))
        draws.append(np.array([keys.index(key) + 4 * start % 4 for key in sorted(set(keys))]))
    found = llcm_metrics(query, q_pids, q_cams, gallery, g_pids, g_cams, draws)
    draw = draws[0]
    similarity = normalised(query) @ normalised(gallery).T

    def hidden(q, g):
        return q_pids[q] == g_pids[draw[g]] and q_cams[q] == g_cams[draw[g]]

    expected = slow(similarity[:, draw], q_pids, q_cams, g_pids[draw], g_cams[draw], hidden)
    assert found.cmc_per_draw[0] == pytest.approx(expected[0])
    assert (found.mAP_per_draw[0], found.mINP_per_draw[0]) == pytest.approx(expected[1:])

    swapped = llcm_metrics(gallery, g_pids, g_cams, query, q_pids, q_cams, query_draws=[draw])
    rows = np.sort(draw)

    def hidden_swapped(q, g):
        return q_pids[g] == g_pids[rows[q]] and q_cams[g] == g_cams[rows[q]]

    expected = slow(similarity.T[rows], g_pids[rows], g_cams[rows], q_pids, q_cams, hidden_swapped)
    assert swapped.cmc == pytest.approx(expected[0])
    assert (swapped.mAP, swapped.mINP) == pytest.approx(expected[1:])
    assert swapped.mAP != pytest.approx(found.mAP_per_draw[0], abs=1e-3)


@pytest.mark.parametrize("direction", ["visible_to_infrared", "infrared_to_visible"])
def test_regdb_equals_slow_loops_and_counts_images(problem, direction):
    query, q_pids, _, gallery, g_pids, _ = arrays(problem)
    cameras = [1, 2] if direction == "visible_to_infrared" else [2, 1]
    q_cams = np.full(40, cameras[0])
    g_cams = np.full(84, cameras[1])
    labels = (q_pids, q_cams, gallery, g_pids, g_cams)
    found = regdb_metrics(query, *labels, direction=direction)
    similarity = normalised(query) @ normalised(gallery).T
    expected = slow(similarity, q_pids, q_cams, g_pids, g_cams, lambda q, g: False, collapse=False)
    assert found.cmc == pytest.approx(expected[0])
    assert (found.mAP, found.mINP) == pytest.approx(expected[1:])


def along(*angles):
    """Features at angles in degrees; the query looks along 0."""
    return np.stack([np.cos(np.radians(angles)), np.sin(np.radians(angles))], axis=1)


def one_query(camera, pids, cameras, draws=None, **options):
    """Rank images of increasing angle for a query of identity 1."""
    gallery = along(*(10 * (i + 1) for i in range(len(pids))))
    draws = [np.arange(len(pids))] if draws is None else draws
    return sysu_metrics(along(0), [1], [camera], gallery, pids, cameras, draws, **options)


def test_cmc_counts_the_images_of_an_identity_once():
    found = one_query(6, [2, 2, 3, 1], [1, 4, 5, 1])
    assert found.cmc[:4].tolist() == [0, 0, 1, 1]  # by image the fourth, by identity the third
    assert found.mAP == pytest.approx(1 / 4)  # AP and INP are by image
    assert found.mINP == pytest.approx(1 / 4)


def test_ap_and_inp_count_each_image_of_the_identity():
    found = one_query(6, [1, 2, 1, 3], [1, 4, 5, 1])
    assert found.mAP == pytest.approx((1 + 2 / 3) / 2)
    assert found.mINP == pytest.approx(2 / 3)
    assert found.cmc[0] == 1


def test_camera_3_does_not_see_camera_2_whatever_the_identity():
    pids = [2, 1, 3, 1]
    cameras = [2, 2, 1, 1]
    assert one_query(3, pids, cameras).mAP == pytest.approx(1 / 2)
    assert one_query(3, pids, cameras).cmc[:2].tolist() == [0, 1]
    assert one_query(6, pids, cameras).mAP == pytest.approx((1 / 2 + 2 / 4) / 2)
    # Only an impostor is in camera 2: removing images of the identity alone would leave it.
    assert one_query(3, [2, 1], [2, 1]).cmc[0] == 1
    assert one_query(6, [2, 1], [2, 1]).cmc[0] == 0


def test_a_query_of_camera_3_with_matches_in_camera_2_only_does_not_count():
    gallery = along(10, 20)
    found = sysu_metrics(along(0, 0), [1, 2], [3, 3], gallery, [1, 2], [2, 1], [[0, 1]])
    assert found.num_valid.tolist() == [1]
    assert found.mAP == 1


def test_indoor_search_leaves_outdoor_cameras_out():
    pids = [2, 3, 1]
    cameras = [4, 1, 2]
    assert one_query(6, pids, cameras).cmc[:3].tolist() == [0, 0, 1]
    assert one_query(6, pids, cameras, search="indoor").cmc[:3].tolist() == [0, 1, 1]


def test_the_mean_is_over_draws():
    pids = [2, 1, 1]
    cameras = [1, 1, 4]
    found = one_query(6, pids, cameras, draws=[[0, 1], [1, 2], [0, 2]])
    assert found.mAP_per_draw.tolist() == [0.5, 1, 0.5]
    assert found.mAP == pytest.approx(2 / 3)
    assert found.cmc[0] == pytest.approx(1 / 3)


def test_equal_distances_are_ranked_by_gallery_position_in_any_order_of_the_draw():
    gallery = along(10, 10)
    for pids, expected in (([1, 2], 1), ([2, 1], 0)):
        found = sysu_metrics(along(0), [1], [6], gallery, pids, [1, 1], [[0, 1], [1, 0]])
        assert found.cmc_per_draw[:, 0].tolist() == [expected, expected]


def test_llcm_ignores_the_identity_in_its_own_camera():
    gallery = along(10, 20, 30)
    labels = (gallery, [1, 2, 1], [4, 4, 5], [[0, 1, 2]])
    assert llcm_metrics(along(0), [1], [4], *labels).mAP == pytest.approx(1 / 2)
    assert llcm_metrics(along(0), [1], [5], *labels).mAP == 1
    # Another identity of the query's camera stays.
    assert llcm_metrics(along(0), [1], [4], *labels).cmc[:2].tolist() == [0, 1]


def test_directions_of_sysu_swapped_are_refused(problem):
    query, q_pids, q_cams, gallery, g_pids, g_cams = arrays(problem)
    with pytest.raises(ValueError, match=r"query images of infrared cameras 3, 6, got.*swapped"):
        sysu_metrics(gallery, g_pids, g_cams, query, q_pids, q_cams, [[0, 1]])
    with pytest.raises(ValueError, match="gallery images of visible cameras 1, 2, 4, 5"):
        sysu_metrics(query, q_pids, q_cams, query, q_pids, q_cams, [[0, 1]])


def test_directions_of_regdb_swapped_are_refused_and_differ():
    features = along(0, 40)
    other = along(15, 50)
    labels = ([1, 2], [1, 1], other, [1, 2], [2, 2])
    with pytest.raises(ValueError, match="query images of infrared cameras 2, got cameras 1"):
        regdb_metrics(features, *labels, direction="infrared_to_visible")
    there = regdb_metrics(features, *labels, direction="visible_to_infrared")
    back = regdb_metrics(
        other, [1, 2], [2, 2], features, [1, 2], [1, 1], direction="infrared_to_visible"
    )
    assert (there.cmc[0], back.cmc[0]) == (1, 1)
    features = along(0, 40)
    other = along(22, 50)
    there = regdb_metrics(
        features, [1, 2], [1, 1], other, [1, 2], [2, 2], direction="visible_to_infrared"
    )
    back = regdb_metrics(
        other, [1, 2], [2, 2], features, [1, 2], [1, 1], direction="infrared_to_visible"
    )
    assert (there.cmc[0], back.cmc[0]) == (1, 0.5)


def test_modes_of_llcm_swapped_are_refused():
    features = along(0, 10, 20)
    every = ([1, 1, 2], [1, 1, 1])  # identity 1 twice in camera 1: the side that is not drawn
    drawn = ([1, 2], [2, 2])
    found = llcm_metrics(features, *every, along(5, 15), *drawn, [[0, 1]])
    assert found.num_valid.tolist() == [3]
    with pytest.raises(ValueError, match=r"one image of each identity and camera.*swapped"):
        llcm_metrics(along(5, 15), *drawn, features, *every, [[0, 1, 2]])
    with pytest.raises(ValueError, match="one of gallery_draws and query_draws"):
        llcm_metrics(along(5, 15), *drawn, features, *every)


@pytest.mark.parametrize(
    ("draws", "words"),
    [
        ([[0, 9]], r"draws of positions 0 to 1, got 0 to 9"),
        ([[0, 0]], "each gallery image once"),
        ([[0.5]], r"positions \(n,\), got shape \(1,\) of float64"),
        ([], "at least one gallery draw"),
        ([np.zeros(0, int)], "expected images in each gallery draw"),
    ],
)
def test_bad_draws_say_what_was_expected(draws, words):
    with pytest.raises(ValueError, match=words):
        sysu_metrics(along(0), [1], [6], along(10, 20), [1, 2], [1, 1], draws)


def test_bad_searches_directions_and_labels():
    arguments = (along(0), [1], [6], along(10, 20), [1, 2], [1, 1])
    with pytest.raises(ValueError, match="unknown search 'outdoor'; known: all, indoor"):
        sysu_metrics(*arguments, [[0]], search="outdoor")
    with pytest.raises(ValueError, match="unknown direction 'thermal'"):
        regdb_metrics(*arguments, direction="thermal")
    with pytest.raises(ValueError, match="no query identity appears in a drawn gallery"):
        sysu_metrics(along(0), [7], [6], *arguments[3:], [[0]])
    with pytest.raises(ValueError, match="expected 1 query and 2 gallery labels"):
        sysu_metrics(along(0), [1, 2], [6, 6], *arguments[3:], [[0]])
