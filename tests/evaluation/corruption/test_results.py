"""Results of a -C evaluation against numbers computed by hand: means, mCE, tables, plots."""

import json

import cv2
import numpy as np
import pytest

from fastreid_ext.evaluation.corruption.baseline import (
    FORMAT,
    Baseline,
    corruption_errors,
    read_baseline,
)
from fastreid_ext.evaluation.corruption.measure import Measured
from fastreid_ext.evaluation.corruption.results import CorruptionResults
from fastreid_ext.evaluation.pictures.corruption import plot_drops, plot_repeats, plot_severities
from fastreid_ext.evaluation.pictures.corruption_sheet import plot_corruption_sheet


def results_of(measured, errors=None):
    return CorruptionResults("Market1501", "both", "0123456789abcdef0123", measured, errors)


@pytest.fixture(scope="module")
def grid_results():
    """Numbers by hand: three corruptions, mAP falls by 5, 10 and 15 a severity from 80."""
    grid = {
        name: {s: {"Rank-1": 90.0 - 2 * s, "mAP": 80.0 - step * s, "mINP": 40.0} for s in range(6)}
        for name, step in (("gaussian_noise", 5), ("fog", 10), ("rain", 15))
    }
    for cells in grid.values():
        del cells[0]
    clean = {"Rank-1": 90.0, "mAP": 80.0, "mINP": 50.0}
    repeats = [{"Rank-1": r, "mAP": r - 20, "mINP": 30.0} for r in (60.0, 66.0, 72.0)]
    return results_of(Measured(clean, repeats, grid, []))


# --- mCE


def grid_of(*mean_ap):
    """Make a grid of one corruption with one severity per value."""
    return {"fog": {s: {"mAP": v, "Rank-1": v / 2} for s, v in enumerate(mean_ap, 1)}}


def test_mce_known_answer():
    """Errors 40 + 60 against 80 + 120 -> 50; for Rank-1 70 + 80 against 90 + 110 -> 75."""
    errors = corruption_errors(
        {**grid_of(60, 40), "rain": {1: {"mAP": 70, "Rank-1": 10}}},
        {
            "fog": {1: {"mAP": 20, "Rank-1": 10}, 2: {"mAP": -20, "Rank-1": -10}},
            "rain": {1: {"mAP": 80, "Rank-1": 40}},
        },
        "BoT",
    )
    assert errors.by_corruption["mAP"] == {"fog": 50.0, "rain": 150.0}
    assert errors.by_corruption["Rank-1"]["fog"] == 100 * (70 + 80) / (90 + 110)
    assert errors.mean("mAP") == 100.0


def test_mce_of_the_baseline_is_100(grid_results):
    grid = grid_results.measured.grid
    errors = corruption_errors(grid, grid, "itself")
    assert errors.mean("mAP") == errors.mean("Rank-1") == 100
    assert set(errors.by_corruption["mAP"].values()) == {100.0}


def test_mce_needs_the_same_grid():
    with pytest.raises(ValueError, match=r"2 cells here and 3 in BoT, the first .* fog 3; eval"):
        corruption_errors(grid_of(1, 2), grid_of(1, 2, 3), "BoT")
    with pytest.raises(ValueError, match=r"got 0 cells here and 0 in BoT; evaluate both with"):
        corruption_errors({}, {}, "BoT")


def test_mce_needs_a_baseline_that_errs():
    with pytest.raises(ValueError, match=r"that errs, got mAP 100 % under fog in BoT; mCE is not"):
        corruption_errors(grid_of(50), grid_of(100), "BoT")


def write_baseline(file, **changes):
    content = {
        "format": FORMAT,
        "data_set": "Market1501",
        "corrupt": "both",
        "index": {"rows_sha256": "abc"},
        "grid": {"fog": {"1": {"mAP": 50.0, "Rank-1": 60.0}}},
        **changes,
    }
    file.write_text(json.dumps({key: v for key, v in content.items() if v is not None}))
    return file


def test_read_baseline(tmp_path):
    baseline = read_baseline(write_baseline(tmp_path / "corruption.json"))
    assert baseline.grid == {"fog": {1: {"mAP": 50.0, "Rank-1": 60.0}}}
    errors = baseline.errors({"fog": {1: {"mAP": 75.0, "Rank-1": 60.0}}})
    assert (errors.baseline, errors.mean("mAP")) == (tmp_path.name, 50.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid": None}, r"of an evaluation with --grid, got KeyError: 'grid'; evaluate"),
        ({"format": "result"}, r"got ValueError: format result"),
        ({"grid": [1]}, r"got AttributeError: 'list' object has no attribute 'items'"),
    ],
)
def test_read_baseline_refuses_another_file(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        read_baseline(write_baseline(tmp_path / "corruption.json", **changes))


def test_read_baseline_names_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no baseline at .*gone\.json; give the"):
        read_baseline(tmp_path / "gone.json")


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (("DukeMTMC", "both", "abc"), "got data set Market1501 there and DukeMTMC here"),
        (("Market1501", "query", "abc"), "got corrupted side both there and query here"),
        (("Market1501", "both", "abd"), "got index abc there and abd here; evaluate both with the"),
    ],
)
def test_baseline_of_other_pixels_is_refused(wanted, message, tmp_path):
    baseline = Baseline(tmp_path / "corruption.json", "Market1501", "both", "abc", {}, {})
    baseline.expect("Market1501", "both", "abc")
    with pytest.raises(ValueError, match=message):
        baseline.expect(*wanted)


def test_baseline_by_other_libraries_is_reported(tmp_path, caplog):
    """The version of numpy can change pixels, that of torch cannot."""
    theirs = {"pixel_probe": "a", "versions": {"numpy": "2.1.0", "torch": "2.9"}}
    baseline = read_baseline(write_baseline(tmp_path / "corruption.json", **theirs))
    alike = {"pixel_probe": "a", "versions": {"numpy": "2.1.0", "torch": "2.13"}}
    assert baseline.installation_differences(alike) == []
    assert not caplog.records
    ours = {"pixel_probe": "b", "versions": {"numpy": "2.2.0"}}
    assert baseline.installation_differences(ours) == [
        "the pixels of a corrupted test pattern",
        "numpy 2.2.0 and 2.1.0",
    ]
    assert "pixels may differ from the baseline's, which differs in the pixels" in caplog.text
    assert "evaluate both with one installation" in caplog.text


# --- tables


def test_grid_means_known_answer(grid_results):
    """mAP 80 - 5 s: mean over s 65; at severity 2 of the three 70, 60, 50: 60."""
    assert grid_results.of_corruption("gaussian_noise", "mAP") == 65
    assert grid_results.of_severity(2, "mAP") == 60
    assert grid_results.drop(65, "mAP") == 18.75
    content = grid_results.as_json()
    assert content["by_corruption"]["rain"]["relative_drop"]["mAP"] == pytest.approx(56.25)
    assert content["by_severity"]["5"]["mAP"] == pytest.approx(30)
    assert content["corrupted"]["Rank-1"]["mean"] == 66
    assert content["corrupted"]["Rank-1"]["std"] == pytest.approx(6)
    assert content["corrupted"]["Rank-1"]["relative_drop"] == pytest.approx(100 * 24 / 90)
    assert json.loads(json.dumps(content, allow_nan=False)) == content


def test_one_repeat_has_no_deviation_and_a_result_of_0_no_drop():
    clean = {"Rank-1": 0.0, "mAP": 10.0, "mINP": 10.0}
    results = results_of(Measured(clean, [clean], {}, []))
    content = results.as_json()
    assert content["corrupted"]["mAP"]["std"] is None
    assert content["corrupted"]["Rank-1"]["relative_drop"] is None
    assert "grid" not in content
    assert "corrupted, one repeat" in results.as_markdown()


def test_markdown_has_all_tables(grid_results):
    errors = corruption_errors(grid_results.measured.grid, grid_results.measured.grid, "BoT")
    text = results_of(grid_results.measured, errors).as_markdown()
    assert text.startswith(
        "Market1501-C: queries and gallery corrupted; percent; AP by fastreid's rule"
    )
    assert "index 0123456789abcdef." in text
    assert "| clean | 90.0 | 80.0 | 50.0 |" in text
    mean = "corrupted, mean (standard deviation) over 3 repeats"
    assert f"| {mean} | 66.0 (6.0) | 46.0 (6.0) | 30.0 (0.0) |" in text
    assert "| rain | 65.0 | 50.0 | 35.0 | 20.0 | 5.0 | 35.0 | 56.2 | 84.0 | 6.7 |" in text
    assert "CE: errors relative to BoT, last line mCE." in text
    assert text.splitlines()[-1].endswith("| 100.0 | 100.0 |")
    columns = {line.count("|") for line in text.splitlines()[10:]}
    assert len(columns) == 1
    assert "mCE 100.0" in results_of(grid_results.measured, errors).one_line()


# --- plots


def test_plots_have_contrast(grid_results, tmp_path):
    for plot in (plot_severities, plot_drops, plot_repeats):
        assert cv2.imread(str(plot(grid_results, tmp_path / "picture.png"))).std() > 5


def test_plots_without_a_grid_or_a_drop_are_refused(grid_results, tmp_path):
    nothing = results_of(Measured(grid_results.measured.clean, [], {}, []))
    for plot in (plot_severities, plot_drops):
        with pytest.raises(ValueError, match="expected a grid of corruptions and severities to"):
            plot(nothing, tmp_path / "picture.png")
    clean = {"Rank-1": 0.0, "mAP": 1.0, "mINP": 0.0}
    zero = results_of(Measured(clean, [clean], grid_results.measured.grid, []))
    with pytest.raises(ValueError, match="expected a clean mAP and Rank-1 above 0, got 0"):
        plot_drops(zero, tmp_path / "picture.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [(128, 64), (24, 20), (60, 300), (400, 333)])
def test_corruption_sheet_shows_the_clean_image_and_five_severities(size, tmp_path):
    image = np.full((*size, 3), (40, 120, 200), np.uint8)
    path = plot_corruption_sheet(
        image, tmp_path / "sheet.png", names=("gaussian_noise", "fog", "rain"), title=["title"]
    )
    picture = cv2.imread(str(path))[:, :, ::-1]
    clean = np.abs(picture.astype(int) - (40, 120, 200)).max(axis=2) < 3
    assert clean.any(axis=1).sum() >= min(150, 240 * size[0] // size[1] - 10)
    assert picture.shape[0] > 6 * 40
