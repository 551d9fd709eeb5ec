"""Table of runs: means, spreads, Markdown and plots."""

import json
import math

import numpy as np
import pytest
from PIL import Image

from fastreid_ext.evaluation.matrix import (
    Cell,
    Summary,
    Table,
    averaged_splits,
    averaged_trials,
    write_table,
)
from fastreid_ext.evaluation.pictures.matrix import plot_heat_map, plot_shares, shares


def cell(model="AGW", setting="all", target="Mall", seed=0, rank1=50.0, **metrics):
    return Cell(model, "Campus", setting, target, seed, {"Rank-1": rank1, "mAP": 20.0, **metrics})


def test_summary_mean_and_spread_known_answer():
    """40, 50, 60: mean 50, sample standard deviation 10."""
    summary = Summary.of([40.0, 50.0, 60.0])
    assert (summary.mean, summary.spread, summary.seeds) == (50.0, 10.0, 3)
    assert str(summary) == "50.0 (10.0)"


def test_summary_of_one_seed_has_no_spread():
    summary = Summary.of([41.25])
    assert math.isnan(summary.spread)
    assert str(summary) == "41.2"


def test_table_summarises_equal_rows_and_targets():
    table = Table(
        [
            cell(seed=0, rank1=10.0),
            cell(seed=1, rank1=30.0),
            cell(seed=0, rank1=99.0, target="Street"),
            cell(seed=0, rank1=77.0, model="BoT"),
        ]
    )
    assert table.rows == [("AGW", "Campus", "all"), ("BoT", "Campus", "all")]
    assert table.targets == ["Mall", "Street"]
    assert table.summary(table.rows[0], "Mall", "Rank-1").mean == 20.0
    assert table.summary(table.rows[1], "Street", "Rank-1") is None


def test_markdown_names_the_ap_rule_and_the_number_of_seeds():
    text = Table([cell(seed=0, rank1=10.0), cell(seed=1, rank1=30.0)]).as_markdown()
    assert "over 2 seeds" in text
    assert "fastreid's rule" in text
    assert "| AGW | Campus | all | 20.0 (14.1) / 20.0 (0.0) |" in text


def test_markdown_has_pairs_of_source_and_target_and_their_average():
    def pair(source, target, seed, rank1):
        return Cell("DCAC", source, "all", target, seed, {"Rank-1": rank1, "mAP": 1.0})

    cells = [
        *(pair("A", "B", seed, 10.0 + 10 * seed) for seed in (0, 1)),
        *(pair("B", "A", seed, 30.0 + 30 * seed) for seed in (0, 1)),
        pair("A", "A", 0, 99.0),  # in its own domain, so no pair
    ]
    text = Table(cells).as_markdown()
    assert "| model | A -> B | B -> A | average |" in text
    # Averages of the seeds: (10 + 30) / 2 = 20 and (20 + 60) / 2 = 40.
    assert text.splitlines()[-1].endswith("| 30.0 (14.1) / 1.0 (0.0) |")
    cells.pop(3)
    assert Table(cells).as_markdown().splitlines()[-1].endswith("| 20.0 / 1.0 |")


def test_markdown_of_one_source_has_no_pairs():
    assert "average" not in Table([cell(), cell(target="Street")]).as_markdown()


def test_markdown_names_unequal_numbers_of_seeds():
    text = Table([cell(seed=0), cell(seed=1), cell(model="BoT")]).as_markdown()
    assert "over 1 to 2 seeds" in text
    text = Table([cell(seed=0), cell(model="BoT")]).as_markdown()
    assert text.startswith("Rank-1 / mAP in percent, one seed; AP by")


def test_shares_separate_subsets_of_another_seed():
    settings = ("few_shot_10", "few_shot_10_seed1", "few_shot_50_seed1", "few_shot_list.txt", "all")
    found = shares(Table([cell(setting=setting) for setting in settings]))
    assert found == {
        "few_shot": {10: "few_shot_10"},
        "few_shot_seed1": {10: "few_shot_10_seed1", 50: "few_shot_50_seed1"},
    }


def test_json_holds_cells_and_summaries(tmp_path):
    write_table(Table([cell(seed=0), cell(seed=1, rank1=60.0)]), tmp_path)
    content = json.loads((tmp_path / "matrix.json").read_text())
    rank1 = next(s for s in content["summaries"] if s["metric"] == "Rank-1")
    assert (rank1["mean"], rank1["seeds"]) == (55.0, 2)
    assert len(content["cells"]) == 2
    assert (tmp_path / "matrix.md").read_text().count("AGW") == 1


def test_averaged_splits_of_a_protocol():
    metrics = {
        "VIPeR_split0": {"mAP": 10.0, "mINP": 5.0},
        "Mall": {"mAP": 50.0},
        "VIPeR_split1": {"mAP": 30.0},
    }
    assert averaged_splits(metrics) == {"VIPeR": {"mAP": 20.0}, "Mall": {"mAP": 50.0}}


def test_plots_of_models_shares_and_seeds(tmp_path):
    cells = [
        cell(model=model, setting=f"{kind}_{share}", seed=seed, rank1=share + 5 * seed)
        for model in ("AGW", "AGW_pretrained")
        for kind in ("few_shot", "small_scale")
        for share in (10, 50, 90)
        for seed in (0, 1)
    ]
    table = Table(cells)
    assert shares(table)["few_shot"] == {10: "few_shot_10", 50: "few_shot_50", 90: "few_shot_90"}
    for plot in (plot_heat_map, plot_shares):
        image = np.asarray(Image.open(plot(table, tmp_path / "picture.png")))
        assert image.shape[1] > 400
        assert image.std() > 10


def test_plots_without_results_are_refused(tmp_path):
    with pytest.raises(ValueError, match="expected at least one finished run"):
        plot_heat_map(Table([]), tmp_path / "x.png")
    with pytest.raises(ValueError, match="expected settings such as few_shot_10"):
        plot_shares(Table([cell()]), tmp_path / "x.png")


def test_the_trials_of_regdb_are_averaged_and_an_unfinished_mean_says_so():
    cells = [
        Cell("AGW", f"RegDB_trial{n}", "all", "RegDB_visible_to_infrared", 0, {"mAP": float(n)})
        for n in range(1, 11)
    ]
    other = Cell("AGW", "Market1501", "all", "RegDB_visible_to_infrared", 0, {"mAP": 50.0})
    averaged = averaged_trials([*cells, other])
    assert [(cell.source, cell.metrics["mAP"]) for cell in averaged] == [
        ("RegDB", 5.5),
        ("Market1501", 50.0),
    ]
    (partial,) = averaged_trials(cells[:3])
    assert (partial.source, partial.metrics["mAP"]) == ("RegDB (3 of 10 trials)", 2.0)
