"""Comparison of models on the same corrupted images, against numbers computed by hand."""

import json
import runpy
from pathlib import Path

import cv2
import pytest

from fastreid_ext.evaluation.corruption.baseline import FORMAT
from fastreid_ext.evaluation.corruption.comparison import compare
from fastreid_ext.evaluation.pictures.corruption_comparison import plot_comparison


def evaluation(folder, clean, corrupted, grid=None, index="abc", **changes):
    """Write the part of an evaluation's results that a comparison reads."""
    metrics = ("Rank-1", "mAP", "mINP")
    content = {
        "format": FORMAT,
        "data_set": "RenderedCampus",
        "corrupt": "both",
        "index": {"rows_sha256": index},
        "clean": dict.fromkeys(metrics, clean),
        "corrupted": {metric: {"mean": corrupted} for metric in metrics},
    }
    if grid:
        content["grid"] = {
            name: {str(s): {"mAP": value} for s, value in enumerate(values, 1)}
            for name, values in grid.items()
        }
    folder.mkdir(parents=True)
    (folder / "corruption.json").write_text(json.dumps({**content, **changes}))
    return folder


@pytest.fixture
def two_models(tmp_path):
    plain = [
        evaluation(tmp_path / "a0", 80.0, 40.0, {"fog": [60, 20], "rain": [80, 80]}),
        evaluation(tmp_path / "a1", 60.0, 30.0, {"fog": [30, 30], "rain": [60, 60]}),
    ]
    robust = [evaluation(tmp_path / "b0", 70.0, 56.0, {"fog": [70, 70], "rain": [35, 35]})]
    return {"AGW": plain, "AGW+CIL": robust}


def test_comparison_means_spreads_and_drops_by_hand(two_models):
    comparison = compare(two_models)
    plain, robust = comparison.models
    assert plain.clean["mAP"] == [80.0, 60.0]
    assert plain.relative_drop["mAP"] == [50.0, 50.0]
    assert robust.relative_drop["mAP"] == pytest.approx([20.0])
    assert plain.mAP_by_corruption == {"fog": [40.0, 30.0], "rain": [80.0, 60.0]}
    assert plain.drop_under("fog").mean == 50.0
    assert plain.drop_under("fog").spread == 0.0
    assert robust.drop_under("rain").mean == 50.0


def test_comparison_tables_name_models_seeds_and_corruptions(two_models):
    lines = compare(two_models).as_markdown().splitlines()
    assert lines[4].startswith("| AGW | 2 | 70.0 (14.1) | 35.0 (7.1) |")
    assert lines[5].startswith("| AGW+CIL | 1 | 70.0 | 56.0 |")
    assert "| fog | 35.0 (7.1) | 50.0 (0.0) | 70.0 | 0.0 |" in lines


def test_comparison_with_a_model_without_grid_has_no_table_by_corruption(tmp_path, two_models):
    two_models["short"] = [evaluation(tmp_path / "c", 50.0, 25.0)]
    comparison = compare(two_models)
    assert comparison.corruptions() == []
    assert "fog" not in comparison.as_markdown()


@pytest.mark.parametrize("names", [["AGW", "AGW+CIL"], ["AGW"]])
def test_comparison_plot_has_contrast(tmp_path, two_models, names):
    comparison = compare({name: two_models[name] for name in names})
    picture = cv2.imread(str(plot_comparison(comparison, tmp_path / "c.png")))
    assert picture.std() > 20


def test_comparison_of_different_pixels_is_refused(tmp_path, two_models):
    two_models["other"] = [evaluation(tmp_path / "o", 1.0, 1.0, index="xyz")]
    with pytest.raises(ValueError, match=r"on the same pixels as .*a0"):
        compare(two_models)


def test_comparison_lists_installation_differences(tmp_path, two_models, caplog):
    """The same index read by another Pillow is compared with a warning."""
    old = {"Pillow": "12.1.0", "torch": "12.1.0"}
    new = {"Pillow": "13.0.0", "torch": "13.0.0"}
    two_models["old"] = [
        evaluation(tmp_path / "old", 1.0, 1.0, versions=old, pixel_probe="a"),
    ]
    two_models["new"] = [
        evaluation(tmp_path / "new", 1.0, 1.0, versions=new, pixel_probe="b"),
    ]
    ours = compare({"old": two_models["old"], "new": two_models["new"]})
    assert ours.installation_differences == [
        "the pixels of a corrupted test pattern",
        "Pillow 12.1.0 and 13.0.0",
    ]
    assert "Pixels may differ: evaluations differ in the pixels of a" in ours.as_markdown()
    assert "pixels may differ" in caplog.text
    caplog.clear()
    alike = compare({"old": two_models["old"]})
    assert (alike.installation_differences, caplog.text) == ([], "")
    assert "Pixels" not in alike.as_markdown()


def test_comparison_names_missing_and_foreign_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"make it with tools/evaluate_corruption\.py"):
        compare({"AGW": [tmp_path / "nothing"]})
    with pytest.raises(ValueError, match=r"expected the corruption\.json of tools"):
        compare({"AGW": [evaluation(tmp_path / "f", 1.0, 1.0, format="something else")]})
    with pytest.raises(ValueError, match="at least one model"):
        compare({"AGW": []})


def test_comparison_plot_refuses_more_models_than_colours(tmp_path, two_models):
    comparison = compare({str(number): two_models["AGW"] for number in range(8)})
    with pytest.raises(ValueError, match="at most 7 models, got 8"):
        plot_comparison(comparison, tmp_path / "c.png")


def test_compare_corruption_refuses_a_model_named_twice(capsys):
    """The folders of the first one would be dropped."""
    tool = Path(__file__).resolve().parents[3] / "tools" / "compare_corruption.py"
    parse = runpy.run_path(str(tool))["parse"]
    arguments = ["--model", "AGW", "a0", "a1", "--model", "BoT", "b", "--output", "c"]
    assert parse(arguments).model == [["AGW", "a0", "a1"], ["BoT", "b"]]
    with pytest.raises(SystemExit):
        parse(["--model", "AGW", "a0", "--model", "AGW", "a1", "--output", "c"])
    assert "expected each --model once, got AGW, AGW; give all its" in capsys.readouterr().err
