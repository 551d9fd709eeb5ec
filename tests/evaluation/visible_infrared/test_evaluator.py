"""The evaluation of visible-infrared sets inside the trainer, from names of images to results."""

import numpy as np
import pytest
import torch
from fastreid.config import get_cfg
from scipy.io import savemat

from fastreid_ext.checks.test import evaluation_problems
from fastreid_ext.config import add_fastreid_ext_config
from fastreid_ext.data.configured_sets import query_and_gallery
from fastreid_ext.evaluation.evaluator import CountingEvaluator
from fastreid_ext.evaluation.visible_infrared import (
    llcm_metrics,
    official_draws,
    read_permutations,
    seeded_draws,
    sysu_metrics,
)
from fastreid_ext.evaluation.visible_infrared.evaluator import evaluator_of, title_of_test

from ...tiny_cfg import dotted

PIDS = range(1, 6)
COUNT = 3  # images of each identity and camera


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


@pytest.fixture
def root(tmp_path):
    """SYSU-MM01 and LLCM, of empty files: features are given."""
    for pid in PIDS:
        for number in range(1, COUNT + 1):
            for camera in range(1, 7):
                name = f"cam{camera}/{pid:04d}/{number:04d}.jpg"
                touch(tmp_path / "SYSU-MM01" / name)
            for camera in (1, 2):
                for short in ("vis", "nir"):
                    name = f"test_{short}/cam{camera}/{pid:04d}/{number}.jpg"
                    touch(tmp_path / "LLCM" / name)
    for camera, pid in ((1, 6), (3, 6)):  # to train on; fastreid reads it for tests too
        touch(tmp_path / f"SYSU-MM01/cam{camera}/{pid:04d}/0001.jpg")
    for name in ("train_id", "val_id"):
        touch(tmp_path / f"SYSU-MM01/exp/{name}.txt").write_text("6")
    for short in ("vis", "nir"):
        touch(tmp_path / f"LLCM/{short}/a.jpg")
        touch(tmp_path / f"LLCM/idx/train_{short}.txt").write_text(f"{short}/a.jpg 0\n")
    for file in ("SYSU-MM01/exp", "LLCM/idx"):
        touch(tmp_path / file / "test_id.txt").write_text(",".join(map(str, PIDS)))
    return tmp_path


def configuration(root, name, **keys):
    named = {"DATASETS.ROOT": str(root), "DATASETS.TESTS": (name,), **dotted(keys)}
    cfg = get_cfg()
    add_fastreid_ext_config(cfg)
    cfg.merge_from_list([part for pair in named.items() for part in pair])
    return cfg


def evaluated(cfg, name):
    """Evaluate random features; return results and the arguments of the metrics."""
    items, num_query = query_and_gallery(cfg, name)
    rng = np.random.default_rng(0)
    pids = np.asarray(items.pids)
    camids = np.asarray(items.camids)
    features = np.eye(6)[pids] + 0.8 * rng.standard_normal((len(pids), 6))
    evaluator = evaluator_of(cfg, name, num_query)
    evaluator.reset()
    batch = {"targets": torch.from_numpy(pids), "camids": torch.from_numpy(camids)}
    evaluator.process(batch, torch.from_numpy(features).float())
    sides = [slice(None, num_query), slice(num_query, None)]
    given = [
        part[side] for side in sides for part in (features.astype(np.float32), pids, camids + 1)
    ]
    names = [path.split("/")[-1] for path in items.paths]
    return evaluator.evaluate(), given, names[num_query:], names[:num_query]


@pytest.mark.parametrize(("name", "search"), [("SYSUMM01", "all"), ("SYSUMM01Indoor", "indoor")])
@pytest.mark.parametrize("shots", [1, 2])
def test_sysu_is_the_mean_over_seeded_draws(root, name, search, shots):
    cfg = configuration(root, name, TEST__VISIBLE_INFRARED__SHOTS=shots)
    results, given, names, _ = evaluated(cfg, name)
    draws = seeded_draws(given[4], given[5], names, shots=shots)
    expected = sysu_metrics(*given, draws, search=search)
    assert results["Rank-1"] == pytest.approx(100 * expected.cmc[0])
    assert results["mAP"] == pytest.approx(100 * expected.mAP)
    assert results["mINP"] == pytest.approx(100 * expected.mINP)
    assert results["mAP spread"] == pytest.approx(100 * expected.mAP_per_draw.std(ddof=1))
    assert results["metric"] == pytest.approx((results["Rank-1"] + results["mAP"]) / 2)


def write_permutations(file):
    rng = np.random.default_rng(1)
    cameras = np.empty((6, 1), object)
    for camera in range(6):
        cameras[camera, 0] = np.empty((len(PIDS), 1), object)
        for pid in range(len(PIDS)):
            orders = [rng.permutation(COUNT) + 1 for _ in range(10)]
            cameras[camera, 0][pid, 0] = np.stack(orders)
    savemat(file, {"rand_perm_cam": cameras})


def test_sysu_takes_the_official_permutations_where_they_are_and_says_so(root, caplog):
    cfg = configuration(root, "SYSUMM01")
    assert "10 draws by random.seed(trial), no rand_perm_cam.mat" in title_of_test(cfg, "SYSUMM01")
    without = evaluated(cfg, "SYSUMM01")[0]
    assert "rand_perm_cam.mat: galleries of SYSUMM01 are drawn by random.seed" in caplog.text
    file = root / "SYSU-MM01" / "exp" / "rand_perm_cam.mat"
    write_permutations(file)
    results, given, names, _ = evaluated(cfg, "SYSUMM01")
    draws = official_draws(given[4], given[5], names, read_permutations(file))
    assert results["mAP"] == pytest.approx(100 * sysu_metrics(*given, draws).mAP)
    assert results["mAP"] != pytest.approx(without["mAP"], abs=1e-3)
    assert "10 draws by rand_perm_cam.mat" in title_of_test(cfg, "SYSUMM01")


@pytest.mark.parametrize(
    "name",
    ["LLCM_visible_to_infrared", "LLCM_infrared_to_visible", "LLCM_drawn_infrared_to_visible"],
)
def test_llcm_draws_the_side_of_its_name(root, name):
    cfg = configuration(root, name, TEST__VISIBLE_INFRARED__TRIALS=4)
    results, given, in_gallery, in_queries = evaluated(cfg, name)
    if "drawn" in name:
        draws = {"query_draws": seeded_draws(given[1], given[2], in_queries, trials=4)}
    else:
        draws = {"gallery_draws": seeded_draws(given[4], given[5], in_gallery, trials=4)}
    assert results["mAP"] == pytest.approx(100 * llcm_metrics(*given, **draws).mAP)


def test_the_title_names_direction_trials_feature_flip_and_weights(root):
    cfg = configuration(root, "SYSUMM01", TEST__FLIP__ENABLED=True, MODEL__WEIGHTS="a/stage1.pth")
    title = title_of_test(cfg, "SYSUMM01Indoor")
    for part in ("infrared -> visible", "indoor search", "1 shot", "10 draws", "with flip"):
        assert f"; {part}" in title
    assert f"feature {cfg.MODEL.HEADS.NECK_FEAT} the neck" in title
    assert title.endswith("weights stage1.pth")
    assert "visible -> infrared" in title_of_test(cfg, "RegDB_trial3_visible_to_infrared")
    assert "queries are drawn" in title_of_test(cfg, "LLCM_drawn_infrared_to_visible")
    assert title_of_test(cfg, "Market1501") == "Market1501"


def test_other_sets_keep_their_evaluator_and_reranking_is_refused(root):
    cfg = configuration(root, "SYSUMM01")
    assert type(evaluator_of(cfg, "Market1501", 3)) is CountingEvaluator
    assert not any("drawn galleries" in text for text in evaluation_problems(cfg))
    cfg.TEST.RERANK.ENABLED = True
    cfg.TEST.METRIC = "euclidean"
    problems = [text for text in evaluation_problems(cfg) if "drawn galleries" in text]
    assert len(problems) == 2
    assert "TEST.RERANK.ENABLED has no place in the rule of SYSUMM01" in problems[0]
