"""The filters on a planted set (conftest.py)."""

import dataclasses
import functools
import json
import shutil

import cv2
import numpy as np
import pytest

from fastreid_ext.generation.filters import run_filter as filter_and_plot
from fastreid_ext.generation.filters.run import FilterRun
from fastreid_ext.manifest import (
    read_identity,
    read_set,
    verify_set,
    write_identity,
)

from .conftest import COLOURS, Colours, Opened, WhichColour, picture, plant, row, save

run_filter = functools.partial(filter_and_plot, plot=False)  # a second each


def kinds(images, status="ok"):
    rows = read_set(images)[1]
    return sorted(row.image.conditions["kind"] for row in rows if row.image.status == status)


def texts(images):
    return {str(path): path.read_text() for path in sorted(images.rglob("*.jsonl"))}


@pytest.mark.parametrize("use", ["reid", "cctf"])
def test_planted_good_wrong_and_garbage_images(job, cfg, models, use):
    report = run_filter(cfg("USE", f"['{use}']"), models)
    assert kinds(job / "images") == ["good"] * 6
    assert report.counts == {"ok": 6, "rejected": 6}
    assert str(report) == "kept 6 (50.0%), rejected 6"
    assert verify_set(job / "images") == []
    scores = [row.image.scores for row in read_set(job / "images")[1]]
    keys = ["cctf", "duplicate_distance", "reid_margin", "reid_similarity"]
    assert all(list(own) == keys for own in scores)


def test_pictures_are_plotted(job, cfg, models):
    report = filter_and_plot(cfg(), models)
    assert [path.name for path in report.pictures] == ["histograms.png", "contact_sheet.png"]
    assert all(cv2.imread(str(path)) is not None for path in report.pictures)
    assert [path.parent for path in report.pictures] == [job / "filter"] * 2


def test_thresholds_are_written_with_what_they_mean(job, cfg, models):
    run_filter(cfg(), models)
    values = json.loads((job / "filter/thresholds.json").read_text())
    assert 0.9 < values["reid"]["PersonFolder"] < 1
    assert values["real_images"]["PersonFolder"]["compared"] == 12


def test_second_run_opens_no_model_and_changes_nothing(job, cfg, models):
    run_filter(cfg(), models)
    before = texts(job)
    run_filter(cfg(), models)
    assert [models[name][1].times for name in models] == [1, 1]
    assert texts(job) == before


def test_other_thresholds_need_no_model(job, cfg, models):
    """Deciding again equals a fresh run with those settings."""
    run_filter(cfg(), models)
    strict = cfg("REID.RULE", "fixed", "REID.THRESHOLD", "0.9999", "MAX_PER_IDENTITY", "1")
    run_filter(strict, {}, decide_only=True)
    again = texts(job / "images")
    assert "similarity" in "".join(again.values())
    for name in ("images", "filter"):
        shutil.rmtree(job / name)
    plant(job / "images")
    run_filter(strict, models)
    assert texts(job / "images") == again


def test_other_weights_are_scored_again_and_only_those(job, cfg, models):
    run_filter(cfg(), models)
    models["cctf"] = ("c2", Opened(WhichColour))
    run_filter(cfg(), models)
    assert (models["reid"][1].times, models["cctf"][1].times) == (1, 1)
    assert models["cctf"][1].model.seen == 12


def test_regenerated_identity_is_scored_again(job, cfg, models):
    run_filter(cfg(), models)
    folder = job / "images/PersonFolder_0002"
    save(folder / "0.png", picture(COLOURS[3], np.random.default_rng(5)))
    old = [entry.image for entry in read_identity(folder)]
    write_identity(folder, [row(folder / "0.png", 2, "wrong"), *old[1:]])
    models["reid"] = ("r1", Opened(Colours))
    run_filter(cfg(), models)
    assert models["reid"][1].model.seen == 4  # the real images are known already
    assert read_identity(folder)[0].image.status == "rejected"


def test_interruption_between_rows_and_record_is_repaired(job, cfg, models):
    run_filter(cfg(), models)
    before = texts(job)
    (job / "filter/scored/PersonFolder_0002.json").unlink()
    run = FilterRun(cfg(), models)
    assert [run.is_scored(name) for name in run.names()] == [True, False, True]
    run_filter(cfg(), models)
    assert texts(job) == before


def test_a_damaged_and_a_changed_file_are_rejected_with_the_reason(job, cfg, models):
    folder = job / "images/PersonFolder_0001"
    (folder / "0.png").write_bytes((folder / "0.png").read_bytes()[:100])
    shutil.copy(folder / "2.png", folder / "1.png")
    run_filter(cfg(), models)
    rows = read_identity(folder)
    first = rows[0].image
    second = rows[1].image
    assert first.reason.startswith("filter unreadable: cannot read image")
    assert second.reason == (
        "filter unreadable: 1.png has another sha256 than its row; was it changed?"
    )
    assert (first.scores["cctf"], first.scores["duplicate_distance"]) == (-1, -1)
    assert kinds(job / "images") == ["good"] * 4


def test_restored_file_is_scored_again(job, cfg, models):
    path = job / "images/PersonFolder_0001/0.png"
    data = path.read_bytes()
    path.unlink()
    run_filter(cfg(), models)
    path.write_bytes(data)
    run_filter(cfg(), models)
    assert kinds(job / "images") == ["good"] * 6


def test_identity_without_real_images_is_rejected(job, cfg, models):
    folder = job / "images/PersonFolder_0009"
    shutil.copytree(job / "images/PersonFolder_0003", folder)
    write_identity(folder, [row(folder / "0.png", 9, "good")])
    for number in (1, 2, 3):
        (folder / f"{number}.png").unlink()
    run_filter(cfg("USE", "['reid','cctf']"), models)
    assert read_identity(folder)[0].image.reason == (
        "filter reid: there is no real image of its identity to compare with; cctf: the classifier "
        "was not trained on its identity"
    )


def test_identities_of_another_data_set_are_rejected_with_the_reason(job, cfg, models):
    folder = job / "images/PersonFolder_0003"
    rows = [entry.image for entry in read_identity(folder)]
    write_identity(folder, [dataclasses.replace(r, source_dataset="Market1501") for r in rows])
    report = run_filter(cfg(), models)
    assert list(report.unscored) == ["PersonFolder_0003"]
    reason = read_identity(folder)[0].image.reason
    assert reason.startswith("filter failed: ValueError")
    assert "its identity is of 'Market1501', but DATASETS.NAMES is ['PersonFolder']" in reason
    assert str(report).endswith("1 identities could not be scored and are rejected")
    assert json.loads((job / "filter/thresholds.json").read_text())["use"] == ["reid"]


def test_rejected_before_and_failed_rows_stay(job, cfg, models):
    folder = job / "images/PersonFolder_0001"
    rows = [entry.image for entry in read_identity(folder)]
    rows[0] = dataclasses.replace(rows[0], status="rejected", reason="no face found")
    lost = dataclasses.replace(
        rows[1], file_name="9.png", status="failed", reason="NaN latents", sha256=""
    )
    write_identity(folder, [*rows, lost])
    report = run_filter(cfg(), models)
    after = [entry.image for entry in read_identity(folder)]
    assert (after[0].status, after[0].reason) == ("rejected", "no face found")
    assert after[-1] == lost
    assert report.counts == {"ok": 5, "rejected": 7, "failed": 1}


def test_near_duplicates_of_a_planted_set(job, cfg, models):
    folder = job / "images/PersonFolder_0001"
    shutil.copy(folder / "0.png", folder / "8.png")
    rows = [entry.image for entry in read_identity(folder)]
    write_identity(folder, [*rows, row(folder / "8.png", 1, "copy")])
    run_filter(cfg("USE", "['reid','duplicates']"), models)
    assert kinds(job / "images") == ["good"] * 6


def test_deciding_needs_scores_of_the_real_images(cfg):
    with pytest.raises(FileNotFoundError, match=r"source_features.npz.*without --decide-only"):
        run_filter(cfg(), {}, decide_only=True)


def test_deciding_needs_scores_of_the_generated_images(cfg):
    with pytest.raises(ValueError, match=r"metadata.jsonl:1: expected the score cctf"):
        run_filter(cfg("USE", "['cctf']"), {}, decide_only=True)


def test_damaged_source_features_are_named(job, cfg, models):
    run_filter(cfg(), models)
    (job / "filter/source_features.npz").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(ValueError, match=r"source_features.npz is damaged.*remove it"):
        run_filter(cfg(), {}, decide_only=True)


def test_missing_set_is_named(job, cfg, models):
    with pytest.raises(FileNotFoundError, match=r"no finished identity in .*nowhere; give"):
        run_filter(cfg(), models, images=job / "nowhere")


def test_set_in_another_folder_is_filtered(job, cfg, models, tmp_path):
    other = tmp_path / "elsewhere"
    shutil.move(job / "images", other)
    assert run_filter(cfg(), models, images=other).counts == {"ok": 6, "rejected": 6}


def test_rule_nearest_keeps_images_with_positive_margin(job, cfg, models):
    run_filter(cfg("REID.RULE", "nearest"), models)
    for entry in read_set(job / "images")[1]:
        is_nearest = entry.image.scores["reid_margin"] >= 0
        assert (entry.image.status == "ok") == is_nearest
    assert kinds(job / "images").count("good") == 6
    assert "wrong" not in kinds(job / "images")


@pytest.fixture
def test_images(real_images):
    """Real images of two test identities whose colours differ."""
    rng = np.random.default_rng(7)
    made = []
    for folder in ("query", "bounding_box_test"):
        for pid in (8, 9):
            for number in range(3):
                name = f"{pid:04d}_c{number % 2 + 1}s1_{number:06d}_{len(folder):02d}.png"
                made.append(real_images / folder / name)
                save(made[-1], picture(rng.integers(30, 220, 3), rng))
    yield made
    for folder in ("query", "bounding_box_test"):
        shutil.rmtree(real_images / folder)


def test_percentile_is_of_images_the_model_was_not_trained_on(job, cfg, models, test_images):
    models["reid"] = (*models["reid"], ("PersonFolder",))
    run_filter(cfg(), models)
    values = json.loads((job / "filter/thresholds.json").read_text())
    features = Colours()([cv2.imread(str(path))[:, :, ::-1] for path in test_images])
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    real = []
    for n, path in enumerate(test_images):
        others = [
            unit[m]
            for m, other in enumerate(test_images)
            if m != n and other.name[:4] == path.name[:4]
        ]
        mean = np.mean(others, axis=0)
        real.append(unit[n] @ mean / np.linalg.norm(mean))
    assert values["real_images"]["PersonFolder"]["unseen_compared"] == len(real) == 12
    expected = np.percentile(real, 10)
    assert values["reid"]["PersonFolder"] == pytest.approx(expected, abs=1e-4)
    assert expected < 0.8  # those it was trained on are all above 0.9


def test_percentile_without_test_images_is_refused(job, cfg, models):
    models["reid"] = (*models["reid"], ("PersonFolder",))
    with pytest.raises(ValueError, match=r"expected test images of PersonFolder.*RULE nearest or"):
        run_filter(cfg(), models)


def test_percentile_of_a_model_trained_on_test_images_is_refused(job, cfg, models, test_images):
    models["reid"] = (*models["reid"], ("PersonFolder",), True)
    with pytest.raises(ValueError, match=r"test images of PersonFolder too .*COMBINEALL"):
        run_filter(cfg(), models)


def test_rule_changed_to_percentile_computes_unseen_images(job, cfg, models, test_images):
    models["reid"] = (*models["reid"], ("PersonFolder",))
    run_filter(cfg("REID.RULE", "nearest"), models)
    with pytest.raises(ValueError, match=r"not trained on .*without --decide-only, with the model"):
        run_filter(cfg(), {}, decide_only=True)
    run_filter(cfg(), models)
    assert models["reid"][1].model.seen == 12 + 12 + 12  # real, generated and test images
    run_filter(cfg(), {}, decide_only=True)


def test_each_data_set_has_its_own_model(job, cfg, real_images, tmp_path):
    """Two sets: each is scored by its own model, and compared with its own identities alone."""
    table = tmp_path / "table.csv"
    real = sorted((real_images / "bounding_box_train").glob("*.png"))
    lines = [f"{path},{40 + int(path.name[:4])},1,train" for path in real]
    table.write_text("file_name,person_id,camera_id,split\n" + "\n".join(lines) + "\n")
    for person in COLOURS:
        folder = job / f"images/PersonTable_{40 + person:04d}"
        shutil.copytree(job / f"images/PersonFolder_{person:04d}", folder)
        rows = [entry.image for entry in read_identity(folder)]
        changes = {"source_dataset": "PersonTable", "person_id": 40 + person}
        write_identity(folder, [dataclasses.replace(r, **changes) for r in rows])
    both = cfg("REID.RULE", "nearest").clone()
    both.defrost()
    both.DATASETS.NAMES = ("PersonFolder", "PersonTable")
    both.DATASETS.TABLE = str(table)
    both.freeze()
    own = {"reid": ("r1", Opened(Colours)), "reid/PersonTable": ("r2", Opened(Colours))}
    assert not run_filter(both, own).unscored
    assert [own[name][1].model.seen for name in own] == [24, 24]
    scores = {
        entry.path.name + entry.image.source_dataset: entry.image.scores
        for entry in read_set(job / "images")[1]
        if entry.image.person_id in (2, 42)
    }
    for number in range(4):  # the same generated and real images, so the same scores
        folder_scores = scores[f"{number}.pngPersonFolder"]
        assert folder_scores == scores[f"{number}.pngPersonTable"]
    run_filter(both, own)
    assert [own[name][1].times for name in own] == [1, 1]
    own["reid/PersonTable"] = ("r3", Opened(Colours))
    run_filter(both, own)
    assert [own[name][1].model.seen for name in own] == [24, 24]
    assert own["reid"][1].times == 1
