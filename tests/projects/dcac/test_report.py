"""Gains over the baseline: hand-computed cases."""

import json

import pytest
from PIL import Image

from fastreid_ext.evaluation.matrix import Cell
from projects.DCAC.miniature.report import (
    baseline_line,
    better_pairs,
    gains,
    plot_gains,
    read_cells,
    table,
    with_baseline,
)


def cell(model, source, target, seed, score):
    return Cell(model, source, "all", target, seed, {"Rank-1": score, "mAP": score})


@pytest.fixture
def cells():
    """Two pairs and two seeds; gains 2 and 4 with seed 0, 0 and -2 with seed 1."""
    return [
        cell("baseline", "A", "B", 0, 10.0),
        cell("baseline", "B", "A", 0, 20.0),
        cell("baseline", "A", "B", 1, 10.0),
        cell("baseline", "B", "A", 1, 20.0),
        cell("baseline", "A", "A", 0, 80.0),
        cell("DCAC", "A", "B", 0, 12.0),
        cell("DCAC", "B", "A", 0, 24.0),
        cell("DCAC", "A", "B", 1, 10.0),
        cell("DCAC", "B", "A", 1, 18.0),
        cell("DCAC", "A", "A", 0, 81.0),
    ]


def test_gains_are_averaged_over_the_pairs_of_a_seed(cells):
    assert gains(cells, "DCAC", "mAP", is_own=False) == {0: 3.0, 1: -1.0}
    assert gains(cells, "DCAC", "mAP", is_own=True) == {0: 1.0}


def test_gains_need_both_models(cells):
    assert gains(cells[:-2], "DCAC", "mAP", is_own=False) == {0: 3.0, 1: 0.0}
    assert gains(cells, "unknown", "mAP", is_own=False) == {}


def test_better_pairs_count_means_over_seeds(cells):
    assert better_pairs(cells, "DCAC") == (2, 2)  # 1.0 and 1.0
    cells.append(cell("DCAC", "A", "C", 0, 1.0))
    cells.append(cell("baseline", "A", "C", 0, 2.0))
    assert better_pairs(cells, "DCAC") == (2, 3)


def test_table_and_baseline_are_hand_computed(cells):
    row = table(cells, ["DCAC", "unknown"]).splitlines()[2:]
    assert row[0].split("|")[2].strip() == "+1.0 (2.8)"  # of 3 and -1
    assert row[0].split("|")[4].strip() == "+1.0"
    assert row[1].split("|")[2].strip() == "-"
    assert "other domains 15.0 (0.0) / 15.0 (0.0); own domain 80.0 / 80.0" in baseline_line(cells)


def test_cells_of_two_matrices_count_once(cells, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        content = {"cells": [vars(c) for c in cells]}
        (tmp_path / name / "matrix.json").write_text(json.dumps(content))
    assert read_cells([tmp_path / "one", tmp_path / "two"]) == cells
    with pytest.raises(FileNotFoundError, match=r"matrix\.json; make it"):
        read_cells([tmp_path / "three"])


def test_picture_of_gains_is_written(cells, tmp_path):
    path = plot_gains(cells, ["DCAC", "unknown"], tmp_path / "gains.png")
    assert Image.open(path).size[0] > 500


def test_another_model_is_the_baseline():
    renamed = with_baseline([cell("resnet18", "A", "B", 0, 1.0)], "resnet18")
    assert [one.model for one in renamed] == ["baseline"]


def test_an_unknown_baseline_is_refused(cells):
    with pytest.raises(ValueError, match="got 'x'; choose --baseline from baseline, DCAC"):
        with_baseline(cells, "x")
