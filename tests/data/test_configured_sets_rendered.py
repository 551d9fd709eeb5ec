"""PersonX, RandPerson, ClonedPerson and CUHK02, read from trees with their file names."""

import re

import pytest

from fastreid_ext.data.configured_sets import open_dataset, query_and_gallery, training_items
from fastreid_ext.data.datasets import CUHK02, CUHK03Labeled, PersonX
from fastreid_ext.data.preflight import preflight

from .conftest import write_image


def touch(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


def labels(items):
    """List path below the last folder of the root, pid and camid."""
    return [(path.rpartition("/")[2], pid, camid) for path, pid, camid in items]


@pytest.fixture
def cfg_of(make_cfg, tmp_path):
    return lambda name: make_cfg(tmp_path, DATASETS__NAMES=(name,), DATASETS__TESTS=(name,))


def test_person_x_published_layout(cfg_of, tmp_path):
    """Read identities 1 to 1266 and cameras 3, 4, 8, 10, 11 and 12."""
    touch(tmp_path / "PersonX/bounding_box_train", "0001_c10s1_01.jpg", "0412_c3s1_30.jpg")
    touch(tmp_path / "PersonX/query", "0002_c12s1_10.jpg")
    touch(tmp_path / "PersonX/bounding_box_test", "0002_c4s1_10.jpg", "1266_c8s1_36.jpg")
    training = training_items(cfg_of("PersonX"))
    assert labels(training.items) == [
        ("0001_c10s1_01.jpg", "personx_1", "personx_9"),
        ("0412_c3s1_30.jpg", "personx_412", "personx_2"),
    ]
    items, num_query = query_and_gallery(cfg_of("PersonX"), "PersonX")
    assert num_query == 1
    assert [(pid, camid) for _, pid, camid in items] == [(2, 11), (2, 3), (1266, 7)]


def test_person_x_by_background(tmp_path):
    for scene in "123456":
        for split in ("bounding_box_train", "query", "bounding_box_test"):
            touch(tmp_path / "PersonX_v1" / scene / split, "0001_c1s1_01.jpg", "0001_c2s1_02.jpg")
    dataset = PersonX(root=str(tmp_path))
    assert [camid for _, _, camid in dataset.query] == [400, 401, 500, 501, 600, 601]
    assert {pid for _, pid, _ in dataset.train} == {"personx_1"}
    assert "/PersonX_v1/4/bounding_box_train/" in dataset.train[0][0]
    assert not any("/PersonX_v1/1/" in path for path, _, _ in dataset.gallery)


@pytest.mark.parametrize("folder", ["randperson_subset", "randperson_subset/randperson_subset"])
def test_rand_person(cfg_of, tmp_path, folder):
    names = (
        "000000_s00_c00_f000264.jpg",
        "000000_c01_s00_f001632.jpg",
        "007999_s10_c03_f000001.jpg",
    )
    touch(tmp_path / folder, *names, "readme.txt")
    assert sorted(labels(training_items(cfg_of("RandPerson")).items)) == [
        (names[1], "randperson_0", "randperson_1"),
        (names[0], "randperson_0", "randperson_0"),
        (names[2], "randperson_7999", "randperson_1003"),
    ]
    with pytest.raises(ValueError, match=r"expected queries and a gallery in data set RandPerson"):
        query_and_gallery(cfg_of("RandPerson"), "RandPerson")


def test_cloned_person(cfg_of, tmp_path):
    top = tmp_path / "clonedperson"
    touch(top / "train", "700000_s02_c00_f023389.jpg", "700000_s06_c00_f023413.jpg")
    touch(top / "test/query", "705624_s12_c00_f003229.jpg")
    touch(top / "test/gallery", "705624_s12_c02_f002965.jpg", "705228_s06_c02_f005521.jpg")
    cfg = cfg_of("ClonedPerson")
    assert labels(training_items(cfg).items) == [
        ("700000_s02_c00_f023389.jpg", "clonedperson_700000", "clonedperson_200"),
        ("700000_s06_c00_f023413.jpg", "clonedperson_700000", "clonedperson_600"),
    ]
    items, _ = query_and_gallery(cfg, "ClonedPerson")
    assert labels(items) == [
        ("705624_s12_c00_f003229.jpg", 705624, 1200),
        ("705228_s06_c02_f005521.jpg", 705228, 602),
        ("705624_s12_c02_f002965.jpg", 705624, 1202),
    ]


def test_cuhk02_with_and_without_all_images(tmp_path):
    for pair in ("P1", "P2", "P3", "P4", "P5"):
        for cam in ("cam1", "cam2"):
            touch(
                tmp_path / "cuhk02/Dataset" / pair / cam,
                "001_0115.png",
                "001_0123.png",
                "002_1.png",
            )
    dataset = CUHK02(root=str(tmp_path))
    assert len(dataset.train) == 24
    assert len({pid for _, pid, _ in dataset.train}) == 8  # numbers restart in each pair
    assert len({camid for _, _, camid in dataset.train}) == 8
    assert dataset.train[0][1:] == ("cuhk02_P1_1", "cuhk02_P1_1")
    assert [item[1:] for item in dataset.query] == [(1, 1), (1, 1), (2, 1)]
    assert [item[1:] for item in dataset.gallery] == [(1, 2), (1, 2), (2, 2)]
    assert all("/P5/cam2/" in path for path, _, _ in dataset.gallery)
    combined = CUHK02(root=str(tmp_path), combineall=True)
    assert len(combined.train) == 30
    assert len({pid for _, pid, _ in combined.train}) == 10
    (tmp_path / "cuhk02/Dataset").rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").rename(tmp_path / "cuhk02x")
    (tmp_path / "cuhk02").rmdir()
    (tmp_path / "cuhk02x").rename(tmp_path / "cuhk02")  # without the folder Dataset
    assert len(CUHK02(root=str(tmp_path)).train) == 24


def test_cuhk02_incomplete_or_wrong_names(tmp_path):
    touch(tmp_path / "cuhk02/Dataset/P1/cam1", "001_0115.png")
    with pytest.raises(FileNotFoundError, match=r"\{cam1,cam2\}/\*.png, got no P1/cam2, P2/cam1, "):
        CUHK02(root=str(tmp_path))
    for pair in ("P1", "P2", "P3", "P4", "P5"):
        for cam in ("cam1", "cam2"):
            touch(tmp_path / "cuhk02/Dataset" / pair / cam)
    with pytest.raises(FileNotFoundError, match=r"expected .png images in .*P1/cam2, got none"):
        CUHK02(root=str(tmp_path))
    touch(tmp_path / "cuhk02/Dataset/P1/cam2", "holiday.png")
    with pytest.raises(ValueError, match=r"expected a name like 001_0115.png .* got .*holiday.png"):
        CUHK02(root=str(tmp_path))


def test_cuhk03_labeled_reads_its_split(tmp_path):
    import json

    folder = tmp_path / "cuhk03"
    (folder / "cuhk03_release").mkdir(parents=True)
    (folder / "cuhk03_release" / "cuhk-03.mat").touch()
    for kind in ("detected", "labeled"):
        (folder / f"images_{kind}").mkdir()
        (folder / f"cuhk03_new_protocol_config_{kind}.mat").touch()
    splits = {"classic_detected": 10, "classic_labeled": 11, "new_detected": 12, "new_labeled": 13}
    for name, pid in splits.items():
        items = {part: [["a.png", pid, 0]] for part in ("train", "query", "gallery")}
        (folder / f"splits_{name}.json").write_text(json.dumps([items]))
    assert CUHK03Labeled(root=str(tmp_path)).train == [("a.png", "cuhk03_13", "cuhk03_0")]


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        (
            "PersonX",
            "PersonX/bounding_box_train; put PersonX there, or PersonX_v1 with the folders",
        ),
        ("RandPerson", "randperson_subset; unpack RandPerson there"),
        ("ClonedPerson", "clonedperson/train; unpack ClonedPerson there"),
        ("CUHK02", "cuhk02/Dataset/{P1,...,P5}/{cam1,cam2}/*.png, got no P1/cam1"),
        ("cuhkSYSU", "cuhk_sysu/cropped_images/*.jpg"),
        ("VIPeR_split0", "VIPeR/cam_a; unpack the data set there"),
        ("PRID_split0", "prid_2011/single_shot/cam_a"),
        ("GRID_split0", "underground_reid/probe"),
        ("iLIDS_split0", "QMUL-iLIDS/images"),
    ],
)
def test_rendered_set_missing_names_the_folder(cfg_of, tmp_path, name, folder):
    with pytest.raises(FileNotFoundError, match=re.escape(f"{tmp_path}/{folder}")):
        training_items(cfg_of(name))
    assert any(folder in problem for problem in preflight(cfg_of(name)).problems)


@pytest.mark.parametrize(
    ("name", "file", "expected"),
    [
        ("PersonX", "PersonX/bounding_box_train/person_1.jpg", "0001_c1s1_000001_00.jpg"),
        ("RandPerson", "randperson_subset/0001_c1s1_1.jpg", "000000_s00_c01_f001632.jpg"),
        ("RandPerson", "randperson_subset/000001_s00_c100_f000001.jpg", "000000_s00_c01_f001632"),
        ("ClonedPerson", "clonedperson/train/1_s1_f2.jpg", "000000_s00_c01_f001632.jpg"),
    ],
)
def test_rendered_set_wrong_file_name(cfg_of, tmp_path, name, file, expected):
    write_image(tmp_path / file)
    with pytest.raises(ValueError, match=rf"expected a name like {expected}.* got .*/{file}"):
        open_dataset(cfg_of(name), name)


@pytest.mark.parametrize("name", ["RandPerson", "ClonedPerson"])
def test_rendered_set_empty_folder(cfg_of, tmp_path, name):
    touch(
        tmp_path / {"RandPerson": "randperson_subset", "ClonedPerson": "clonedperson/train"}[name]
    )
    with pytest.raises(FileNotFoundError, match=r"expected images .* in .*, got none; unp"):
        training_items(cfg_of(name))
