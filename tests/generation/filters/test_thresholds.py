import dataclasses
import json

import numpy as np
import pytest

from fastreid_ext.config import load_config
from fastreid_ext.generation.filters.reid import SourceFeatures
from fastreid_ext.generation.filters.thresholds import thresholds_of, write_thresholds


def source(similarities, persons=(("S", 1),), owners=None):
    similarities = np.array(similarities, dtype=np.float32)
    owners = np.zeros(len(similarities), dtype=np.int64) if owners is None else np.array(owners)
    return SourceFeatures(tuple(persons), np.eye(len(persons), 2), owners, similarities)


def filters(*changes):
    prefix = "GENERATION.FILTER."
    use = dict(zip(changes[::2], changes[1::2], strict=True)).get("USE", "reid")
    changes = ("REID.RULE", "percentile", *changes) if "reid" in use else changes
    keys = [prefix + word if n % 2 == 0 else word for n, word in enumerate(changes)]
    return load_config("", ["MODEL.DEVICE", "cpu", *keys]).GENERATION.FILTER


def test_percentile_by_hand():
    """0, 0.1, ... 1: a tenth lies below 0.1."""
    found = thresholds_of(filters("REID.PERCENTILE", "10.0"), {"S": source(np.linspace(0, 1, 11))})
    assert found.reid == {"S": pytest.approx(0.1)}
    assert found.reid_of("S") == pytest.approx(0.1)


def test_so_many_percent_of_the_photographs_would_be_refused():
    real = np.random.default_rng(0).normal(0.7, 0.1, 1000)
    threshold = thresholds_of(filters("REID.PERCENTILE", "25.0"), {"S": source(real)}).reid_of("S")
    assert np.mean(real < threshold) == pytest.approx(0.25, abs=0.002)


def test_each_data_set_has_its_own():
    persons, owners = [("S", 1), ("T", 1)], [0, 0, 1, 1]
    both = source([0.2, 0.2, 0.8, 0.8], persons, owners)
    found = thresholds_of(filters(), {"S": both, "T": both})
    assert found.reid == pytest.approx({"S": 0.2, "T": 0.8})


def test_single_photographs_are_left_out():
    found = thresholds_of(
        filters(), {"S": source([np.nan, 0.5, 0.5], [("S", 1), ("S", 2)], [0, 1, 1])}
    )
    assert found.reid_of("S") == pytest.approx(0.5)


def test_a_fixed_threshold_needs_no_photographs():
    found = thresholds_of(filters("REID.RULE", "fixed", "REID.THRESHOLD", "0.45"), {})
    assert found.reid_of("anything") == 0.45


def test_no_person_with_two_photographs():
    with pytest.raises(ValueError, match=r"no person of S has two readable photographs.*fixed"):
        thresholds_of(filters(), {"S": source([np.nan])})


def test_few_photographs_are_warned_of(caplog):
    thresholds_of(filters(), {"S": source([0.5, 0.6])})
    assert "comes from 2 photographs only" in caplog.text


def test_the_file_says_how_many_photographs_would_be_kept(tmp_path):
    real = {"S": source(np.linspace(0, 1, 11))}
    write_thresholds(tmp_path / "t.json", thresholds_of(filters(), real), real)
    values = json.loads((tmp_path / "t.json").read_text())
    assert values["reid"] == {"S": 0.1}
    assert values["photographs"]["S"] == {
        "compared": 11,
        "mean_similarity": 0.5,
        "share_that_would_be_kept": pytest.approx(10 / 11, abs=1e-4),
    }


def test_by_default_no_similarity_is_asked_for():
    keys = load_config("", ["MODEL.DEVICE", "cpu"]).GENERATION.FILTER
    found = thresholds_of(keys, {})
    assert found.nearest
    assert found.reid_of("S") == -1


def test_training_photographs_make_no_percentile():
    known = dataclasses.replace(source([0.9, 0.95, 0.99]), trained_on=("S",))
    with pytest.raises(ValueError, match=r"photographs of S that the Re-ID model was not trained"):
        thresholds_of(filters(), {"S": known})
    unseen = dataclasses.replace(known, unseen={"S": np.linspace(0, 1, 11, dtype=np.float32)})
    assert thresholds_of(filters(), {"S": unseen}).reid_of("S") == pytest.approx(0.1)
