"""The table of the miniature: gains seed by seed, both tables, the picture, and its rows."""

import json

from PIL import Image

from fastreid_ext.evaluation.matrix import Cell
from projects.DiffID.miniature.identity_preservation import Preservation
from projects.DiffID.miniature.measures import Measured
from projects.DiffID.miniature.pose_probe import PoseErrors
from projects.DiffID.miniature.report import gain, measured_table, table, write_report
from projects.DiffID.miniature.rows import CURVE, FULL, GENERATED, IMAGES, TABLE, TRUTH


def cells(*scores):
    return [
        Cell("x", "A", "all", "A", seed, {"Rank-1": score + 1, "mAP": score})
        for seed, score in enumerate(scores)
    ]


CELLS = {"I": cells(10.0, 20.0), "VI": cells(12.0, 24.0), "curve_240": cells(11.0)}
MEASURED = [
    Measured("real", 9, Preservation(0.8, 0.4, 0.9, 0.1), PoseErrors(9, 0.02), PoseErrors(90, 0.1)),
    Measured("test", 5, None, PoseErrors(12, 0.03), PoseErrors(91, 0.2)),
    Measured(
        TRUTH, 7, Preservation(0.7, 0.5, 0.6, 0.1), PoseErrors(20, float("nan")), PoseErrors(80, 1)
    ),
]


def columns(line):
    return [cell.strip() for cell in line.split("|")[1:-1]]


def test_gains_are_taken_over_common_seeds():
    assert str(gain(CELLS, "VI")) == "3.0 (1.4)"
    assert str(gain(CELLS, "curve_240")) == "1.0"
    lines = table(CELLS).splitlines()
    assert columns(lines[-2])[1:] == ["960", "19.0 (8.5)", "18.0 (8.5)", "+3.0 (1.4)", "0, 1"]
    assert columns(lines[2])[-2] == ""  # the first row gains over nothing


def test_unknown_measurements_are_dashes():
    lines = measured_table(MEASURED).splitlines()
    assert columns(lines[2])[1:] == ["9", "90.0 (10.0)", "0.800 / 0.400", "9 (90)", "2.0 (10.0)"]
    assert columns(lines[3])[2:4] == ["-", "-"]
    assert columns(lines[4])[-1] == "-"


def test_the_report_is_written(tmp_path):
    text = write_report(CELLS, MEASURED, ["Nothing leaked."], tmp_path, {"commit": "abc"})
    assert (tmp_path / "table.md").read_text() == text
    assert "Nothing leaked." in text
    content = json.loads((tmp_path / "table.json").read_text())
    assert content["rows"][1]["cells"][1]["metrics"]["mAP"] == 24.0
    assert content["measured"][1]["identity"] is None
    assert Image.open(tmp_path / "table.png").size[0] > 1000


def test_every_number_of_the_curve_can_be_trained():
    trained = {row.images for row in TABLE.values() if row.generated == FULL}
    assert trained == set(CURVE)
    assert all(80 * GENERATED[key].per_identity >= IMAGES for key in GENERATED)
    assert 80 * GENERATED[FULL].per_identity >= max(CURVE)
