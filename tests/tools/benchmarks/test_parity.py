"""The parity table: both loops learn the same recipe, the host as it is learns nothing."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from fastreid_ext.config import load_config

REPOSITORY = Path(__file__).resolve().parents[3]
TOOL = REPOSITORY / "tools" / "benchmarks" / "parity.py"
TABLE = TOOL.parent / "measuring" / "parity_table.py"
TINY = "SOLVER.MAX_EPOCH 4 SOLVER.IMS_PER_BATCH 16 SOLVER.WARMUP_ITERS 2".split()


@pytest.fixture
def tool():
    return runpy.run_path(str(TOOL))


@pytest.fixture
def table():
    return runpy.run_path(str(TABLE))


@pytest.fixture
def document(tmp_path, table):
    path = tmp_path / "parity.md"
    path.write_text(f"Before.\n\n{table['TABLE_BEGIN']}\nold\n{table['TABLE_END']}\n\nAfter.\n")
    return path


def cell(side, seed, rank_1, changed):
    return {
        "recipe": "BoT",
        "side": side,
        "seed": seed,
        "percent": {"Rank-1": rank_1, "mAP": rank_1 / 2},
        "changed_tensors": changed,
        "parameter_tensors": 62,
        "commit": "abc",
        "versions": {"torch": "2.13.0"},
    }


def test_table_has_means_spreads_and_changed_tensors(table):
    cells = [cell("as it is", 0, 4.0, 0), cell("fastreid", 0, 60.0, 62), cell("ours", 0, 61.0, 62)]
    cells += [cell("fastreid", 1, 64.0, 62), cell("ours", 1, 61.0, 62)]
    baselines = {"chance": {"Rank-1": 1.25, "mAP": 2.0}}
    text = table["table_of"]({"cells": cells, "baselines": baselines})
    assert "| 4.0 / 2.0 [0 of 62] " in text
    assert "| 62.0 (2.8) / 31.0 (1.4) [62 of 62] " in text
    assert "| 61.0 (0.0) / 30.5 (0.0) [62 of 62] " in text
    assert "chance: 1.2 / 2.0" in text


def test_table_replaces_the_one_in_the_document(table, document):
    table["write_table"](document, "| new |")
    begin = table["TABLE_BEGIN"]
    end = table["TABLE_END"]
    assert document.read_text() == f"Before.\n\n{begin}\n\n| new |\n\n{end}\n\nAfter.\n"
    document.write_text("no marks")
    with pytest.raises(ValueError, match="expected the lines '<!-- table by"):
        table["write_table"](document, "| new |")


def test_finished_cell_of_other_settings_is_refused(tool, tmp_path):
    assert tool["finished_cell"](tmp_path, {"SEED": 0}) is None
    (tmp_path / "cell.json").write_text(json.dumps({"settings": {"SEED": 0}}))
    assert tool["finished_cell"](tmp_path, {"SEED": 0})
    with pytest.raises(ValueError, match=r"cell\.json to be of the present settings"):
        tool["finished_cell"](tmp_path, {"SEED": 1})


def test_document_has_the_place_of_the_table(table):
    text = (REPOSITORY / "docs" / "parity.md").read_text()
    assert text.index(table["TABLE_BEGIN"]) < text.index(table["TABLE_END"])


def test_cells_of_other_recipes_are_kept(tool, tmp_path):
    output = tmp_path / "parity.json"
    tasks = [("ours", "AGW", 0)]
    assert tool["_cells_of_others"](output, tasks) == []
    kept = cell("ours", 0, 61.0, 62)
    output.write_text(json.dumps({"cells": [kept, {**kept, "recipe": "AGW"}]}))
    assert tool["_cells_of_others"](output, tasks) == [kept]


@pytest.mark.parametrize("recipe", ["BoT", "AGW", "SBS", "MGN"])
def test_recipes_train_on_the_campus_from_random_weights(recipe):
    cfg = load_config(REPOSITORY / "configs" / "miniature" / f"{recipe}.yml")
    assert cfg.DATASETS.NAMES == cfg.DATASETS.TESTS == ("RenderedCampus",)
    assert not cfg.MODEL.BACKBONE.PRETRAIN
    assert cfg.SOLVER.IMS_PER_BATCH == 32


def run(*words):
    return subprocess.run(
        [sys.executable, *map(str, words)], cwd=REPOSITORY, capture_output=True, text=True
    )


@pytest.mark.slow
def test_both_loops_learn_and_the_host_as_it_is_does_not(tmp_path, document):
    """A few epochs on twelve persons; a second call trains nothing and says the same."""
    data = tmp_path / "data"
    output = tmp_path / "parity.json"
    sizes = "--train-identities 12 --test-identities 12 --images-per-identity 10"
    rendered = run(
        *("tools/render_persons.py", "--domain", "RenderedCampus", "--root", data),
        *sizes.split(),
        *("--difficulty", "easy"),
    )
    assert rendered.returncode == 0, rendered.stderr[-3000:]
    command = [TOOL, "--recipes", "BoT", "--seeds", 0, "--runs", tmp_path / "runs"]
    command += ["--output", output, "--document", document]
    command += ["--opts", "DATASETS.ROOT", data, *TINY]
    first = run(*command)
    assert first.returncode == 0, first.stderr[-3000:]
    cells = {entry["side"]: entry for entry in json.loads(output.read_text())["cells"]}
    assert set(cells) == {"as it is", "fastreid", "ours"}
    assert len({entry["initial_weights"] for entry in cells.values()}) == 1
    assert cells["as it is"]["changed_tensors"] == 0
    for side in ("fastreid", "ours"):
        assert cells[side]["changed_tensors"] == cells[side]["parameter_tensors"]
        assert cells[side]["percent"]["mAP"] > cells["as it is"]["percent"]["mAP"] + 3
    for entry in cells.values():  # fastreid's own evaluator agrees with ours
        assert entry["own_evaluation"]["mAP"] == pytest.approx(entry["percent"]["mAP"], abs=0.01)
    assert "| BoT " in document.read_text()
    weights = tmp_path / "runs" / "BoT_ours_seed0" / "model_final.pth"
    written = weights.stat().st_mtime_ns
    second = run(*command)
    assert second.stdout == first.stdout
    assert weights.stat().st_mtime_ns == written
