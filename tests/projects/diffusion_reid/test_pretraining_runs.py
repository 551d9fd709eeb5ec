"""Pre-training with equal steps, then fine-tuning: small real runs."""

import json
from pathlib import Path

import pytest

from fastreid_ext.engine.checkpoint import read_checkpoint
from projects.DiffusionReID.miniature.pretraining_runs import PretrainingRuns, Start

from ...engine.test_classification_pretrain import RECIPE, TINY, generated_set

TUNED = Path(__file__).resolve().parents[3] / "configs" / "Base-bagtricks.yml"
COMMON = TINY | {"SOLVER.WARMUP_EPOCHS": 0, "SOLVER.WARMUP_ITERS": 2, "SOLVER.MAX_EPOCH": 2}


@pytest.fixture(scope="module")
def runs(market_root, tmp_path_factory):
    keys = COMMON | {"DATASETS.ROOT": str(market_root)}
    keys = {key: value for key, value in keys.items() if key not in ("SEED", "DATASETS.NAMES")}
    return PretrainingRuns(
        output=tmp_path_factory.mktemp("runs"),
        persons="Market1501",
        setting="few_shot_50",
        seed=3,
        overrides=tuple(str(part) for pair in keys.items() for part in pair),
    )


def start_of(folder, persons):
    root = generated_set(folder, persons=persons)
    roots = ("DATASETS.GENERATED.ROOTS", f"['{root}']")
    return Start(RECIPE, ("GeneratedPersons",), overrides=roots)


@pytest.mark.parametrize(("persons", "epochs"), [(range(1, 5), 6), (range(1, 9), 2)])
def test_sets_of_any_size_give_about_as_many_steps(runs, tmp_path, persons, epochs):
    """20 images are 2 steps of 8 an epoch, 40 are 5: 6 epochs or 2 for 11 steps."""
    key = f"of_{len(persons)}"
    found = runs.pretrain(key, start_of(tmp_path, persons), 11)
    assert (found.images, found.persons) == (5 * len(persons), len(persons))
    checkpoint = read_checkpoint(found.weights)
    assert checkpoint["epoch"] == epochs - 1
    assert checkpoint["run"]["seed"] == 3
    assert found.metrics["Rank-1"] > 0


def test_tuning_begins_with_the_backbone_that_was_pretrained(runs, tmp_path):
    weights = runs.pretrain("tuned", start_of(tmp_path, range(1, 5)), 4).weights
    tuned = runs.tune("tuned", TUNED, weights)
    assert set(tuned) >= {"Rank-1", "mAP"}
    assert runs.tune("tuned", TUNED, weights) == tuned  # read, not trained again
    random = runs.tune("random", TUNED, None)
    folder = "runs/Base-bagtricks/Market1501/few_shot_50/seed3/result.json"
    backbones = [
        json.loads((runs.output / key / folder).read_text())["config"]["MODEL"]["BACKBONE"]
        for key in ("tuned", "random")
    ]
    assert [backbone["PRETRAIN"] for backbone in backbones] == [True, False]
    assert backbones[0]["PRETRAIN_PATH"] == str(weights)
    assert set(random) == set(tuned)


def test_another_set_under_the_same_key_is_refused(runs, tmp_path):
    runs.pretrain("twice", start_of(tmp_path / "a", range(1, 5)), 4)
    with pytest.raises(ValueError, match=r"another configuration.*DATASETS.GENERATED.ROOTS"):
        runs.pretrain("twice", start_of(tmp_path / "b", range(1, 5)), 4)
