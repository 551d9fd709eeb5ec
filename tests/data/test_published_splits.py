from pathlib import Path

import pytest

from fastreid_ext.data.configured_sets import training_items
from fastreid_ext.data.named_items import named_items

from .conftest import write_market, write_split


@pytest.fixture
def read(make_cfg, tmp_path):
    """List the base names that a list with some text keeps of 8 identities with 4 images."""
    write_market(tmp_path / "Market-1501-v15.09.15")

    def read(text, **changes):
        (tmp_path / "list.txt").write_text(text)
        cfg = make_cfg(tmp_path, DATASETS__SUBSET=str(tmp_path / "list.txt"), **changes)
        return [path.rpartition("/")[2] for path, _, _ in training_items(cfg).items]

    return read


def test_published_list_of_identities(read):
    """Read lines of LUPerson's few_ids/used_ids_0.10.txt: a number and a blank."""
    names = read("2 \n8 \n0005 \n")
    assert sorted({name[:4] for name in names}) == ["0002", "0005", "0008"]
    assert len(names) == 12


def test_published_list_of_images(read):
    """Read lines of LUPerson's few_ims/used_ims_0.10.txt: name; pid from 0; camid from 0."""
    text = "0008_c1s1_000001_00.jpg; 7; 0 \n0001_c2s1_000000_00.jpg; 0; 1 \n"
    assert read(text) == ["0001_c2s1_000000_00.jpg", "0008_c1s1_000001_00.jpg"]


def test_published_list_of_paths(read):
    folder = "Market-1501-v15.09.15/bounding_box_train"
    text = (
        f"{folder}/0001_c1s1_000000_00.jpg\n\n./bounding_box_train/0002_c1s1_000000_00.jpg\n"
        "0003_c1s1_000000_00.jpg"
    )
    assert [name[:4] for name in read(text)] == ["0001", "0002", "0003"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2\n9\n", r"list.txt:2: Market1501 has no training identity '9'; is it a list for this"),
        ("2\n5\n\n2\n", r"list.txt:4: identity '2' is already in line 1"),
        (
            "0001_c1s1_000000_00.jpg\nb.jpg\n",
            r"list.txt:2: Market1501 has no training image 'b.jpg'",
        ),
        ("0001_c1s1_000000_00.jpg\n" * 2, r"list.txt:2: image '0001.*' is already in line 1"),
        (" \n", r"list.txt: expected lines with paths or identity numbers, got an empty file"),
    ],
)
def test_published_list_wrong_line_is_named(read, text, message):
    with pytest.raises(ValueError, match=message):
        read(text)


def test_published_list_that_is_not_text(make_cfg, tmp_path):
    write_market(tmp_path / "Market-1501-v15.09.15")
    (tmp_path / "list.txt").write_bytes(b"\x89PNG\r\n\0\xff")
    with pytest.raises(ValueError, match=r"list.txt: expected a text file in UTF-8, got"):
        training_items(make_cfg(tmp_path, DATASETS__SUBSET=str(tmp_path / "list.txt")))


def test_published_list_name_of_two_images_is_refused(make_cfg, tmp_path):
    for scene in "456":
        write_split(tmp_path / "PersonX_v1" / scene / "bounding_box_train", [1])
    (tmp_path / "list.txt").write_text("0001_c1s1_000000_00.jpg\n")
    cfg = make_cfg(
        tmp_path, DATASETS__NAMES=("PersonX",), DATASETS__SUBSET=str(tmp_path / "list.txt")
    )
    with pytest.raises(
        ValueError, match=r"list.txt:1: .* is the name of 3 images of PersonX \(e.g"
    ):
        training_items(cfg)


def test_published_list_of_renumbered_identities_is_refused(tmp_path):
    from fastreid_ext.data.published_splits import published_choice

    (tmp_path / "ids.txt").write_text("3\n")
    named = named_items([("/x/cuhk03/a.png", "cuhk03_3", "cuhk03_0")], Path("/x"))
    with pytest.raises(
        ValueError, match=r"fastreid renumbers those of CUHK03Detected; use PersonF"
    ):
        published_choice(tmp_path / "ids.txt", "CUHK03Detected", named)
