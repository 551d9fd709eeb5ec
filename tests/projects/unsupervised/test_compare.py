"""The comparison of starts of methods without labels: settings, table by hand, real runs."""

import pytest

from fastreid_ext.config import load_config
from projects.Unsupervised.miniature.compare import (
    GENERATED,
    RANDOM,
    RENDERED,
    Comparison,
    Outcome,
    main,
    parse,
    plot,
    table,
)
from projects.Unsupervised.miniature.methods import METHODS, TARGET, Method


def outcome(method, start, seed, score, ari=None):
    return Outcome(method, "target", start, seed, score + 9, score, ari, 0.2, "abc")


FOUND = [
    outcome("transfer", RANDOM, 0, 10.0),
    outcome("spcl", RANDOM, 0, 20.0, ari=0.25),
    outcome("spcl", RENDERED, 0, 30.0, ari=0.5),
    outcome("spcl", RENDERED, 1, 34.0, ari=0.7),
]


def test_table_is_hand_computed():
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table(FOUND).splitlines()]
    assert rows[0][2:] == ["mAP, random", "ARI, random", "mAP, rendered", "ARI, rendered", "seeds"]
    assert rows[2] == ["transfer", "target", "10.0", "-", "-", "-", "0"]
    assert rows[3] == ["spcl", "target", "20.0", "0.25", "32.0 (2.8)", "0.60", "0, 1"]


def test_picture_is_written(tmp_path):
    assert plot(FOUND, tmp_path / "a.png").stat().st_size > 1000


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_methods_have_equal_steps_and_sizes(method):
    sets = ["DATASETS.NAMES", f"('{method.trained_on}',)", "DATASETS.TESTS", f"('{TARGET}',)"]
    cfg = load_config(method.recipe, [*method.settings, *sets, "MODEL.BACKBONE.PRETRAIN", "False"])
    assert cfg.SOLVER.ITERS_PER_EPOCH * cfg.SOLVER.MAX_EPOCH == 400
    assert cfg.MODEL.BACKBONE.DEPTH == "18x"
    assert cfg.UNSUPERVISED.ENABLED == ("target" in method.uses)
    assert bool(cfg.DATASETS.SOURCES) == (method.uses.startswith("source + "))
    assert cfg.SOLVER.IMS_PER_BATCH == (64 if cfg.DATASETS.SOURCES else 32)
    assert ("Camera" in str(cfg.MODEL.LOSSES.NAME) or method.name == "cacl") == (
        "cameras" in method.uses
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--methods", "spcll"], "unknown name 'spcll' in --methods; did you mean 'spcl'"),
        (["--starts", GENERATED], "folders of generated sets for the start 'generated', got none"),
    ],
)
def test_unknown_methods_and_a_start_without_images_are_named(tmp_path, words, expected):
    with pytest.raises(ValueError, match=expected):
        main(parse([*words, "--output", str(tmp_path)]))


@pytest.mark.slow
def test_a_method_begins_with_its_start_and_nothing_is_trained_twice(market_root, tmp_path):
    common = (
        "DATASETS.ROOT",
        str(market_root),
        "SOLVER.MAX_EPOCH",
        "1",
        "TEST.IMS_PER_BATCH",
        "16",
    )
    small = ("SOLVER.IMS_PER_BATCH", "8", "SOLVER.ITERS_PER_EPOCH", "2", "SOLVER.STEPS", "[]")
    clusters = ("UNSUPERVISED.K1", "8", "UNSUPERVISED.K2", "3", "MODEL.BN_GROUP", "4")
    spcl = next(method for method in METHODS if method.name == "spcl")
    method = Method("spcl", spcl.recipe, spcl.settings, trained_on="Market1501")
    comparison = Comparison(
        tmp_path,
        overrides=(*common, *small, *clusters),
        pretraining=(*common, "SOLVER.IMS_PER_BATCH", "8", "SOLVER.WARMUP_ITERS", "0"),
        others=("Market1501",),
        target="Market1501",
    )
    found = comparison.outcome(method, RENDERED, 0)
    assert 0 <= found.ari <= 1
    assert 0 <= found.mean_ap <= 100
    (config,) = (tmp_path / "spcl").rglob("config.yaml")
    path = load_config(config, ["MODEL.WEIGHTS", ""]).MODEL.BACKBONE.PRETRAIN_PATH
    assert "pretrained/rendered" in path
    times = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.pth")}
    assert len(times) >= 2
    assert comparison.outcome(method, RENDERED, 0) == found
    assert times == {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.pth")}
