"""The leakage statement of a table about the generator: its record, and refused records."""

import json

import pytest

from projects.DiffID.gain_curve import statements_of
from projects.DiffID.leakage import generator_statement

from ...data.test_generated_persons import write_generated
from ...tiny_cfg import tiny_cfg


@pytest.fixture
def cfg(market_root):
    return tiny_cfg({"DATASETS.NAMES": ("Market1501",), "DATASETS.ROOT": str(market_root)})


def training_and_test_pids(market_root):
    folder = market_root / "Market-1501-v15.09.15"
    return [
        sorted({int(path.name[:4]) for path in (folder / name).glob("*.jpg")})
        for name in ("bounding_box_train", "query")
    ]


def test_statements_say_whether_the_generator_was_checked(cfg, market_root, tmp_path):
    train, _ = training_and_test_pids(market_root)
    sets = {"X": write_generated(tmp_path / "set", train[:1])}
    (statement,) = statements_of(cfg, sets, {})
    assert statement.endswith("What its generator was trained on has not been checked.")
    (tmp_path / "training.json").write_text(json.dumps({"identities": {"Market1501": train[:1]}}))
    (statement,) = statements_of(cfg, sets, {"X": tmp_path})
    assert statement.endswith("and on no test identity.")
    with pytest.raises(ValueError, match=r"--generators of the names in --sets, got \['Y'\]"):
        statements_of(cfg, sets, {"Y": tmp_path})


def test_generator_statement_reads_its_record(cfg, market_root, tmp_path):
    train, test = training_and_test_pids(market_root)
    record = tmp_path / "training.json"
    record.write_text(json.dumps({"identities": {"Market1501": train}}))
    assert generator_statement(cfg, tmp_path) == (
        f"The generator was trained on {len(train)} training identities of Market1501, and on no "
        "test identity."
    )
    record.write_text(json.dumps({"identities": {"Market1501": [*train, test[0]]}}))
    with pytest.raises(ValueError, match=rf"of Market1501, got \[{test[0]}\] \(1 in all\)"):
        generator_statement(cfg, tmp_path)


def test_generator_without_record_is_refused(cfg, tmp_path):
    with pytest.raises(FileNotFoundError, match="names the identities that the generator was"):
        generator_statement(cfg, tmp_path)
