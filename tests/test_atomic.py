"""A place that cannot be written to is named before anything is computed."""

import pytest

from fastreid_ext.atomic import expect_writable


def test_missing_folders_are_made_and_nothing_is_left(tmp_path):
    path = tmp_path / "a" / "b" / "file.npz"
    assert expect_writable(path) == path
    assert list(path.parent.iterdir()) == []
    expect_writable(tmp_path / "c", is_folder=True)
    assert (tmp_path / "c").is_dir()


def test_an_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    for is_folder in (False, True):
        with pytest.raises(OSError, match=r"file.* cannot be written to .*another path"):
            expect_writable(tmp_path / "file" / "below", is_folder=is_folder)


def test_a_folder_in_the_place_of_the_file_is_named(tmp_path):
    with pytest.raises(OSError, match="name of a file to write, got a folder"):
        expect_writable(tmp_path)
