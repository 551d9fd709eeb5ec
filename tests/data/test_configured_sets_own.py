"""Custom folders and tables, correct ones and ones with mistakes."""

import os

import pytest

from fastreid_ext.data.build import build_test_loader, build_train_loader
from fastreid_ext.data.configured_sets import query_and_gallery, training_items
from fastreid_ext.data.preflight import preflight

from .conftest import write_image, write_market, write_split

HEADER = "file_name,person_id,camera_id,split\n"


@pytest.fixture
def folder_cfg(make_cfg):
    def folder_cfg(folder, root="", **changes):
        keys = {"DATASETS__NAMES": ("PersonFolder",), "DATASETS__TESTS": ("PersonFolder",)}
        return make_cfg(root, DATASETS__FOLDER=str(folder), **(keys | changes))

    return folder_cfg


@pytest.fixture
def table_cfg(make_cfg, tmp_path):
    """Return a function that writes a table next to a.jpg to f.jpg, and its configuration."""

    def table_cfg(text, root="", **changes):
        for name in "abcdef":
            write_image(tmp_path / "own" / f"{name}.jpg", seed=ord(name))
        table = tmp_path / "own" / "persons.csv"
        table.write_bytes(text if isinstance(text, bytes) else text.encode())
        keys = {"DATASETS__NAMES": ("PersonTable",), "DATASETS__TESTS": ("PersonTable",)}
        return make_cfg(root, DATASETS__TABLE=str(table), **(keys | changes))

    return table_cfg


GOOD = HEADER + "a.jpg,900,0,train\nb.jpg,7,3,train\nc.jpg,3,0,query\nd.jpg,3,1,gallery\n"


def test_person_folder_is_trained_and_tested_on(folder_cfg, tmp_path):
    folder = write_market(tmp_path / "mine", train=(3, 77, 1000, 1502, 9001))  # not contiguous
    cfg = folder_cfg(folder, SOLVER__IMS_PER_BATCH=4)
    assert preflight(cfg).ok
    dataset = build_train_loader(cfg).dataset
    assert (len(dataset), dataset.num_classes) == (20, 5)
    assert training_items(cfg).items[0] == (
        f"{folder}/bounding_box_train/0003_c1s1_000000_00.jpg", "personfolder_3", "personfolder_0"
    )  # fmt: skip
    assert build_test_loader(cfg, "PersonFolder")[1] == 6


def test_person_folder_below_the_root(folder_cfg, tmp_path, monkeypatch):
    write_market(tmp_path / "data" / "mine")
    assert len(training_items(folder_cfg("mine/", root=tmp_path / "data")).items) == 32
    monkeypatch.chdir(tmp_path / "data" / "mine")
    assert len(training_items(folder_cfg(".")).items) == 32


def test_person_folder_with_missing_splits(folder_cfg, make_cfg, tmp_path):
    folder = tmp_path / "mine"
    write_split(folder / "query", [1], images=1)
    write_split(folder / "bounding_box_test", [1])
    cfg = folder_cfg(folder)
    assert query_and_gallery(cfg, "PersonFolder")[1] == 2
    with pytest.raises(
        ValueError, match=rf"has no training images; expected {folder} \(DATASETS.FOLD"
    ):
        training_items(cfg)
    write_split(tmp_path / "other" / "bounding_box_train", [1])
    with pytest.raises(
        ValueError, match=r"queries and a gallery in data set PersonFolder, got 0 and"
    ):
        query_and_gallery(folder_cfg(tmp_path / "other"), "PersonFolder")


def test_person_folder_wrong_folder(folder_cfg, tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"at least one of the folders bounding_box_train, qu"
    ):
        training_items(folder_cfg(tmp_path / "nowhere"))
    (tmp_path / "bounding_box_train").mkdir()
    with pytest.raises(FileNotFoundError, match=r"got none; put images named like 0001_c1s1_0000"):
        training_items(folder_cfg(tmp_path))
    write_image(tmp_path / "bounding_box_train" / "0001_c0s1_000001_00.jpg")
    with pytest.raises(ValueError, match=r"expected a name like .* \(identity 1, camera 1\), got"):
        training_items(folder_cfg(tmp_path))


def test_person_folder_identity_in_training_and_test(folder_cfg, tmp_path):
    folder = write_market(tmp_path / "mine", test=(8, 9))
    report = preflight(folder_cfg(folder))
    assert "1 identities and 0 images of the test of PersonFolder are also in training" in str(
        report
    )


@pytest.mark.parametrize("name", ["PersonFolder", "PersonTable"])
@pytest.mark.parametrize("key", ["DATASETS__NAMES", "DATASETS__TESTS"])
def test_own_data_without_its_key(make_cfg, name, key):
    option = "FOLDER" if name == "PersonFolder" else "TABLE"
    text = rf"the data set {name} is used but DATASETS.{option} is empty; give the "
    with pytest.raises(ValueError, match=text):
        make_cfg(**{key: (name,)})


def test_person_table_is_trained_and_tested_on(table_cfg, tmp_path):
    cfg = table_cfg(GOOD)
    folder = tmp_path / "own"
    assert training_items(cfg).items == [
        (f"{folder}/a.jpg", "persontable_900", "persontable_0"),
        (f"{folder}/b.jpg", "persontable_7", "persontable_3"),
    ]
    items, num_query = query_and_gallery(cfg, "PersonTable")
    assert (items, num_query) == ([(f"{folder}/c.jpg", 3, 0), (f"{folder}/d.jpg", 3, 1)], 1)
    report = preflight(table_cfg(GOOD, DATALOADER__SAMPLER_TRAIN="TrainingSampler",
                                 SOLVER__IMS_PER_BATCH=2))  # fmt: skip
    assert report.ok, report


def test_person_table_of_spreadsheets(table_cfg, tmp_path):
    """Read a byte order mark, CRLF, quotes, other columns, an absolute path, a blank line."""
    text = (
        '\ufeffsplit,"camera_id",person_id,note,file_name\r\n'
        f'train,1,5,"a, b",{tmp_path}/own/./a.jpg\r\n\r\n'
        "train, 2 ,5,,sub/../b.jpg\r\n"
    )
    items = training_items(table_cfg(text)).items
    assert [os.path.basename(path) for path, _, _ in items] == ["a.jpg", "b.jpg"]
    assert items[1][1:] == ("persontable_5", "persontable_2")
    assert "/../" not in items[1][0]


def test_person_table_image_as_query_and_in_gallery(table_cfg):
    text = HEADER + "a.jpg,1,0,query\na.jpg,1,0,gallery\nb.jpg,1,1,gallery\nc.jpg,2,0,train\n"
    items, num_query = query_and_gallery(table_cfg(text), "PersonTable")
    assert (len(items), num_query) == (3, 1)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a.jpg,1,0\n", r"persons.csv:2: expected as many cells as the header has, got more or fe"),
        ("a.jpg,1,0,train,x\n", r"persons.csv:2: expected as many cells as the header has"),
        (",1,0,train\n", r"persons.csv:2: file_name is empty; give the path of an image"),
        ("../a.jpg,1,0,train\n", r":2: file_name '../a.jpg' leads out of the table's folder; move"),
        ("x/../../a.jpg,1,0,train\n", r":2: file_name 'x/../../a.jpg' leads out of the table's"),
        ("a.jpg,-1,0,train\n", r":2: expected a whole number from 0 .* person_id, got '-1'"),
        ("a.jpg,one,0,train\n", r":2: expected a whole number .* got 'one'; number them"),
        ("a.jpg,1.0,0,train\n", r":2: expected a whole number .* as person_id, got '1.0'"),
        ("a.jpg,1e9,0,train\n", r":2: expected a whole number .* got '1e9'"),
        ("a.jpg,1,north gate,train\n", r":2: expected a whole .* camera_id, got 'north gate'"),
        ("a.jpg,1,,train\n", r":2: expected .* to 9223372036854775807 as camera_id, got ''"),
        ("a.jpg,1,0,test\n", r":2: expected train, query, gallery as split, got 'test'"),
        ("z.jpg,1,0,train\n", r":2: no file .*/own/z.jpg; restore it or remove the line"),
        ("no/a.jpg,1,0,train\n", r":2: no file .*/own/no/a.jpg"),
        ("a.jpg,1,0,train\n" * 2, r":3: .*a.jpg is already in line 2 \(train\); remove one line"),
        ("a.jpg,1,0,train\n./a.jpg,2,1,train\n", r":3: .*a.jpg is already in line 2 \(train\)"),
        ("a.jpg,1,0,query\n" * 2, r":3: .*a.jpg is already in line 2 \(query\)"),
        ("a.jpg,1,0,train\na.jpg,2,0,gallery\n", r":3: .*a.jpg is already in line 2 \(train\)"),
        ("a.jpg,1,0,query\na.jpg,2,0,gallery\n", r":3: .*a.jpg has another identity or camera"),
        ("", r"persons.csv: expected a row for each image below the header, got none"),
    ],
)  # fmt: skip
def test_person_table_wrong_row_is_named(table_cfg, rows, message):
    cfg = table_cfg(HEADER + rows)
    with pytest.raises(ValueError, match=message):
        training_items(cfg)
    assert not preflight(cfg).ok


def test_person_table_shared_numbers_stop_training_only(table_cfg):
    rows = "a.jpg,1,0,train\nb.jpg,1,1,gallery\nc.jpg,1,0,query\n"
    cfg = table_cfg(
        HEADER + rows, SOLVER__IMS_PER_BATCH=1, DATALOADER__SAMPLER_TRAIN="TrainingSampler"
    )
    assert len(query_and_gallery(cfg, "PersonTable")[0]) == 2
    (problem,) = preflight(cfg).problems
    assert problem.startswith(
        "1 identities and 0 images of the test of PersonTable are also in train"
    )
    assert problem.endswith(
        "or use different numbers in training and test if the identities differ"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file_name,person_id,camera,split\n", r":1: expected the columns .*; camera_id missing"),
        ("", r"persons.csv:1: expected the columns file_name, .* split missing"),
        ("file_name,person_id,camera_id,split,split\n", r":1: the column split appears twice"),
        (
            b"file_name,person_id,camera_id,split\n\xff.jpg,1,0,train\n",
            r"no file .*/own/ÿ.jpg; restore it",
        ),
        ((HEADER + "a.jpg,1,0,train\n").encode("utf-16"), r"expected a text file in UTF-8, got"),
        (HEADER + 'a.jpg,1,0,"train\n', r"persons.csv: expected CSV in UTF-8, got: unexpected end"),
    ],
)
def test_person_table_wrong_file_is_named(table_cfg, text, message):
    with pytest.raises(ValueError, match=message):
        training_items(table_cfg(text))


def test_person_table_reports_all_mistakes(table_cfg):
    rows = "".join(f"x{i}.jpg,1,0,train\n" for i in range(30)) + "a.jpg,one,two,three\n"
    with pytest.raises(ValueError, match=r"\d+:2: |:2: ") as error:
        training_items(table_cfg(HEADER + rows))
    lines = str(error.value).splitlines()
    assert len(lines) == 21
    assert lines[-1].startswith("and 13 more mistakes in ")
    with pytest.raises(ValueError, match=r"person_id, got 'one'") as error:
        training_items(table_cfg(HEADER + "a.jpg,one,two,three\n"))
    assert len(str(error.value).splitlines()) == 3


def test_person_table_missing(make_cfg, tmp_path):
    cfg = make_cfg(DATASETS__NAMES=("PersonTable",), DATASETS__TABLE=str(tmp_path / "no.csv"))
    with pytest.raises(
        FileNotFoundError, match=r"no table at .*no.csv \(DATASETS.TABLE\); give the"
    ):
        training_items(cfg)


def test_person_table_query_without_match_is_a_warning(table_cfg):
    """Expect a warning only, because the evaluation leaves such queries out, as in fastreid."""
    rows = (
        "a.jpg,1,0,query\nb.jpg,1,1,gallery\nc.jpg,2,0,query\nd.jpg,2,0,gallery\ne.jpg,3,0,query\n"
    )
    report = preflight(table_cfg(HEADER + rows + "f.jpg,9,0,train\n",
                                 DATALOADER__SAMPLER_TRAIN="TrainingSampler",
                                 SOLVER__IMS_PER_BATCH=1))  # fmt: skip
    assert report.ok, report
    assert report.warnings == [
        "2 of 3 queries of PersonTable have no image of their identity in the gallery from another "
        "camera; the evaluation leaves them out"
    ]


def test_own_data_subset_lists_move_with_it(folder_cfg, table_cfg, tmp_path):
    folder = write_market(tmp_path / "mine")
    assert len(training_items(folder_cfg(folder, DATASETS__SUBSET="few_shot_50")).items) == 16
    file = folder / "subsets" / "PersonFolder" / "few_shot_50_seed0.txt"
    assert file.read_text().splitlines()[1].startswith("bounding_box_train/0001_c")
    folder.rename(tmp_path / "moved")
    moved = folder_cfg(tmp_path / "moved", DATASETS__SUBSET="few_shot_50")
    assert len(training_items(moved).items) == 16
    training_items(table_cfg(GOOD, DATASETS__SUBSET="small_scale_50"))
    file = tmp_path / "own" / "subsets" / "persons" / "small_scale_50_seed0.txt"
    assert file.read_text().splitlines()[1] in ("a.jpg", "b.jpg")
    # The same images under other identities are another data set.
    with pytest.raises(ValueError, match=r"PersonTable has changed since the list was written"):
        training_items(table_cfg(GOOD.replace("900", "7"), DATASETS__SUBSET="small_scale_50"))
