import json
import logging
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

from fastreid_ext.data import subsets
from fastreid_ext.data.build import build_train_loader
from fastreid_ext.data.configured_sets import training_items
from fastreid_ext.data.named_items import named_items
from fastreid_ext.data.own_sets import SubsetSetting
from fastreid_ext.data.preflight import preflight
from fastreid_ext.data.subsets import FORMAT, HEADER_KEYS, write_subset

from .conftest import write_market, write_split
from .test_generated_persons import write_generated
from .test_subsets import items_of

SET = "Market1501"


@pytest.fixture
def market(tmp_path):
    """Write a Market-1501 tree that a test may change; return the folder of its lists."""
    write_market(tmp_path / "Market-1501-v15.09.15")
    return tmp_path / "subsets" / SET


def test_subset_list_is_written_once_and_read_again(make_cfg, market, tmp_path, caplog):
    caplog.set_level(logging.INFO, "fastreid_ext")
    cfg = make_cfg(tmp_path, DATASETS__SUBSET="few_shot_50")
    first = training_items(cfg)
    file = market / "few_shot_50_seed0.txt"
    assert f"Wrote {file}" in caplog.text
    assert first.subsets == [
        f"DATASETS.SUBSET few_shot_50: 16 of 32 images and 8 of 8 identities of {SET}, as {file} "
        "lists them"
    ]
    assert len(first.items) == len(first.source) == len(first.is_generated) == 16
    written = file.read_bytes()
    when = file.stat().st_mtime_ns
    caplog.clear()
    assert training_items(cfg) == first
    assert "Wrote" not in caplog.text
    assert (file.read_bytes(), file.stat().st_mtime_ns) == (written, when)
    header, *lines = written.decode().splitlines()
    assert list(json.loads(header)) == list(HEADER_KEYS)
    assert json.loads(header) | {"full_sha256": "", "list_sha256": ""} == {
        "format": FORMAT, "data_set": SET, "kind": "few_shot", "percent": 50, "seed": 0,
        "images": 16, "images_of": 32, "persons": 8, "persons_of": 8,
        "full_sha256": "", "list_sha256": "",
    }  # fmt: skip
    assert [str(tmp_path / line) for line in lines] == [path for path, _, _ in first.items]
    assert os.listdir(market) == ["few_shot_50_seed0.txt"]  # nothing partial


def test_subset_summary_is_logged_once(make_cfg, market, tmp_path, caplog):
    caplog.set_level(logging.INFO, "fastreid_ext")
    cfg = make_cfg(tmp_path, DATASETS__SUBSET="few_shot_50")
    assert preflight(cfg).ok
    build_train_loader(cfg)
    assert caplog.text.count("16 of 32 images and 8 of 8 identities") == 1


def test_subset_list_is_equal_in_a_copy_of_the_folder(make_cfg, market, tmp_path, monkeypatch):
    training_items(make_cfg(tmp_path, DATASETS__SUBSET="small_scale_50"))
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "Market-1501-v15.09.15", copy / "Market-1501-v15.09.15")
    monkeypatch.chdir(copy)
    kept = training_items(make_cfg("./", DATASETS__SUBSET="small_scale_50")).items
    name = "subsets/Market1501/small_scale_50_seed0.txt"
    assert (copy / name).read_bytes() == (tmp_path / name).read_bytes()
    assert len(kept) == 16
    assert all(os.path.exists(path) for path, _, _ in kept)


def test_subset_cuts_real_sets_only(make_cfg, market, tmp_path):
    write_market(tmp_path / "RenderedMall", train=range(1, 5))
    cfg = make_cfg(
        tmp_path,
        DATASETS__NAMES=("Market1501", "RenderedMall", "GeneratedPersons"),
        DATASETS__GENERATED__ROOTS=[str(write_generated(tmp_path / "made", range(1, 9)))],
        DATASETS__SUBSET="small_scale_50",
    )
    whole = Counter(training_items(make_cfg(tmp_path, DATASETS__NAMES=cfg.DATASETS.NAMES,
        DATASETS__GENERATED__ROOTS=list(cfg.DATASETS.GENERATED.ROOTS))).source)  # fmt: skip
    training = training_items(cfg)
    counts = Counter(training.source)
    assert counts["Market1501"] == 16
    assert counts["RenderedMall"] == 8
    assert counts["GeneratedPersons"] == whole["GeneratedPersons"]
    assert training.is_generated.sum() == whole["GeneratedPersons"]
    assert (tmp_path / "subsets" / "RenderedMall" / "small_scale_50_seed0.txt").exists()


def test_subset_is_seen_by_preflight_and_loader(make_cfg, market, tmp_path):
    cfg = make_cfg(tmp_path, DATASETS__SUBSET="small_scale_50")
    report = preflight(cfg)
    assert report.ok
    assert report.rows[0] == (SET, "train", 16, 4, "4 / 4 / 4", 0, 2)
    assert report.rows[1][2] == 6  # queries stay complete
    assert len(build_train_loader(cfg).dataset) == 16
    report = preflight(make_cfg(tmp_path, DATASETS__SUBSET="small_scale_10"))
    assert any("needs 4 different identities" in text for text in report.problems)
    report = preflight(make_cfg(tmp_path, DATASETS__SUBSET="few_shot_10"))
    assert any("8 of 8 identities have one training image" in text for text in report.warnings)


@pytest.mark.parametrize("change", ["removed", "added", "renamed"])
def test_subset_list_of_changed_data_is_refused(make_cfg, market, tmp_path, change):
    cfg = make_cfg(tmp_path, DATASETS__SUBSET="few_shot_50")
    kept = [Path(path) for path, _, _ in training_items(cfg).items]
    if change == "removed":
        kept[0].unlink()
        text = (
            r"32 images of 8 identities then, 31 .* 1 listed images are gone \(e.g. Market-1501-v15"
        )
    elif change == "added":
        write_split(kept[0].parent, [77], images=1)
        text = (
            r"then, 34 images of 9 identities now, 0 listed images are gone; restore the data set"
        )
    else:
        kept[0].rename(kept[0].with_name("0008_c2s9_000009_00.jpg"))
        text = r"Market1501 has changed since the list was written: .* 1 listed images are gone"
    with pytest.raises(ValueError, match=text):
        training_items(cfg)
    assert any("has changed since" in problem for problem in preflight(cfg).problems)


def test_subset_list_damaged_is_refused(make_cfg, market, tmp_path):
    cfg = make_cfg(tmp_path, DATASETS__SUBSET="few_shot_50")
    training_items(cfg)
    file = market / "few_shot_50_seed0.txt"
    good = file.read_text()
    header, *lines = good.splitlines()
    for content, text in (
        ("\n".join([header, *lines[:-1]]), r"expected the 16 lines that were written, got 15"),
        (good.replace(lines[3], lines[4]), r"expected the 16 lines .* got 16 or changed ones"),
        (header[:30], r"few_shot_50_seed0.txt:1: expected a line of JSON, got"),
        ("", r":1: expected a line of JSON, got"),
        ("{}\n", r":1: expected the keys format, .* got a header without format, data_set"),
        (good.replace('"seed": 0', '"seed": 3'), r":1: expected a list with seed 0, got 3; was"),
        (
            good.replace('"Market1501"', '"MSMT17"'),
            r"a list with data_set 'Market1501', got 'MSMT1",
        ),
        (
            good.replace(FORMAT, "fastreid_ext subset 2"),
            r"a list with format 'fastreid_ext subset 1'",
        ),
    ):
        file.write_text(content)
        with pytest.raises(ValueError, match=text):
            training_items(cfg)
    file.write_bytes(b"{\xff\xfe")
    with pytest.raises(ValueError, match=r":1: expected a line of JSON, got"):
        training_items(cfg)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "latin-1"])
def test_subset_list_in_another_encoding_is_read(make_cfg, tmp_path, encoding):
    folder = tmp_path / "Ansichten_für_Köln"
    write_split(folder / "bounding_box_train", range(1, 5))
    keys = {"DATASETS__NAMES": ("PersonFolder",), "DATASETS__FOLDER": str(folder)}
    for file in (folder / "bounding_box_train").iterdir():
        file.rename(file.with_name(file.name.replace("_00.jpg", "_ö.jpg")))
    sampled = training_items(make_cfg(tmp_path, **keys, DATASETS__SUBSET="few_shot_50")).items
    (list_file,) = folder.glob("subsets/*/*.txt")
    saved = tmp_path / "saved.txt"
    saved.write_text(list_file.read_text(), encoding=encoding)
    chosen = training_items(make_cfg(tmp_path, **keys, DATASETS__SUBSET=str(saved))).items
    assert list(chosen) == list(sampled)
    assert len(chosen) == 8


def test_subset_list_is_never_overwritten(market, tmp_path):
    named = named_items(items_of([4, 4]), Path("/data"))
    file = tmp_path / "list.txt"
    write_subset(file, SubsetSetting("few_shot", 50), "Set", named)
    with pytest.raises(FileExistsError, match=r"list.txt exists and lists are never overwritten"):
        write_subset(file, SubsetSetting("few_shot", 50, seed=1), "Set", named)


def test_subset_list_of_two_processes_is_one(make_cfg, market, tmp_path, monkeypatch):
    """Let another process write the list after this one has looked for it."""

    def late(*args):
        write_subset(*args)
        write_subset(*args)

    monkeypatch.setattr(subsets, "write_subset", late)
    first = training_items(make_cfg(tmp_path, DATASETS__SUBSET="few_shot_50")).items
    assert training_items(make_cfg(tmp_path, DATASETS__SUBSET="few_shot_50")).items == first
    assert [path.name for path in market.iterdir()] == ["few_shot_50_seed0.txt"]


def test_subset_list_in_a_read_only_folder(make_cfg, market, tmp_path):
    (tmp_path / "subsets").write_text("a file where the folder should be")
    with pytest.raises(OSError, match=r"cannot write the list .*make_subset.py --output"):
        training_items(make_cfg(tmp_path, DATASETS__SUBSET="few_shot_50"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("few_shot_0", "expected a percentage from 1 to 100 in DATASETS.SUBSET, got 'few_shot_0'"),
        ("small_scale_101", "expected a percentage from 1 to 100"),
        ("fewshot_10", r"expected few_shot_<percent>, small_scale_<percent> .* got 'fewshot_10'"),
        ("few_shot_12.5", "expected few_shot_<percent>"),
        ("no/such.txt", r"no list file at no/such.txt \(DATASETS.SUBSET\); tools/make_subset.py"),
    ],
)
def test_subset_wrong_setting_is_refused(make_cfg, text, message):
    with pytest.raises(ValueError, match=message):
        make_cfg(DATASETS__SUBSET=text)


def test_subset_contradicts_combineall(make_cfg, tmp_path):
    with pytest.raises(ValueError, match=r"takes a part of the training split, but .*COMBINEALL"):
        make_cfg(DATASETS__SUBSET="few_shot_10", DATASETS__COMBINEALL=True)
    (file := tmp_path / "list.txt").touch()
    with pytest.raises(
        ValueError, match=r"is for one data set, but DATASETS.NAMES has Market1501, "
    ):
        make_cfg(DATASETS__SUBSET=str(file), DATASETS__NAMES=("Market1501", "MSMT17"))


def test_subset_list_by_path(make_cfg, market, tmp_path):
    expected = training_items(make_cfg(tmp_path, DATASETS__SUBSET="few_shot_50_seed4")).items
    file = (market / "few_shot_50_seed4.txt").rename(tmp_path / "mine.txt")
    assert training_items(make_cfg(tmp_path, DATASETS__SUBSET=str(file))).items == expected
    assert os.listdir(market) == []


def test_subset_warns_about_generated_images_of_identities_left_out(make_cfg, market, tmp_path):
    generated = str(write_generated(tmp_path / "made", range(1, 9)))
    report = preflight(make_cfg(
        tmp_path,
        DATASETS__NAMES=("Market1501", "GeneratedPersons"),
        DATASETS__GENERATED__ROOTS=[generated],
        DATASETS__GENERATED__PERSON_IDS="kept",
        DATASETS__SUBSET="small_scale_50",
    ))  # fmt: skip
    assert report.ok
    assert any(
        text.startswith(
            "4 identities are trained on from generated images only: DATASETS.SUBSET small"
        )
        for text in report.warnings
    )
