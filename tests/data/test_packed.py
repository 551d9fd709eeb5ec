import itertools
import logging
import mmap
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
from fastreid_ext.data.dataset import PersonDataset
from fastreid_ext.data.decode import pixel_count, read_pixels
from fastreid_ext.data.item_arrays import TextArray
from fastreid_ext.data.packed import PackedImages, PackedIndex, read_index, reason_to_pack, stamp
from fastreid_ext.data.packing import _process_count, packed_images

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
    assert len(pickle.dumps(images)) < 1000  # only the file's name


def test_index_says_where_each_image_lies(tmp_path, paths):
    index = packed(tmp_path, paths).index
    assert list(index.paths) == sorted(map(os.path.abspath, paths))
    begin = 0
    for place, path in enumerate(index.paths):
        height, width, _ = read_pixels(path).shape
        assert index.place(path) == place
        assert index.sizes[place].tolist() == [height, width]
        assert index.stamps[place].tolist() == list(stamp(path))
        assert index.begins[place] == begin
        begin += 3 * height * width
    assert index.begins[-1] == begin


def test_index_is_not_copied_into_memory(tmp_path, paths):
    index = packed(tmp_path, paths).index
    for array in (index.paths.data, index.stamps, index.begins, index.sizes, index.keys):
        while isinstance(array.base, np.ndarray):
            array = array.base
        assert isinstance(array.base.obj, mmap.mmap)
    assert index.keys.flags.aligned  # else numpy copies them for each image


def test_images_are_found_by_relative_names_and_others_are_refused(tmp_path, paths, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = packed(tmp_path, [os.path.relpath(path) for path in paths])
    assert np.array_equal(images("images/1.jpg"), read_pixels(paths[1]))
    assert np.array_equal(images(paths[1]), read_pixels(paths[1]))
    with pytest.raises(KeyError, match=r"expected one of the 7 packed images, got .*none\.jpg"):
        images("images/none.jpg")


def test_names_that_are_not_utf_8_can_be_packed(tmp_path, paths):
    name = os.fsencode(tmp_path / "images") + b"/\xff.png"
    os.rename(os.fsencode(paths[-1]), name)
    images = packed(tmp_path, [*paths[:-1], os.fsdecode(name)])
    assert images(os.fsdecode(name)).shape == (9, 7, 3)


def test_images_are_read_by_place_too(tmp_path, paths):
    images = packed(tmp_path, paths)
    shuffled = [paths[place] for place in (3, 0, 6, 3)]
    for path, place in zip(shuffled, images.places_of(shuffled).tolist(), strict=True):
        assert np.array_equal(images.at(place), read_pixels(path))
        assert not images.at(place).flags.writeable
    assert images.places_of(images.index.paths).tolist() == list(range(len(paths)))
    assert images.places_of([]).tolist() == []


@pytest.mark.parametrize("name", ["none", "other", "third", "fourth"])
def test_places_of_images_that_are_not_packed_name_the_first(tmp_path, paths, name):
    images = packed(tmp_path, paths)
    with pytest.raises(KeyError, match=rf"one of the 7 packed images, got .*/{name}\.jpg"):
        images.places_of([paths[0], str(tmp_path / f"{name}.jpg"), "zzz.jpg"])


def test_data_set_asks_for_places_once(tmp_path, paths, monkeypatch):
    images = packed(tmp_path, paths)
    items = [(path, f"m_{place}", "m_1") for place, path in enumerate(reversed(paths))]
    dataset = PersonDataset(items, np.array, relabel=True, read=images)
    monkeypatch.setattr(PackedIndex, "place", None)
    for place, (path, _, _) in enumerate(items):
        sample = dataset[place]
        assert np.array_equal(sample["images"], read_pixels(path))
        assert sample["img_paths"] == path


def test_two_paths_of_one_hash_are_named(monkeypatch):
    monkeypatch.setattr("fastreid_ext.data.packed._key", lambda path: len(path))
    names = TextArray.of(["/a", "/bb", "/cc"])
    with pytest.raises(ValueError, match=r"the same for /bb and /cc; rename one"):
        PackedIndex.of(names, np.zeros((3, 2), int), np.ones((3, 2), np.int32), "")


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
    file = only_file(tmp_path)
    absolute = read_index(file).paths
    stamps = np.array([stamp(path) for path in absolute])
    assert reason_to_pack(file, absolute, stamps) == ""
    assert reason_to_pack(file, absolute[:2], stamps[:2]) == "it has other images"
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
    packed(tmp_path, paths)
    file = only_file(tmp_path)
    data = bytearray(file.read_bytes())
    data[5] ^= 1
    file.write_bytes(data)
    with pytest.raises(OSError, match=r"expected the pixels in .* to have the hash .*remove the"):
        PackedImages(file).verify()


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


# Several processes. They wait for events, not for times: other work on the machine may slow any of
# them down. LONG only ends a test that hangs.

LONG = 300


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
    until = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_of_several_processes_one_packs(tmp_path, paths):
    processes = [start(tmp_path, paths, 0.05) for _ in range(4)]
    for process in processes:
        process.join(LONG)
        assert process.exitcode == 0
    assert len(list(tmp_path.glob("began-*"))) == 1
    packed(tmp_path, paths, CountingReads()).verify()


def test_killed_while_packing_the_next_start_packs(tmp_path, paths):
    process = start(tmp_path, paths, LONG)  # killed in its first image
    wait_for(lambda: list((tmp_path / "packed").glob(".*.partial")))
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not list((tmp_path / "packed").glob("*.packed"))
    read = CountingReads()
    packed(tmp_path, paths, read).verify()
    assert read.count == len(paths)
    assert not list((tmp_path / "packed").glob(".*.partial"))


def test_who_waits_for_a_killed_process_packs_itself(tmp_path, paths):
    first = start(tmp_path, paths, LONG)
    wait_for(lambda: list((tmp_path / "packed").glob(".*.partial")))
    second = start(tmp_path, paths, 0.0)
    time.sleep(0.1)
    os.kill(first.pid, signal.SIGKILL)
    second.join(LONG)
    assert second.exitcode == 0
    packed(tmp_path, paths).verify()


# Processes that decode.


@pytest.fixture
def many(tmp_path):
    """100 images, more than three tasks, of different sizes."""
    folder = tmp_path / "many"
    sizes = [(5 + i % 7, 9 + i % 5) for i in range(100)]
    return [
        str(write_image(folder / f"{i}.png", seed=i, size=size)) for i, size in enumerate(sizes)
    ]


@pytest.mark.parametrize(
    ("method", "workers"), [("fork", 3), pytest.param("spawn", 1, marks=pytest.mark.slow)]
)
def test_any_number_of_processes_writes_the_same_bytes(tmp_path, many, method, workers):
    alone = tmp_path / "alone"
    file = packed_images(alone, "some", many, read_pixels, workers=0).file
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method(method, force=True)
    try:
        images = packed_images(tmp_path / "packed", "some", many, read_pixels, workers=workers)
    finally:
        multiprocessing.set_start_method(before, force=True)
    assert images.file.read_bytes() == file.read_bytes()
    images.verify()


class ReadsTogether:
    """Reads an image only while another process reads one, so not one after the other."""

    def __init__(self, folder, processes):
        self.folder = folder
        self.processes = processes

    def __call__(self, path):
        (self.folder / f"began-{os.getpid()}").touch()
        wait_for(lambda: len(list(self.folder.glob("began-*"))) == self.processes)
        return read_pixels(path)


@pytest.mark.parametrize("workers", [2, 3])
def test_processes_decode_at_the_same_time(tmp_path, many, workers):
    read = ReadsTogether(tmp_path, workers)
    packed_images(tmp_path / "packed", "some", many, read, workers=workers).verify()
    assert not (tmp_path / f"began-{os.getpid()}").exists()


def test_all_cores_decode_many_images_and_this_process_few():
    cores = len(os.sched_getaffinity(0))
    assert _process_count(999) == 0
    assert _process_count(1000) == (cores if cores > 1 else 0)


@pytest.mark.parametrize("workers", [0, 2])
def test_damaged_image_among_many_is_named(tmp_path, many, workers):
    whole = open(many[70], "rb").read()
    open(many[70], "wb").write(whole[:60])
    with pytest.raises(OSError, match=r"cannot read image .*70\.png"):
        packed_images(tmp_path / "packed", "some", many, read_pixels, workers=workers)
    assert [path.suffix for path in (tmp_path / "packed").iterdir()] == [".lock"]


def test_image_that_changes_while_it_is_packed_is_named(tmp_path, many):
    def read(path):
        return read_pixels(path)[: 4 if path.endswith("/70.png") else None]

    with pytest.raises(OSError, match=r"expected 45 pixels in .*/70\.png.* got 20; do not"):
        packed_images(tmp_path / "packed", "some", many, read, workers=0)


def pack_many(tmp_path, many, read, workers):
    packed_images(tmp_path / "packed", "some", many, read, workers=workers)


def test_processes_end_with_a_killed_parent_and_free_the_lock(tmp_path, many):
    context = multiprocessing.get_context("fork")
    parent = context.Process(target=pack_many, args=(tmp_path, many, SlowReads(tmp_path, LONG), 2))
    parent.start()
    wait_for(lambda: len(list(tmp_path.glob("began-*"))) == 2)
    os.kill(parent.pid, signal.SIGKILL)
    parent.join()
    packed(tmp_path, many).verify()  # waits for the lock
    pids = [int(path.name.removeprefix("began-")) for path in tmp_path.glob("began-*")]
    wait_for(lambda: not any(is_running(pid) for pid in pids))


def is_running(pid):
    try:
        return "State:\tZ" not in open(f"/proc/{pid}/status").read()
    except (FileNotFoundError, ProcessLookupError):
        return False


class KilledReads:
    def __call__(self, path):
        os.kill(os.getpid(), signal.SIGKILL)


def test_killed_process_is_told(tmp_path, many):
    with pytest.raises(RuntimeError, match="a process that packs images was killed, often because"):
        packed_images(tmp_path / "packed", "some", many, KilledReads(), workers=1)
    assert [path.suffix for path in (tmp_path / "packed").iterdir()] == [".lock"]


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
