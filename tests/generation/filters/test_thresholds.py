import dataclasses
import json

import numpy as np
import pytest

from fastreid_ext.config import load_config
from fastreid_ext.generation.filters.reid import SourceFeatures
from fastreid_ext.generation.filters.thresholds import thresholds_of, write_thresholds


def source(similarities, identities=(("S", 1),), identity_index=None):
    similarities = np.array(similarities, dtype=np.float32)
    identity_index = (
        np.zeros(len(similarities), dtype=np.int64)
        if identity_index is None
        else np.array(identity_index)
    )
    return SourceFeatures(
        tuple(identities), np.eye(len(identities), 2), identity_index, similarities
    )


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


def test_percentile_of_the_real_images_would_be_rejected():
    real = np.random.default_rng(0).normal(0.7, 0.1, 1000)
    threshold = thresholds_of(filters("REID.PERCENTILE", "25.0"), {"S": source(real)}).reid_of("S")
    assert np.mean(real < threshold) == pytest.approx(0.25, abs=0.002)


def test_each_data_set_has_its_own_threshold():
    identities = [("S", 1), ("T", 1)]
    identity_index = [0, 0, 1, 1]
    both = source([0.2, 0.2, 0.8, 0.8], identities, identity_index)
    found = thresholds_of(filters(), {"S": both, "T": both})
    assert found.reid == pytest.approx({"S": 0.2, "T": 0.8})


def test_only_images_are_left_out():
    found = thresholds_of(
        filters(), {"S": source([np.nan, 0.5, 0.5], [("S", 1), ("S", 2)], [0, 1, 1])}
    )
    assert found.reid_of("S") == pytest.approx(0.5)


def test_fixed_threshold_needs_no_real_images():
    found = thresholds_of(filters("REID.RULE", "fixed", "REID.THRESHOLD", "0.45"), {})
    assert found.reid_of("anything") == 0.45


def test_percentile_needs_an_identity_with_two_real_images():
    with pytest.raises(ValueError, match=r"no identity of S has two readable real images.*fixed"):
        thresholds_of(filters(), {"S": source([np.nan])})


def test_few_real_images_are_warned_of(caplog):
    thresholds_of(filters(), {"S": source([0.5, 0.6])})
    assert "comes from 2 real images only" in caplog.text


def test_file_has_the_share_of_real_images_kept(tmp_path):
    real = {"S": source(np.linspace(0, 1, 11))}
    write_thresholds(tmp_path / "t.json", thresholds_of(filters(), real), real)
    values = json.loads((tmp_path / "t.json").read_text())
    assert values["reid"] == {"S": 0.1}
    assert values["real_images"]["S"] == {
        "compared": 11,
        "mean_similarity": 0.5,
        "share_that_would_be_kept": pytest.approx(10 / 11, abs=1e-4),
    }


def test_default_has_no_similarity_threshold():
    keys = load_config("", ["MODEL.DEVICE", "cpu"]).GENERATION.FILTER
    found = thresholds_of(keys, {})
    assert found.require_nearest
    assert found.reid_of("S") == -1


def test_percentile_refuses_training_images():
    known = dataclasses.replace(source([0.9, 0.95, 0.99]), trained_on=("S",))
    with pytest.raises(ValueError, match=r"real images of S that the Re-ID model was not trained"):
        thresholds_of(filters(), {"S": known})
    unseen = dataclasses.replace(known, unseen={"S": np.linspace(0, 1, 11, dtype=np.float32)})
    assert thresholds_of(filters(), {"S": unseen}).reid_of("S") == pytest.approx(0.1)
