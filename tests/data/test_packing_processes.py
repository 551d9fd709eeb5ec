"""Packing by several processes: one writes, several decode, some are killed.

The processes wait for events, not for times, because other work on the machine may slow any of them
down. ``LONG`` only ends a test that hangs.
"""

import multiprocessing
import os
import signal
import time

import pytest

from fastreid_ext.data.decode import read_pixels
from fastreid_ext.data.packing import _process_count, packed_images

from ..waiting import LONG, wait_for
from .conftest import write_image
from .packed_sets import CountingReads, packed


class SlowReads:
    """Reader that reports its start in a file and then sleeps."""

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


def test_packing_by_one_of_several_processes(tmp_path, paths):
    processes = [start(tmp_path, paths, 0.05) for _ in range(4)]
    for process in processes:
        process.join(LONG)
        assert process.exitcode == 0
    assert len(list(tmp_path.glob("began-*"))) == 1
    packed(tmp_path, paths, CountingReads()).verify()


def test_packing_after_a_killed_process(tmp_path, paths):
    process = start(tmp_path, paths, LONG)  # killed in its first image
    wait_for(lambda: list((tmp_path / "packed").glob(".*.partial")))
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not list((tmp_path / "packed").glob("*.packed"))
    read = CountingReads()
    packed(tmp_path, paths, read).verify()
    assert read.count == len(paths)
    assert not list((tmp_path / "packed").glob(".*.partial"))


def test_packing_waiter_takes_over_from_a_killed_process(tmp_path, paths):
    first = start(tmp_path, paths, LONG)
    wait_for(lambda: list((tmp_path / "packed").glob(".*.partial")))
    second = start(tmp_path, paths, 0.0)
    time.sleep(0.1)
    os.kill(first.pid, signal.SIGKILL)
    second.join(LONG)
    assert second.exitcode == 0
    packed(tmp_path, paths).verify()


@pytest.fixture
def many(tmp_path):
    """Write 100 images of different sizes, more than three tasks."""
    folder = tmp_path / "many"
    sizes = [(5 + i % 7, 9 + i % 5) for i in range(100)]
    return [
        str(write_image(folder / f"{i}.png", seed=i, size=size)) for i, size in enumerate(sizes)
    ]


@pytest.mark.parametrize(
    ("method", "workers"), [("fork", 3), pytest.param("spawn", 1, marks=pytest.mark.slow)]
)
def test_packing_bytes_do_not_depend_on_processes(tmp_path, many, method, workers):
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
    """Reader that waits until all processes read an image at the same time."""

    def __init__(self, folder, processes):
        self.folder = folder
        self.processes = processes

    def __call__(self, path):
        (self.folder / f"began-{os.getpid()}").touch()
        wait_for(lambda: len(list(self.folder.glob("began-*"))) == self.processes)
        return read_pixels(path)


@pytest.mark.parametrize("workers", [2, 3])
def test_packing_processes_decode_in_parallel(tmp_path, many, workers):
    read = ReadsTogether(tmp_path, workers)
    packed_images(tmp_path / "packed", "some", many, read, workers=workers).verify()
    assert not (tmp_path / f"began-{os.getpid()}").exists()


def test_packing_uses_all_cores_for_many_images():
    cores = len(os.sched_getaffinity(0))
    assert _process_count(999) == 0
    assert _process_count(1000) == (cores if cores > 1 else 0)


@pytest.mark.parametrize("workers", [0, 2])
def test_packing_processes_name_a_damaged_image(tmp_path, many, workers):
    whole = open(many[70], "rb").read()
    open(many[70], "wb").write(whole[:60])
    with pytest.raises(OSError, match=r"cannot read image .*70\.png"):
        packed_images(tmp_path / "packed", "some", many, read_pixels, workers=workers)
    assert [path.suffix for path in (tmp_path / "packed").iterdir()] == [".lock"]


def test_packing_names_an_image_that_changes(tmp_path, many):
    def read(path):
        return read_pixels(path)[: 4 if path.endswith("/70.png") else None]

    with pytest.raises(OSError, match=r"expected 45 pixels in .*/70\.png.* got 20; do not"):
        packed_images(tmp_path / "packed", "some", many, read, workers=0)


def pack_many(tmp_path, many, read, workers):
    packed_images(tmp_path / "packed", "some", many, read, workers=workers)


def test_packing_processes_end_with_a_killed_parent(tmp_path, many):
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


def test_packing_reports_a_killed_process(tmp_path, many):
    with pytest.raises(RuntimeError, match="a process that packs images was killed, often because"):
        packed_images(tmp_path / "packed", "some", many, KilledReads(), workers=1)
    assert [path.suffix for path in (tmp_path / "packed").iterdir()] == [".lock"]
