"""Packing by one process: repetitions and errors."""

import logging
import os

import numpy as np
import pytest

from fastreid_ext.data.decode import pixel_count, read_pixels

from .conftest import write_image
from .packed_sets import CountingReads, only_file, packed


def test_pixel_count_reads_the_header(tmp_path, paths):
    assert [pixel_count(path) for path in paths] == [read_pixels(p).size // 3 for p in paths]
    with pytest.raises(OSError, match=r"cannot read image .*none\.jpg"):
        pixel_count(tmp_path / "none.jpg")


def test_packing_second_start_decodes_nothing(tmp_path, paths, caplog):
    caplog.set_level(logging.INFO)
    read = CountingReads()
    packed(tmp_path, paths, read)
    assert read.count == len(paths)
    assert f"Packing {len(paths)} images to " in caplog.text
    caplog.clear()
    packed(tmp_path, reversed(paths), read)
    assert read.count == len(paths)
    assert "Packing" not in caplog.text
    assert f"{len(paths)} images, 0.000 GiB, content " in caplog.text


@pytest.mark.parametrize("change", ["other pixels", "other time", "other size"])
def test_packing_repeats_for_changed_files(tmp_path, paths, caplog, change):
    caplog.set_level(logging.INFO)
    packed(tmp_path, paths)
    if change == "other time":
        os.utime(paths[1], ns=(0, 1))
    else:
        write_image(tmp_path / "images/1.jpg", seed=99, size=(17, 32 if "pix" in change else 40))
    images = packed(tmp_path, paths)
    assert f"1 files changed, the first is {os.path.abspath(paths[1])}" in caplog.text
    assert np.array_equal(images(paths[1]), read_pixels(paths[1]))


def test_packing_other_images_to_another_file(tmp_path, paths):
    packed(tmp_path, paths)
    packed(tmp_path, paths[:3])
    assert len(list((tmp_path / "packed").glob("*.packed"))) == 2


@pytest.mark.parametrize("kept", [0, 10, 0.5, 0.99])
def test_packing_replaces_damaged_files(tmp_path, paths, caplog, kept):
    caplog.set_level(logging.INFO)
    packed(tmp_path, paths)
    file = only_file(tmp_path)
    data = file.read_bytes()
    file.write_bytes(data[: int(kept * len(data)) if kept < 1 else kept])
    images = packed(tmp_path, paths)
    assert "is damaged: expected a packed set" in caplog.text
    images.verify()


def test_packing_names_unreadable_images_and_leaves_no_file(tmp_path, paths):
    whole = open(paths[2], "rb").read()
    open(paths[2], "wb").write(whole[:400])
    with pytest.raises(OSError, match=r"cannot read image .*2\.jpg"):
        packed(tmp_path, paths)
    with pytest.raises(OSError, match=r"cannot read image .*none\.jpg: .*No such file"):
        packed(tmp_path, [*paths, str(tmp_path / "none.jpg")])
    assert not list((tmp_path / "packed").glob("*.packed"))
    assert not list((tmp_path / "packed").glob(".*.partial"))


def test_packing_checks_the_free_space_first(tmp_path):
    """Pack 400 links to a JPEG file whose header claims 65000 x 65000 pixels: 5 TB."""
    first = write_image(tmp_path / "images/0.jpg")
    data = bytearray(first.read_bytes())
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = (65000).to_bytes(2) * 2
    first.write_bytes(data)
    paths = [str(tmp_path / f"images/{i}.jpg") for i in range(400)]
    for path in paths[1:]:
        os.link(first, path)
    read = CountingReads()
    with pytest.raises(OSError, match=r"expected 4721\.\d+ GiB of free .* 400 images .*CACHE"):
        packed(tmp_path, paths, read)
    assert read.count == 0
    left = list((tmp_path / "packed").iterdir())
    assert [path.suffix for path in left] == [".lock"]
