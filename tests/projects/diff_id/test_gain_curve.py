"""The gain curve over generated images, and the statement that no test identity was generated."""

import json
from pathlib import Path

import pytest
from PIL import Image

from fastreid_ext.evaluation.matrix import Cell
from fastreid_ext.manifest import GeneratedImage, GeneratedSet, sha256_of, write_identity, write_set
from fastreid_ext.rendered.plan import Settings
from fastreid_ext.rendered.writer import render_domain
from projects.DiffID.augmented_runs import AugmentedRuns
from projects.DiffID.gain_curve import (
    REAL,
    Point,
    as_json,
    as_markdown,
    gains,
    measure_curve,
    parse,
    plot_curve,
)
from projects.DiffID.leakage import leakage_statement
from tests.tiny_cfg import tiny_cfg


def cells(*scores):
    return [
        Cell("x", "A", "all", "A", seed, {"Rank-1": score, "mAP": score})
        for seed, score in enumerate(scores)
    ]


POINTS = [
    Point(REAL, 0, cells(10.0, 20.0)),
    Point("Diff-ID", 100, cells(12.0, 24.0)),
    Point("FD-GAN", 100, cells(9.0, 19.0)),
]


def test_gains_are_taken_seed_by_seed():
    assert str(gains(POINTS, POINTS[1], "mAP")) == "3.0 (1.4)"  # of 2 and 4
    table = as_markdown(POINTS, ["Nothing leaked."])
    assert "Nothing leaked." in table
    row = [cell.strip() for cell in table.splitlines()[-2].split("|")[1:-1]]
    assert row == ["Diff-ID", "100", "18.0 (8.5)", "18.0 (8.5)", "+3.0 (1.4)"]
    assert "-1.0 (0.0)" in table.splitlines()[-1]


def test_every_cell_is_written():
    content = json.loads(as_json(POINTS, {"commit": "abc"}))
    assert content["commit"] == "abc"
    assert [point["images"] for point in content["points"]] == [0, 100, 100]
    assert content["points"][1]["cells"][1]["metrics"]["mAP"] == 24.0


def test_the_curve_is_plotted(tmp_path):
    assert Image.open(plot_curve(POINTS, tmp_path / "curve.png")).size[0] > 500


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A root with a RenderedCampus of 3 training and 2 test identities."""
    root = tmp_path_factory.mktemp("real")
    settings = Settings(
        "RenderedCampus", train_identities=3, test_identities=2, images_per_identity=4, seed=1
    )
    render_domain(settings, root)
    return root


def generated(folder, pids, data_set="RenderedCampus"):
    """Write a generated set of an image for each identity."""
    for pid in pids:
        name = f"{data_set}_{pid:04d}"
        own = folder / name
        own.mkdir(parents=True)
        Image.new("RGB", (8, 16), (pid, 0, 0)).save(own / f"{name}_0000.png")
        row = GeneratedImage(
            file_name=f"{name}_0000.png",
            source_dataset=data_set,
            person_id=pid,
            seed=0,
            model_ids=("other/generator@1",),
            sha256=sha256_of(own / f"{name}_0000.png"),
        )
        write_identity(own, [row])
    write_set(folder, GeneratedSet(generator="another generator"))
    return folder


def cfg_of(root):
    return tiny_cfg(
        {
            "MODEL.DEVICE": "cpu",
            "DATASETS.NAMES": ("RenderedCampus",),
            "DATASETS.TESTS": ("RenderedCampus",),
            "DATASETS.ROOT": str(root),
        }
    )


def test_a_set_of_training_identities_is_stated(root, tmp_path):
    found = leakage_statement(cfg_of(root), generated(tmp_path / "set", [1, 3]))
    assert "2 of the 3 training identities of RenderedCampus, and no test identity" in found


def test_a_set_of_test_identities_is_refused(root, tmp_path):
    with pytest.raises(ValueError, match=r"got \[4\] \(1 in all\), which are test identities"):
        leakage_statement(cfg_of(root), generated(tmp_path / "set", [1, 4]))
    with pytest.raises(ValueError, match="a registered data set as source_dataset"):
        leakage_statement(cfg_of(root), generated(tmp_path / "other", [1], "Nowhere"))


def test_more_images_than_a_set_has_are_refused(tmp_path):
    runs = AugmentedRuns(recipe=tmp_path / "none.yml", output=tmp_path)
    sets = {"FD-GAN": generated(tmp_path / "set", [1, 2])}
    with pytest.raises(ValueError, match=r"expected 5 images in the set FD-GAN .* got 2 with"):
        measure_curve(runs, sets, [1, 5])


def test_runs_add_the_set_to_the_recipes_own(tmp_path):
    recipe = Path("projects/DiffID/configs/Market1501/DiffID_R50.yml")
    overrides = ("MODEL.DEVICE", "cpu", "MODEL.BACKBONE.PRETRAIN", "False")
    runs = AugmentedRuns(recipe=recipe, output=tmp_path, seeds=(0, 1), overrides=overrides)
    real = runs.runs(None, 0)
    assert [run.sources for run in real] == [("Market1501",)] * 2
    added = runs.runs(tmp_path / "set", 3500)
    assert added[0].sources == ("Market1501", "GeneratedPersons")
    assert added[0].overrides[-2:] == ("DATASETS.GENERATED.MAX_IMAGES", "3500")
    assert [run.seed for run in added] == [0, 1]


def test_wrong_words_are_refused(capsys):
    with pytest.raises(SystemExit):
        parse(["--config-file", "README.md", "--output", "x", "--sets", "a", "--images", "1"])
    assert "expected NAME=FOLDER, got 'a'" in capsys.readouterr().err
