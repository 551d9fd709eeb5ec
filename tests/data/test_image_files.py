"""Image files: names that are recognised, and counts of files that are left out."""

from pathlib import Path

import pytest

from fastreid_ext.data.configured_sets import training_items
from fastreid_ext.data.image_files import images_below
from fastreid_ext.data.left_out import left_out
from fastreid_ext.data.preflight import preflight

from .conftest import write_image, write_market


def write_as(path, seed=0):
    """Write an image under a name from which Pillow cannot tell the format."""
    write_image(path.with_suffix(".bmp"), seed=seed)
    path.with_suffix(".bmp").rename(path)
    return path


@pytest.fixture
def mixed(tmp_path):
    """Write images of every suffix, in a sub-folder and a linked one, and other files."""
    folder = write_market(tmp_path / "mine", train=range(1, 5))
    train = folder / "bounding_box_train"
    for index, suffix in enumerate(("JPG", "PNG", "bmp", "WebP", "TIFF")):
        write_as(train / f"0005_c{index + 1}_1.{suffix}", seed=index)
    (train / "Thumbs.db").write_bytes(b"none")
    (train / "README").write_bytes(b"none")
    (train / ".hidden.jpg").write_bytes(b"none")
    write_image(train / "-1_c1_1.jpg")
    write_image(train / "nested" / "deeper" / "0006_c1_1.jpg")
    write_image(tmp_path / "elsewhere" / "0007_c1_1.jpg")
    (train / "linked").symlink_to(tmp_path / "elsewhere")
    return folder


def of_folder(make_cfg, folder, **changes):
    names = {"DATASETS__NAMES": ("PersonFolder",), "DATASETS__TESTS": ("PersonFolder",)}
    return make_cfg(folder.parent, DATASETS__FOLDER=str(folder), **names, **changes)


def test_image_files_suffixes_of_any_case(make_cfg, mixed):
    items = training_items(of_folder(make_cfg, mixed)).items
    assert sum("personfolder_5" == pid for _, pid, _ in items) == 5


def test_left_out_counts_files_by_reason(make_cfg, mixed):
    report = preflight(of_folder(make_cfg, mixed))
    assert report.ok
    (line,) = report.left_out
    assert line.startswith("PersonFolder: 2 images in sub-folders, ")
    for part in ("1 images of identity -1 (junk)", "1 .db files", "1 files without a", "1 hidden"):
        assert part in line
    assert "2 images in the folders of PersonFolder are not used, 39 are; move" in str(report)
    assert f"left out: {line}" in str(report)


def test_left_out_png_files_of_fastreid_are_reported(make_cfg, tmp_path):
    train = write_market(tmp_path / "Market-1501-v15.09.15") / "bounding_box_train"
    for path in list(train.iterdir())[:3]:
        path.rename(path.with_suffix(".png"))
    write_image(train / "-1_c1s1_000001_00.jpg")
    report = preflight(make_cfg(tmp_path))
    assert report.left_out == ["Market1501: 3 images, 1 images of identity -1 (junk)"]
    assert "3 images in the folders of Market1501 are not used, 47 are" in report.warnings[0]
    assert "reads .jpg files only; convert them, or use PersonFolder" in report.warnings[0]


def test_left_out_ignores_images_of_another_split(tmp_path):
    paths = [str(write_image(tmp_path / f"{index}.jpg")) for index in range(4)]
    assert not left_out(paths)
    assert left_out(paths[:1]) == {"images": 3}
    assert not left_out([*paths, str(tmp_path / "gone" / "1.jpg")])


def test_images_below_are_sorted_and_follow_links_once(tmp_path):
    root = tmp_path / "root"
    for name in ("a.jpg", "a/1.jpg", "a-b/2.PNG", "b/3.jpg", ".git/4.jpg"):
        write_as(root / name)
    write_image(tmp_path / "outside" / "5.jpg")
    (root / "z").symlink_to(tmp_path / "outside")
    (root / "b" / "again").symlink_to(root)
    (root / "zz").symlink_to(tmp_path / "outside")
    found = list(images_below(root))
    assert [Path(path).relative_to(root).as_posix() for path in found] == [
        "a-b/2.PNG",
        "a.jpg",
        "a/1.jpg",
        "b/3.jpg",
        "z/5.jpg",
    ]
    assert found == sorted(found)
