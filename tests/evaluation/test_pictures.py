import dataclasses
import json

import cv2
import numpy as np
import pytest
import torch

from fastreid_ext.evaluation.baselines import chance, colour_histograms
from fastreid_ext.evaluation.features import TestFeatures
from fastreid_ext.evaluation.pictures.rank_lists import RIGHT, WRONG, plot_rank_lists
from fastreid_ext.evaluation.pictures.training import plot_training
from fastreid_ext.pictures.tiles import GAP, TEXT_HEIGHT

COLOURS = [(200, 30, 30), (30, 200, 30), (30, 30, 200), (200, 200, 30)]


@pytest.fixture
def test_set(tmp_path):
    """Write images of four identities, one colour each, by three cameras; queries by camera 0."""
    rng = np.random.default_rng(0)
    paths = []
    pids = []
    camids = []
    for camid in range(3):
        for pid, colour in enumerate(COLOURS):
            image = np.clip(np.array(colour) + rng.normal(0, 15, (64, 32, 3)), 0, 255)
            paths.append(str(tmp_path / f"{pid}_{camid}.png"))
            cv2.imwrite(paths[-1], image.astype(np.uint8))
            pids.append(pid)
            camids.append(camid)
    features = torch.from_numpy(colour_histograms(paths))
    return TestFeatures(features, np.array(pids), np.array(camids), paths, num_query=4)


def test_colour_histograms_find_identities_of_one_colour(test_set):
    metrics = test_set.metrics()
    assert metrics.cmc[0] == 1
    assert metrics.mAP > 0.99
    np.testing.assert_allclose(test_set.features.norm(dim=1), 1, rtol=1e-5)


def test_chance_is_the_share_of_matches():
    """2 of 40 gallery images match: Rank-1 of a random order is 5 % on average."""
    pids = np.repeat(np.arange(20), 2)
    metrics = chance(np.arange(20), pids, np.zeros(20), np.ones(40), repeats=40)
    assert metrics.cmc[0] == pytest.approx(0.05, abs=0.02)


def test_colour_histograms_name_the_broken_file(tmp_path):
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(ValueError, match=r"expected an image, got .*cut\.jpg"):
        colour_histograms([tmp_path / "cut.jpg"])


def test_rank_lists_frame_right_green_and_wrong_orange(test_set, tmp_path):
    picture = cv2.imread(str(plot_rank_lists(test_set, tmp_path / "ranks.png", queries=4, top=3)))
    frames = picture[
        GAP + TEXT_HEIGHT + GAP + 1, :, ::-1
    ]  # pixels inside the upper frames of the first list
    middles = [6 + 36, 6 + 72 + 6 + 6 + 6 + 36]  # of the query, of the first match
    assert tuple(frames[middles[0]]) == (90, 90, 90)
    assert tuple(frames[middles[1]]) == RIGHT
    assert tuple(frames[middles[1] + 2 * 78]) == WRONG  # only two matches exist


def test_rank_lists_of_a_small_gallery_end_in_white(test_set, tmp_path):
    """Twelve columns for eight gallery images, one of which the evaluation removes."""
    camids = test_set.camids.copy()
    camids[4:8] = 0  # of the query's identity and camera: left out
    small = dataclasses.replace(test_set, camids=camids)
    picture = cv2.imread(str(plot_rank_lists(small, tmp_path / "ranks.png", queries=4, top=12)))
    frames = picture[GAP + TEXT_HEIGHT + GAP + 1, :, ::-1]
    columns = [tuple(frames[6 + 72 + 6 + 6 + 6 + 36 + 78 * k].tolist()) for k in range(12)]
    assert columns == [RIGHT, *[WRONG] * 6, *[(255, 255, 255)] * 5]


def test_rank_lists_need_a_query_with_a_match(test_set, tmp_path):
    alone = dataclasses.replace(test_set, camids=np.zeros(12, np.int64))
    with pytest.raises(ValueError, match="no query identity appears in the gallery"):
        plot_rank_lists(alone, tmp_path / "ranks.png")


def test_plot_training_of_a_run(tmp_path):
    rows = [{"iteration": i, "total_loss": 5 - i / 10, "loss_cls": 2.0} for i in range(20)]
    rows[9]["Rank-1"] = 40.0
    (tmp_path / "metrics.json").write_text("\n".join(map(json.dumps, rows)))
    output = plot_training(tmp_path / "metrics.json", tmp_path / "curves.png")
    assert cv2.imread(str(output)).std() > 10


def test_plot_training_shows_small_losses_beside_large_ones(tmp_path):
    """A line of the least loss takes rows of the picture only where the axis is logarithmic."""

    def rows_of_the_first_curve(scale):
        rows = [
            {"iteration": i, "loss_diffusion": scale * (0.9 - 0.01 * i), "total_loss": 50.0}
            for i in range(60)
        ]
        (tmp_path / "metrics.json").write_text("\n".join(map(json.dumps, rows)))
        picture = cv2.imread(str(plot_training(tmp_path / "metrics.json", tmp_path / "c.png")))
        blue = np.abs(picture[:, : picture.shape[1] // 3].astype(int) - (178, 114, 0)).max(axis=2)
        return np.count_nonzero((blue < 10).any(axis=1))

    assert rows_of_the_first_curve(1.0) > 2 * rows_of_the_first_curve(3.0)


def test_plot_training_refuses_broken_metrics(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected the OUTPUT_DIR of a run"):
        plot_training(tmp_path / "metrics.json", tmp_path / "curves.png")
    (tmp_path / "metrics.json").write_text('{"iteration": 1, "total_loss": 2.0}\n{"iterat')
    with pytest.raises(ValueError, match=r"metrics.json:2: not JSON"):
        plot_training(tmp_path / "metrics.json", tmp_path / "curves.png")
