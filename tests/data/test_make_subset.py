import runpy
import sys
from pathlib import Path

import pytest

from fastreid_ext.data.configured_sets import training_items

from .conftest import write_market

TOOL = Path(__file__).resolve().parents[2] / "tools" / "make_subset.py"


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    write_market(tmp_path / "Market-1501-v15.09.15")

    def run(*arguments):
        arguments = [*arguments, "DATASETS.ROOT", str(tmp_path)]
        monkeypatch.setattr(sys, "argv", ["make_subset.py", *arguments])
        status = 0
        try:
            runpy.run_path(str(TOOL), run_name="__main__")
        except SystemExit as stopped:
            status = stopped.code
        return status, capsys.readouterr()

    return run


def test_make_subset_writes_the_lists_of_training(run, make_cfg, tmp_path):
    expected = training_items(make_cfg(tmp_path, DATASETS__SUBSET="few_shot_50")).items
    file = tmp_path / "subsets" / "Market1501" / "few_shot_50_seed0.txt"
    written_by_training = file.read_bytes()
    status, shown = run("few_shot_50", "small_scale_30_seed2", "--data-set", "Market1501")
    assert status == 0
    assert shown.out == f"1 lists written, 1 were there: {file.parent}\n"
    assert file.read_bytes() == written_by_training
    other = tmp_path / "lists"
    run("few_shot_50", "--data-set", "Market1501", "--output", str(other))
    assert (other / file.name).read_bytes() == written_by_training
    cfg = make_cfg(tmp_path, DATASETS__SUBSET=str(other / file.name))
    assert training_items(cfg).items == expected


def test_make_subset_mistakes_give_one_message(run, tmp_path):
    status, shown = run("few_shot_500", "--data-set", "Market1501")
    assert status == 1
    assert "expected a percentage from 1 to 100 in DATASETS.SUBSET, got 'few_shot_500'" in shown.err
    status, shown = run("lists/mine.txt", "--data-set", "Market1501")
    assert "expected a setting such as few_shot_10, got 'lists/mine.txt'" in shown.err
    status, shown = run("few_shot_50", "--data-set", "Market")
    assert status == 1
    assert "unknown name 'Market' in DATASETS.NAMES; did you mean 'Market1501'?" in shown.err
    status, shown = run("few_shot_50", "--data-set", "MSMT17")
    assert status == 1
    assert "data set MSMT17 is not complete" in shown.err
