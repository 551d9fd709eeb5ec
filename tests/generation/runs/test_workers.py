"""Shards, their locks, and waiting for each other."""

import contextlib
import errno
import fcntl
import itertools
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fastreid_ext.generation.runs import heartbeat
from fastreid_ext.generation.runs.workers import (
    Shard,
    Worker,
    local_device,
    shard_lock,
    shard_of,
    wait_for,
)

NAMES = [f"Set_{person:04d}" for person in range(6)]
SLURM = {"SLURM_PROCID": "11", "SLURM_LOCALID": "3", "SLURM_STEP_NUM_TASKS": "16"}
HOLD = """
import fcntl, sys
file = open(sys.argv[1], "a+")
fcntl.flock(file, fcntl.LOCK_EX)
file.write("process 7 on somewhere")
file.flush()
print("held", flush=True)
sys.stdin.read()
"""


def test_shards_are_disjoint_and_complete():
    parts = [Shard(index, 4).of(NAMES) for index in range(4)]
    assert sorted(name for part in parts for name in part) == NAMES
    assert [len(part) for part in parts] == [2, 2, 1, 1]


def test_launchers_and_the_option_are_read():
    assert shard_of("", {}) == Shard(0, 1)
    assert shard_of("2/5", {}) == Shard(2, 5)
    assert shard_of("", {"RANK": "3", "WORLD_SIZE": "8"}) == Shard(3, 8)
    assert shard_of("1/4", {"RANK": "3", "WORLD_SIZE": "8"}) == Shard(13, 32)
    assert shard_of("", SLURM) == Shard(11, 16)


@pytest.mark.parametrize("text", ["4/4", "1", "-1/2", "a/b"])
def test_a_wrong_shard_is_refused(text):
    with pytest.raises(ValueError, match=f"expected --shard INDEX/COUNT .* got '{text}'"):
        shard_of(text, {})
    with pytest.raises(ValueError, match="0 <= INDEX < COUNT, got 3/2"):
        Shard(3, 2)


def test_each_process_of_a_machine_has_its_device():
    torchrun = {"RANK": "2", "WORLD_SIZE": "4", "LOCAL_RANK": "2"}
    assert local_device("cuda", torchrun, 4) == "cuda:2"
    assert local_device("cuda:1", torchrun) == "cuda:1"
    assert local_device("cpu", torchrun) == "cpu"
    assert local_device("cuda", {}) == "cuda"
    assert local_device("cuda", SLURM, 8) == "cuda:3"
    assert local_device("cuda", SLURM, 1) == "cuda:0"  # srun --gpus-per-task 1


HOLD_TOUCHED = """
import errno, fcntl, sys, time
from fastreid_ext.generation.runs import heartbeat, workers
from pathlib import Path
def flock(*_):
    raise OSError(errno.ENOSYS, "Function not implemented")
fcntl.flock = flock
heartbeat.BEAT = 0.1
with workers.shard_lock(Path(sys.argv[1]), workers.Shard(1, 4)):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def without_flock(monkeypatch):
    """A file system as some Lustre mounts and FUSE are."""

    def flock(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(heartbeat, "BEAT", 0.1)
    monkeypatch.setattr(heartbeat, "STALE", 1.0)


def test_without_flock_a_touched_file_is_the_lock(tmp_path, without_flock, caplog):
    words = [sys.executable, "-c", HOLD_TOUCHED, str(tmp_path)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(words, stdin=pipe, stdout=pipe, cwd=Path(__file__).parents[3])
    assert process.stdout.readline() == b"held\n"
    owner = rf"process {process.pid} on {platform.node()}"
    with (
        pytest.raises(ValueError, match=rf"another process \({owner}\) works on shard 1/4 of"),
        shard_lock(tmp_path, Shard(1, 4)),
    ):
        pass
    assert "has no flock (Function not implemented): a shard is held by a file" in caplog.text
    with (
        pytest.raises(ValueError, match=rf"\({owner}\) works on shard 1 of 4 of .* overlaps"),
        shard_lock(tmp_path, Shard(1, 2)),
    ):
        pass
    process.kill()
    process.communicate()
    with shard_lock(tmp_path, Shard(1, 4)) as began, shard_lock(tmp_path, Shard(2, 4)):
        assert abs(began - time.time()) < 60
        assert heartbeat.is_beating(tmp_path / "locks" / "1-of-4.owner")
    assert not list((tmp_path / "locks").glob("*.owner*"))


def test_of_several_who_find_an_abandoned_lock_one_gets_it(tmp_path, without_flock):
    path = tmp_path / "lock"
    path.write_text("{}")
    owners = []
    refused = []

    def take():
        try:
            with heartbeat.heartbeat_lock(path):
                owners.append(1)
                time.sleep(3)
                owners.append(-1)
        except heartbeat.HeldError:
            refused.append(1)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert owners == [1, -1]
    assert len(refused) == 3


@pytest.fixture
def holder(tmp_path):
    """Another process that holds shard 1 of 4."""
    (tmp_path / "locks").mkdir()
    path = tmp_path / "locks" / "1-of-4.lock"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"held\n"
    yield process
    if process.poll() is None:
        process.kill()
    process.communicate()


def test_two_workers_on_one_shard_are_refused_until_the_first_is_gone(tmp_path, holder):
    with (
        pytest.raises(
            ValueError,
            match=r"another process \(process 7 on somewhere\) works on shard 1/4 of .* --shard of",
        ),
        shard_lock(tmp_path, Shard(1, 4)),
    ):
        pass
    with shard_lock(tmp_path, Shard(0, 4)):
        assert str(os.getpid()) in (tmp_path / "locks" / "0-of-4.lock").read_text()
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with shard_lock(tmp_path, Shard(1, 4)), shard_lock(tmp_path, Shard(2, 4)):
        pass


def test_another_division_of_a_running_job_is_refused(tmp_path, holder):
    with (
        pytest.raises(
            ValueError, match=r"works on shard 1 of 4 of .*, which overlaps with 1/2; wait until"
        ),
        shard_lock(tmp_path, Shard(1, 2)),
    ):
        pass


def test_machines_of_other_numbers_of_processes_work_at_one_time(tmp_path, holder):
    """The one that holds shard 1 of 4 is the first of two; the other machine has three."""
    ranks = [{"RANK": str(rank), "WORLD_SIZE": "3"} for rank in range(3)]
    shards = [shard_of("0/2", environment) for environment in ranks]
    assert shards == [Shard(0, 6), Shard(2, 6), Shard(4, 6)]
    names = list(range(24))
    both = sorted(name for shard in (*shards, Shard(1, 4), Shard(3, 4)) for name in shard.of(names))
    assert both == names
    with contextlib.ExitStack() as stack:
        for shard in shards:
            stack.enter_context(shard_lock(tmp_path, shard))


@pytest.mark.parametrize("counts", [(1, 3), (2, 3), (4, 6), (5, 5)])
def test_shards_overlap_where_a_list_has_a_common_item(counts):
    names = list(range(60))
    for first, second in itertools.product(*map(range, counts)):
        shard = Shard(first, counts[0])
        other = Shard(second, counts[1])
        assert shard.overlaps(other) == bool(set(shard.of(names)) & set(other.of(names)))


def test_workers_that_begin_together_do_not_take_each_other_for_an_earlier_one(tmp_path):
    """All of them look at the lock that a run of another division has left."""
    (tmp_path / "locks").mkdir()
    with open(tmp_path / "locks" / "0-of-1.lock", "a+") as looked_at:
        fcntl.flock(looked_at, fcntl.LOCK_SH)
        with shard_lock(tmp_path, Shard(0, 8)), shard_lock(tmp_path, Shard(1, 8)):
            for name in ("0-of-8.lock", "1-of-8.lock"):
                with open(tmp_path / "locks" / name) as held, pytest.raises(BlockingIOError):
                    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_an_old_failure_does_not_count_where_it_is_tried_again(tmp_path):
    path = Worker(output=tmp_path).failure("sample", "A_0001")
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    written = path.stat().st_mtime
    for retries, began, failed in (
        ((), written + 1, True),
        (("caption",), written + 1, True),
        (("sample",), written + 1, False),
        (("sample",), written - 1, True),
    ):
        worker = Worker(output=tmp_path, retries=retries, began=began)
        assert worker.has_failed("sample", "A_0001") == failed
    assert not worker.has_failed("sample", "A_0002")


def test_waits_until_the_others_are_done(tmp_path):
    looks = []

    def is_settled(name):
        looks.append(name)
        return name != NAMES[1] or looks.count(name) > 2

    worker = Worker(output=tmp_path, shard=Shard(0, 2), wait=1)
    wait_for(NAMES, is_settled, stage="caption", worker=worker, seconds_between_looks=0.01)
    assert looks.count(NAMES[1]) == 3


def test_gives_up_when_the_others_finish_nothing(tmp_path):
    worker = Worker(output=tmp_path, shard=Shard(0, 2), wait=0)
    with pytest.raises(
        TimeoutError, match=r"stage caption is not finished: 2 of 6 are left to shards 1/2, .* run"
    ):
        wait_for(
            NAMES, lambda name: name not in (NAMES[1], NAMES[3]), stage="caption", worker=worker
        )
