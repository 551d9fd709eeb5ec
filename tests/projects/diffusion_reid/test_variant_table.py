"""The table of variants, by hand; the picture is judged by eye."""

import json

import cv2
import pytest

from projects.DiffusionReID.miniature.variant_plot import plot_variants
from projects.DiffusionReID.miniature.variant_table import Measured, VariantTable, write_variants


def cell(variant, seed, tuned, pretrained=None, images=0, group="start"):
    before = {} if pretrained is None else {"Rank-1": pretrained + 10, "mAP": pretrained}
    after = {"Rank-1": tuned + 10, "mAP": tuned}
    return Measured(
        variant=variant,
        group=group,
        seed=seed,
        images=images,
        persons=images // 5,
        pretrained=before,
        tuned=after,
    )


@pytest.fixture
def table():
    return VariantTable(
        [
            cell("nothing", 0, 10.0),
            cell("nothing", 1, 14.0),
            cell("real", 1, 30.0, 20.0, 400),
            cell("real", 0, 20.0, 18.0, 400),
            cell("generated", 0, 26.0, 25.0, 1800, "method"),
            cell("generated", 1, 34.0, 27.0, 1900, "method"),
        ]
    )


def test_means_spreads_and_gains_are_those_by_hand(table):
    assert str(table.summary("real", "tuned", "mAP")) == "25.0 (7.1)"
    assert str(table.summary("generated", "pretrained", "Rank-1")) == "36.0 (1.4)"
    assert table.summary("nothing", "pretrained", "mAP") is None
    gain = table.gain("generated", "real")  # 6 and 4: the seeds are paired
    assert (gain.mean, round(gain.spread, 3)) == (5.0, 1.414)


def test_table_reads(table):
    lines = table.as_markdown("real").splitlines()
    assert "over 2 seeds" in lines[0]
    assert lines[4] == "| nothing |  |  |  | 22.0 (2.8) / 12.0 (2.8) | -13.0 (4.2) |"
    assert lines[5].startswith(
        "| real | 400 | 80 | 29.0 (1.4) / 19.0 (1.4) | 35.0 (7.1) / 25.0 (7.1) |"
    )
    assert lines[5].endswith("|  |")
    assert [part.strip() for part in lines[6].split("|")[2:4]] == ["1,850", "370"]
    assert lines[6].endswith("| +5.0 (1.4) |")


def test_one_seed_has_no_spread():
    table = VariantTable([cell("real", 0, 20.0, 18.0, 400), cell("generated", 0, 26.0, 25.0, 1800)])
    lines = table.as_markdown("real").splitlines()
    assert "over 1 seeds" not in lines[0]
    assert "one seed" in lines[0]
    assert lines[5].endswith("| +6.0 |")


def test_files_hold_every_cell(table, tmp_path):
    write_variants(table, tmp_path / "out", "real", {"commit": "abc"})
    content = json.loads((tmp_path / "out" / "variants.json").read_text())
    assert (content["commit"], len(content["cells"])) == ("abc", 6)
    assert content["cells"][2]["tuned"] == {"Rank-1": 40.0, "mAP": 30.0}
    assert (tmp_path / "out" / "variants.md").read_text() == table.as_markdown("real")


def test_picture_has_a_bar_for_each(table, tmp_path):
    path = plot_variants(table, tmp_path / "variants.png", title="a title")
    assert min(cv2.imread(str(path)).shape[:2]) > 200


def test_more_groups_than_colours_are_refused(tmp_path):
    cells = [cell(str(n), 0, 1.0, group=str(n)) for n in range(8)]
    with pytest.raises(ValueError, match="expected at most 7 groups, got 8"):
        plot_variants(VariantTable(cells), tmp_path / "a.png", title="")
