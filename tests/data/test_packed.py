import itertools
import logging
import multiprocessing
import os
import pickle
import signal
import time

import numpy as np
import pytest
import torch
from PIL import Image

from fastreid_ext.data.build import build_test_loader, build_train_loader
from fastreid_ext.data.decode import pixel_count, read_pixels
from fastreid_ext.data.packed import PackedImages, read_index, reason_to_pack, stamp
from fastreid_ext.data.packing import packed_images

from .conftest import write_image


@pytest.fixture
def paths(tmp_path):
    """Images of different sizes, one of them turned, one of them with a palette."""
    made = [write_image(tmp_path / f"images/{i}.jpg", seed=i, size=(16 + i, 32)) for i in range(5)]
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = tmp_path / "images/turned.jpg"
    Image.open(made[0]).save(turned, exif=exif)
    made += [turned, write_image(tmp_path / "images/p.png", mode="P", size=(7, 9))]
    return list(map(str, made))


def packed(tmp_path, paths, read=read_pixels):
    return packed_images(tmp_path / "packed", "some", paths, read)


def only_file(tmp_path):
    (file,) = (tmp_path / "packed").glob("some-*.packed")
    return file


class CountingReads:
    def __init__(self):
        self.count = 0

    def __call__(self, path):
        self.count += 1
        return read_pixels(path)


def test_pixels_are_those_of_the_files(tmp_path, paths):
    images = packed(tmp_path, [*paths, paths[0]])  # one comes twice
    for path in paths:
        assert np.array_equal(images(path), read_pixels(path))
        assert not images(path).flags.writeable
    images.verify()
    assert images(paths[-2]).shape == (16, 32, 3)  # as turned


def test_another_process_can_be_given_it(tmp_path, paths):
    images = packed(tmp_path, paths)
    images(paths[0])
    other = pickle.loads(pickle.dumps(images))
    assert np.array_equal(other(paths[1]), read_pixels(paths[1]))
    assert len(pickle.dumps(images)) < 5000


def test_pixel_counts_come_from_the_first_bytes(tmp_path, paths):
    assert [pixel_count(path) for path in paths] == [read_pixels(p).size // 3 for p in paths]
    with pytest.raises(OSError, match=r"cannot read image .*none\.jpg"):
        pixel_count(tmp_path / "none.jpg")


def test_second_start_decodes_nothing(tmp_path, paths, caplog):
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
def test_changed_files_are_packed_again(tmp_path, paths, caplog, change):
    caplog.set_level(logging.INFO)
    packed(tmp_path, paths)
    if change == "other time":
        os.utime(paths[1], ns=(0, 1))
    else:
        write_image(tmp_path / "images/1.jpg", seed=99, size=(17, 32 if "pix" in change else 40))
    images = packed(tmp_path, paths)
    assert f"1 files changed, the first is {os.path.abspath(paths[1])}" in caplog.text
    assert np.array_equal(images(paths[1]), read_pixels(paths[1]))


def test_other_images_are_another_file(tmp_path, paths):
    packed(tmp_path, paths)
    packed(tmp_path, paths[:3])
    assert len(list((tmp_path / "packed").glob("*.packed"))) == 2


def test_other_decoders_and_lists_are_reasons_to_pack(tmp_path, paths, monkeypatch):
    packed(tmp_path, paths)
    file, stamps = only_file(tmp_path), [stamp(path) for path in paths]
    absolute = read_index(file)["paths"]
    assert reason_to_pack(file, absolute, [stamp(path) for path in absolute]) == ""
    assert reason_to_pack(file, paths[:2], stamps[:2]) == "it has other images"
    monkeypatch.setattr("fastreid_ext.data.packed.DECODERS", "Pillow 99")
    assert "here is Pillow 99" in reason_to_pack(file, absolute, stamps)


@pytest.mark.parametrize("kept", [0, 10, 0.5, 0.99])
def test_damaged_files_are_written_again(tmp_path, paths, caplog, kept):
    caplog.set_level(logging.INFO)
    packed(tmp_path, paths)
    file = only_file(tmp_path)
    data = file.read_bytes()
    file.write_bytes(data[: int(kept * len(data)) if kept < 1 else kept])
    images = packed(tmp_path, paths)
    assert "is damaged: it is no packed set" in caplog.text
    images.verify()


def test_changed_pixels_are_found_by_their_hash(tmp_path, paths):
    images = packed(tmp_path, paths)
    file = only_file(tmp_path)
    data = bytearray(file.read_bytes())
    data[5] ^= 1
    file.write_bytes(data)
    with pytest.raises(OSError, match=r"expected the pixels in .* to have the hash .*remove the"):
        PackedImages(file, images.index["paths"]).verify()


def test_unreadable_and_missing_images_are_named_and_leave_nothing(tmp_path, paths):
    whole = open(paths[2], "rb").read()
    open(paths[2], "wb").write(whole[:400])
    with pytest.raises(OSError, match=r"cannot read image .*2\.jpg"):
        packed(tmp_path, paths)
    with pytest.raises(OSError, match=r"cannot read image .*none\.jpg: .*No such file"):
        packed(tmp_path, [*paths, str(tmp_path / "none.jpg")])
    assert not list((tmp_path / "packed").glob("*.packed"))
    assert not list((tmp_path / "packed").glob(".*.partial"))


def test_too_full_a_disk_is_found_before_anything_is_decoded(tmp_path):
    """400 links to one JPEG file that says it is 65000 pixels high and wide: 5 TB."""
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


# Several processes.


class SlowReads:
    """Tells that it has begun, then takes its time."""

    def __init__(self, folder, seconds):
        self.folder = folder
        self.seconds = seconds

    def __call__(self, path):
        (self.folder / f"began-{os.getpid()}").touch()
        time.sleep(self.seconds)
        return read_pixels(path)


def start(tmp_path, paths, seconds):
    context = multiprocessing.get_context("fork")
    process = context.Process(
        target=packed, args=(tmp_path, paths, SlowReads(tmp_path, seconds)), daemon=True
    )
    process.start()
    return process


def wait_for(condition):
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_of_several_processes_one_packs(tmp_path, paths):
    processes = [start(tmp_path, paths, 0.05) for _ in range(4)]
    for process in processes:
        process.join(20)
        assert process.exitcode == 0
    assert len(list(tmp_path.glob("began-*"))) == 1
    packed(tmp_path, paths, CountingReads()).verify()


def test_killed_while_packing_the_next_start_packs(tmp_path, paths):
    process = start(tmp_path, paths, 1.0)
    wait_for(lambda: list((tmp_path / "packed").glob(".*.partial")))
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not list((tmp_path / "packed").glob("*.packed"))
    read = CountingReads()
    packed(tmp_path, paths, read).verify()
    assert read.count == len(paths)
    assert not list((tmp_path / "packed").glob(".*.partial"))


def test_who_waits_for_a_killed_process_packs_itself(tmp_path, paths):
    first = start(tmp_path, paths, 1.0)
    wait_for(lambda: list((tmp_path / "packed").glob(".*.partial")))
    second = start(tmp_path, paths, 0.0)
    time.sleep(0.1)
    os.kill(first.pid, signal.SIGKILL)
    second.join(20)
    assert second.exitcode == 0
    packed(tmp_path, paths).verify()


# Loaders.


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("fast", [True, False])
def test_batches_are_the_same_with_and_without(make_cfg, tmp_path, workers, fast):
    changes = {
        "INPUT__FAST_PATH__ENABLED": fast,
        "DATALOADER__NUM_WORKERS": workers,
        "INPUT__CJ__ENABLED": False,
    }
    loaders = [
        build_train_loader(make_cfg(**changes, DATALOADER__PACKED_CACHE=str(folder)))
        for folder in ("", tmp_path)
    ]
    for plain, mapped in zip(
        *(itertools.islice(iter(loader), 3) for loader in loaders), strict=True
    ):
        assert torch.equal(plain["images"], mapped["images"])
        assert plain["img_paths"] == mapped["img_paths"]
    assert len(list(tmp_path.glob("train-*.packed"))) == 1


def test_test_sets_are_packed_too(make_cfg, tmp_path):
    loaders = [
        build_test_loader(make_cfg(DATALOADER__PACKED_CACHE=str(folder)), "Market1501")[0]
        for folder in ("", tmp_path)
    ]
    for plain, mapped in zip(*loaders, strict=True):
        assert torch.equal(plain["images"], mapped["images"])
    assert len(list(tmp_path.glob("Market1501-*.packed"))) == 1


def test_folder_that_is_a_file_is_refused(make_cfg, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"PACKED_CACHE .*file is a file; give a folder"):
        make_cfg(DATALOADER__PACKED_CACHE=str(tmp_path / "file"))
