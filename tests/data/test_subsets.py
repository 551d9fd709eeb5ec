import itertools
import json
import logging
import os
import shutil
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastreid_ext.data import subsets
from fastreid_ext.data.build import build_train_loader
from fastreid_ext.data.hash_shuffle import hash_shuffle
from fastreid_ext.data.item_arrays import ItemArrays, TextArray
from fastreid_ext.data.named_items import named_items
from fastreid_ext.data.own_sets import SubsetSetting, parse_subset
from fastreid_ext.data.preflight import preflight
from fastreid_ext.data.sources import training_items
from fastreid_ext.data.subsets import FORMAT, HEADER_KEYS, draw_subset, write_subset

from .conftest import write_market, write_split
from .test_generated_persons import write_generated

SET = "Market1501"


def items_of(counts):
    """``counts[i]`` images of person i, in no particular order."""
    items = [
        (f"/data/set/{person:04d}_{image}.jpg", f"set_{person}", "set_0")
        for person, count in enumerate(counts)
        for image in range(count)
    ]
    return [items[i] for i in np.random.default_rng(0).permutation(len(items))]


def names_of(setting, name, items, base="/data"):
    """Names of the items that a setting keeps, sorted."""
    named = named_items(items, Path(base))
    return [named.names[place] for place in draw_subset(setting, name, named)]


def drawn(text, counts, name="Set"):
    return names_of(parse_subset(text), name, items_of(counts))


def per_person(names):
    return Counter(int(os.path.basename(name)[:4]) for name in names)


@pytest.fixture
def market(tmp_path):
    """A Market-1501 tree that a test may spoil; the folder of its lists."""
    write_market(tmp_path / "Market-1501-v15.09.15")
    return tmp_path / "subsets" / SET


# Counts, from the rule in words: at least one image, nearest number, halves to the even one.
@pytest.mark.parametrize(
    ("percent", "images", "kept"),
    [(10, 1, 1), (10, 2, 1), (10, 14, 1), (10, 15, 2), (10, 16, 2), (10, 25, 2), (10, 26, 3),
     (30, 10, 3), (50, 1, 1), (50, 3, 2), (50, 5, 2), (70, 15, 10), (90, 72, 65), (100, 7, 7),
     (1, 72, 1)],
)  # fmt: skip
def test_few_shot_keeps_a_share_of_each_person(percent, images, kept):
    names = drawn(f"few_shot_{percent}", [images, 40])
    assert per_person(names)[0] == kept
    # LUPerson's formula, in floating point.
    assert kept == int(max(np.round(images * (percent / 100)), 1))


@pytest.mark.parametrize(
    ("percent", "persons", "kept"),
    [(10, 751, 75), (70, 700, 490), (1, 3, 1), (50, 5, 2), (100, 5, 5)],
)
def test_small_scale_keeps_whole_persons(percent, persons, kept):
    names = drawn(f"small_scale_{percent}", [3] * persons)
    assert len(per_person(names)) == kept
    assert set(per_person(names).values()) == {3}


@pytest.mark.parametrize("kind", ["few_shot", "small_scale"])
def test_smaller_subsets_are_part_of_larger_ones(kind):
    counts = [1, 2, 3, 9, 20, 31, 72] * 5
    subsets = [set(drawn(f"{kind}_{percent}", counts)) for percent in range(1, 101)]
    assert all(small <= large for small, large in itertools.pairwise(subsets))
    assert len(subsets[-1]) == sum(counts)


@settings(max_examples=30, deadline=None)
@given(
    counts=st.lists(st.integers(1, 8), min_size=2, max_size=8),
    percent=st.integers(1, 100),
    kind=st.sampled_from(["few_shot", "small_scale"]),
    order=st.randoms(use_true_random=False),
)
def test_choice_depends_on_nothing_but_names(counts, percent, kind, order):
    setting = SubsetSetting(kind, percent)
    items = items_of(counts)
    expected = names_of(setting, "Set", items)
    order.shuffle(items)
    elsewhere = [(path.replace("/data", "/mnt/x y"), pid, camid) for path, pid, camid in items]
    assert names_of(setting, "Set", elsewhere, "/mnt/x y") == expected
    # fastreid renumbers the persons of CUHK03.
    renumbered = [(path, f"set_{99 - int(pid[4:])}", camid) for path, pid, camid in items]
    assert names_of(setting, "Set", renumbered) == expected


def names_by_dicts(setting, name, items):
    """What a setting keeps, by the rules in words and a Python object for everything."""
    named = {path.removeprefix("/data/"): (path, pid, camid) for path, pid, camid in items}
    persons = {}
    for own in sorted(named):
        persons.setdefault(named[own][1], []).append(own)
    key = (setting.seed, setting.kind, name)
    if setting.kind == "few_shot":
        return sorted(
            chosen
            for own in persons.values()
            for chosen in hash_shuffle(own, *key)[
                : max(1, round(Fraction(len(own) * setting.percent, 100)))
            ]
        )
    first_images = {min(own): own for own in persons.values()}
    count = max(1, len(persons) * setting.percent // 100)
    order = hash_shuffle(first_images, *key)[:count]
    return sorted(chosen for first in order for chosen in first_images[first])


@pytest.mark.parametrize("kind", ["few_shot", "small_scale"])
@pytest.mark.parametrize("percent", [1, 10, 33, 50, 99, 100])
def test_choice_is_the_same_to_the_last_item_as_with_dicts(kind, percent):
    counts = np.random.default_rng(1).integers(1, 40, 60)
    items = items_of(counts)
    items += [("/elsewhere/b.jpg", "set_3", "set_0"), ("/data/set/../a.jpg", "set_4", "set_1")]
    plain = [(os.path.abspath(path), pid, camid) for path, pid, camid in items]
    plain.append(plain[7])  # comes twice
    setting = SubsetSetting(kind, percent, seed=2)
    assert names_of(setting, "Set", [*items, items[7]]) == names_by_dicts(setting, "Set", plain)


def test_named_items_are_a_mapping_that_keeps_the_last_of_equal_paths():
    items = [("/data/b.jpg", "s_2", "s_0"), ("/else/a.jpg", "s_1", "s_0")]
    items += [("/data/x/../b.jpg", "s_3", "s_1"), ("/data/a.jpg", "s_1", "s_1")]
    named = named_items(items, Path("/data"))
    assert dict(named.items()) == {
        "/else/a.jpg": items[1], "a.jpg": items[3], "b.jpg": items[2]
    }  # fmt: skip
    assert named["b.jpg"] == items[2]
    assert list(named.values()) == [items[1], items[3], items[2]]
    assert ("b.jpg" in named, "c.jpg" in named, len(named)) == (True, False, 3)
    for wanted in (["", "a.jpg", "b.jpg", "zz"], ["zz", "b.jpg", "", "a.jpg", "b.jpg"]):
        found = [list(named).index(name) if name in named else -1 for name in wanted]
        assert list(named.places(wanted)) == found


def test_names_of_sorted_paths_are_not_copied():
    items = ItemArrays.of([(f"/data/{n}.jpg", f"s_{n}", "s_0") for n in range(5)])
    named = named_items(items, Path("/data"))
    assert named.arrays is items
    assert list(named.names) == [f"{n}.jpg" for n in range(5)]
    assert isinstance(named.names[0], str)
    assert not isinstance(named.names, TextArray)


def test_seed_kind_and_set_choose_independently():
    counts = [10] * 30
    assert drawn("few_shot_30", counts) == drawn("few_shot_30_seed0", counts)
    assert drawn("few_shot_30", counts) != drawn("few_shot_30_seed1", counts)
    assert drawn("few_shot_30", counts) != drawn("few_shot_30", counts, name="Other")
    assert drawn("small_scale_30", counts) != drawn("small_scale_30_seed1", counts)


def test_every_image_is_equally_likely():
    chosen = Counter(name for seed in range(400) for name in drawn(f"few_shot_50_seed{seed}", [6]))
    # 400 draws of 3 of 6: 200 each, standard deviation 10.
    assert all(abs(count - 200) < 45 for count in chosen.values())
    assert len(chosen) == 6


def test_order_is_that_of_the_hash():
    """Fixed for good: a list drawn elsewhere, with another version of anything, is the same."""
    # for n in a b c d e; do echo "$(printf "0\nfew_shot\nSet\n$n" | sha256sum) $n"; done | sort
    assert "".join(hash_shuffle("abcde", 0, "few_shot", "Set")) == "edcba"


def test_first_use_writes_the_list_and_the_next_reads_it(make_cfg, market, tmp_path, caplog):
    caplog.set_level(logging.INFO, "fastreid_ext")
    cfg = make_cfg(tmp_path, DATASETS__SUBSET="few_shot_50")
    first = training_items(cfg)
    file = market / "few_shot_50_seed0.txt"
    assert f"Wrote {file}" in caplog.text
    assert first.subsets == [
        f"DATASETS.SUBSET few_shot_50: 16 of 32 images and 8 of 8 persons of {SET}, as {file} "
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


def test_log_of_a_run_says_once_what_a_subset_keeps(make_cfg, market, tmp_path, caplog):
    caplog.set_level(logging.INFO, "fastreid_ext")
    cfg = make_cfg(tmp_path, DATASETS__SUBSET="few_shot_50")
    assert preflight(cfg).ok
    build_train_loader(cfg)
    assert caplog.text.count("16 of 32 images and 8 of 8 persons") == 1


def test_list_is_the_same_in_a_copy_of_the_folder(make_cfg, market, tmp_path, monkeypatch):
    training_items(make_cfg(tmp_path, DATASETS__SUBSET="small_scale_50"))
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "Market-1501-v15.09.15", copy / "Market-1501-v15.09.15")
    monkeypatch.chdir(copy)
    kept = training_items(make_cfg("./", DATASETS__SUBSET="small_scale_50")).items
    name = "subsets/Market1501/small_scale_50_seed0.txt"
    assert (copy / name).read_bytes() == (tmp_path / name).read_bytes()
    assert len(kept) == 16
    assert all(os.path.exists(path) for path, _, _ in kept)


def test_each_real_set_is_cut_and_generated_ones_are_not(make_cfg, market, tmp_path):
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


def test_preflight_and_loader_see_the_subset(make_cfg, market, tmp_path):
    cfg = make_cfg(tmp_path, DATASETS__SUBSET="small_scale_50")
    report = preflight(cfg)
    assert report.ok
    assert report.rows[0] == (SET, "train", 16, 4, "4 / 4 / 4", 0, 2)
    assert report.rows[1][2] == 6  # queries stay whole
    assert len(build_train_loader(cfg).dataset) == 16
    report = preflight(make_cfg(tmp_path, DATASETS__SUBSET="small_scale_10"))
    assert any("needs 4 different persons" in text for text in report.problems)
    report = preflight(make_cfg(tmp_path, DATASETS__SUBSET="few_shot_10"))
    assert any("8 of 8 persons have one training image" in text for text in report.warnings)


@pytest.mark.parametrize("change", ["removed", "added", "renamed"])
def test_changed_data_set_is_refused(make_cfg, market, tmp_path, change):
    cfg = make_cfg(tmp_path, DATASETS__SUBSET="few_shot_50")
    kept = [Path(path) for path, _, _ in training_items(cfg).items]
    if change == "removed":
        kept[0].unlink()
        text = r"32 images of 8 persons then, 31 .* 1 listed images are gone \(e.g. Market-1501-v15"
    elif change == "added":
        write_split(kept[0].parent, [77], images=1)
        text = r"then, 34 images of 9 persons now, 0 listed images are gone; restore the data set"
    else:
        kept[0].rename(kept[0].with_name("0008_c2s9_000009_00.jpg"))
        text = r"Market1501 has changed since the list was drawn: .* 1 listed images are gone"
    with pytest.raises(ValueError, match=text):
        training_items(cfg)
    assert any("has changed since" in problem for problem in preflight(cfg).problems)


def test_damaged_list_is_refused(make_cfg, market, tmp_path):
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
def test_list_that_an_editor_saved_in_another_encoding_is_read(make_cfg, tmp_path, encoding):
    folder = tmp_path / "Ansichten_für_Köln"
    write_split(folder / "bounding_box_train", range(1, 5))
    keys = {"DATASETS__NAMES": ("PersonFolder",), "DATASETS__FOLDER": str(folder)}
    for file in (folder / "bounding_box_train").iterdir():
        file.rename(file.with_name(file.name.replace("_00.jpg", "_ö.jpg")))
    drawn = training_items(make_cfg(tmp_path, **keys, DATASETS__SUBSET="few_shot_50")).items
    (list_file,) = folder.glob("subsets/*/*.txt")
    saved = tmp_path / "saved.txt"
    saved.write_text(list_file.read_text(), encoding=encoding)
    chosen = training_items(make_cfg(tmp_path, **keys, DATASETS__SUBSET=str(saved))).items
    assert list(chosen) == list(drawn)
    assert len(chosen) == 8


def test_list_is_never_overwritten(market, tmp_path):
    named = named_items(items_of([4, 4]), Path("/data"))
    file = tmp_path / "list.txt"
    write_subset(file, SubsetSetting("few_shot", 50), "Set", named)
    with pytest.raises(FileExistsError, match=r"list.txt exists and lists are never overwritten"):
        write_subset(file, SubsetSetting("few_shot", 50, seed=1), "Set", named)


def test_two_processes_that_draw_at_once_use_one_list(make_cfg, market, tmp_path, monkeypatch):
    """The other one writes the list after this one has looked for it."""

    def late(*args):
        write_subset(*args)
        write_subset(*args)

    monkeypatch.setattr(subsets, "write_subset", late)
    first = training_items(make_cfg(tmp_path, DATASETS__SUBSET="few_shot_50")).items
    assert training_items(make_cfg(tmp_path, DATASETS__SUBSET="few_shot_50")).items == first
    assert [path.name for path in market.iterdir()] == ["few_shot_50_seed0.txt"]


def test_folder_that_cannot_be_written_to_says_what_to_do(make_cfg, market, tmp_path):
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
def test_wrong_setting_is_found_in_the_configuration(make_cfg, text, message):
    with pytest.raises(ValueError, match=message):
        make_cfg(DATASETS__SUBSET=text)


def test_subset_contradicts_combineall_and_a_list_two_sets(make_cfg, tmp_path):
    with pytest.raises(ValueError, match=r"takes a part of the training split, but .*COMBINEALL"):
        make_cfg(DATASETS__SUBSET="few_shot_10", DATASETS__COMBINEALL=True)
    (file := tmp_path / "list.txt").touch()
    with pytest.raises(
        ValueError, match=r"is for one data set, but DATASETS.NAMES has Market1501, "
    ):
        make_cfg(DATASETS__SUBSET=str(file), DATASETS__NAMES=("Market1501", "MSMT17"))


def test_own_list_can_be_named_by_path(make_cfg, market, tmp_path):
    expected = training_items(make_cfg(tmp_path, DATASETS__SUBSET="few_shot_50_seed4")).items
    file = (market / "few_shot_50_seed4.txt").rename(tmp_path / "mine.txt")
    assert training_items(make_cfg(tmp_path, DATASETS__SUBSET=str(file))).items == expected
    assert os.listdir(market) == []


def test_generated_images_of_persons_left_out_are_counted(make_cfg, market, tmp_path):
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
            "4 persons are trained on from generated images only: DATASETS.SUBSET small"
        )
        for text in report.warnings
    )
