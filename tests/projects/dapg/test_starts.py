"""The comparison of starts: its recipes, its table by hand, and a tiny chain of real runs."""

import argparse
import json

import pytest

from fastreid_ext.config import load_config
from projects.DAPG.miniature.starts import (
    AGW,
    COMPARISONS,
    NETWORKS,
    RANDOM,
    Comparison,
    Outcome,
    Start,
    main,
    plot,
    table,
)

REASONS = [start for start in COMPARISONS["reasons"] if start.stages]


def outcome(start, seed, score, frozen=None, network="AGW"):
    metrics = {"Rank-1": score + 1, "mAP": score, "mINP": score - 1}
    before = {} if frozen is None else {"Rank-1": 0.0, "mAP": frozen, "mINP": 0.0}
    corrupted = {} if frozen is None else {"Rank-1": 2.0, "mAP": frozen / 2, "mINP": 1.0}
    steps = 0 if frozen is None else 561
    return Outcome(start, network, seed, steps, before, metrics, corrupted, "abc")


def test_table_is_hand_computed():
    found = [
        outcome(RANDOM, 0, 10.0),
        outcome(RANDOM, 1, 12.0),
        outcome("colour", 0, 13.0, frozen=4.0),
        outcome("colour", 1, 17.0, frozen=6.0),
        outcome("queue", 0, 8.0, frozen=3.0),
        outcome("queue", 0, 9.0, frozen=3.0, network="CIL"),
    ]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table(found).splitlines()]
    scores = ["12.0 (1.4)", "11.0 (1.4)", "10.0 (1.4)"]
    assert rows[2] == ["random", "AGW", "0", "-", *scores, "-", "-", "0, 1"]
    assert rows[3][:4] == ["colour", "AGW", "561", "5.0 (1.4)"]
    assert rows[3][7:] == ["2.5 (0.7)", "+4.0", "0, 1"]  # of 3 and 5
    assert rows[4][5:] == ["8.0", "7.0", "1.5", "-2.0", "0"]
    assert rows[5][:2] == ["queue", "CIL"]
    assert rows[5][8:] == ["-", "0"]  # no random weights of this network


def test_picture_is_written(tmp_path):
    assert plot([outcome(RANDOM, 0, 10.0)], tmp_path / "a.png").stat().st_size > 1000


@pytest.mark.parametrize("start", REASONS, ids=lambda start: start.name)
def test_a_reason_changes_one_thing(start):
    (recipe,) = start.stages
    base = load_config(REASONS[0].stages[0]).dump().splitlines()
    own = load_config(recipe).dump().splitlines()
    changed = {line.split(":")[0].strip() for line in set(base) ^ set(own)}
    expected = {
        "contrast_only": set(),
        "temperature": {"TEMPERATURE"},
        "colour": {"ENABLED", "PROB", "BRIGHTNESS", "CONTRAST", "SATURATION", "HUE"},
        "mild": {"- 3", "- 4", "- 5"},
        "clean_anchor": {"ANCHOR"},
        "queue": {"QUEUE"},
        "no_momentum": {"MOMENTUM"},
    }
    if start.name in expected:
        assert changed <= expected[start.name]
        assert bool(changed) == bool(expected[start.name])
    assert load_config(recipe).SOLVER.MAX_EPOCH == 3


def test_unknown_starts_are_named(tmp_path):
    args = argparse.Namespace(
        comparison="reasons",
        only=["colours"],
        output=tmp_path,
        seeds=[0],
        opts=[],
        corrupted=False,
    )
    with pytest.raises(ValueError, match=r"unknown starts colours; choose --only from \['random"):
        main(args)


@pytest.mark.parametrize("comparison", COMPARISONS)
def test_every_recipe_of_a_comparison_loads(comparison):
    recipes = {stage for start in COMPARISONS[comparison] for stage in start.stages}
    steps = {load_config(recipe).SOLVER.MAX_EPOCH for recipe in recipes}
    assert steps == {3}
    assert all(load_config(network).DATASETS.TESTS for network in NETWORKS[comparison])


TINY = {
    "MODEL.DEVICE": "cpu",
    "DATALOADER.NUM_WORKERS": 0,
    "SOLVER.MAX_EPOCH": 1,
    "SOLVER.IMS_PER_BATCH": 8,
    "SOLVER.WARMUP_ITERS": 0,
    "TEST.IMS_PER_BATCH": 16,
}


@pytest.mark.slow
def test_a_stage_begins_with_the_one_before_and_nothing_is_trained_twice(market_root, tmp_path):
    pairs = {**TINY, "DATASETS.ROOT": str(market_root)}
    comparison = Comparison(
        tmp_path,
        unlabelled=("Market1501",),
        persons="Market1501",
        is_corrupted=True,
        overrides=tuple(str(part) for pair in pairs.items() for part in pair),
    )
    recipe = REASONS[0].stages[0]
    start = Start("two", (recipe, recipe))
    (found,) = comparison.outcomes(start, 0)
    assert found.steps == 2 * 6  # 48 images
    names = {"Rank-1", "mAP", "mINP"}
    assert set(found.frozen) == set(found.tuned) == set(found.corrupted) == names
    runs = {
        place: next((tmp_path / "two" / place).glob("runs/*/*/*/*/result.json"))
        for place in ("stage1", "stage2", "tuned")
    }
    paths = {
        place: json.loads(file.read_text())["config"]["MODEL"]["BACKBONE"]["PRETRAIN_PATH"]
        for place, file in runs.items()
    }
    assert "stage1" in paths["stage2"]
    assert "stage2" in paths["tuned"]
    assert AGW.stem in str(runs["tuned"])
    times = {file: file.stat().st_mtime_ns for file in runs.values()}
    assert comparison.outcomes(start, 0) == [found]
    assert times == {file: file.stat().st_mtime_ns for file in runs.values()}
