"""A stage resumes by looking at files, and one identity's trouble is its own."""

import errno
import json

import pytest
import torch

from fastreid_ext.atomic import whole_folder
from fastreid_ext.generation.runs.disk import is_disk_full
from fastreid_ext.generation.runs.stage import failures, run_stage
from fastreid_ext.generation.runs.workers import Shard, Worker

NAMES = [f"Set_{person:04d}" for person in range(6)]


class Stage:
    """A real stage that writes a file for each identity; ``trouble`` says what goes wrong."""

    def __init__(self, output, trouble=None):
        self.output = output
        self.trouble = trouble or {}
        self.calls = []
        self.opened = 0

    def open(self):
        self.opened += 1
        return self.work

    def work(self, group):
        self.calls.append(list(group))
        for name in group:
            if isinstance(self.trouble.get(name), BaseException):
                raise self.trouble[name]
            if name not in self.trouble:
                (self.output / name).write_text(name)
        return {name: self.trouble[name] for name in group if name in self.trouble}

    def run(self, worker=None, **kwargs):
        worker = worker or Worker(output=self.output)
        done = lambda name: (self.output / name).exists()  # noqa: E731
        return run_stage(NAMES, self.open, done, stage="sampling", worker=worker, **kwargs)


def test_does_what_is_not_done_and_opens_models_only_then(tmp_path):
    first = Stage(tmp_path)
    assert first.run().done == 6
    again = Stage(tmp_path)
    report = again.run()
    assert (report.done, report.skipped, report.failed) == (0, 6, {})
    assert again.opened == 0


def test_after_a_crash_only_the_rest_is_done(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        Stage(tmp_path, {NAMES[2]: KeyboardInterrupt()}).run()
    again = Stage(tmp_path)
    assert again.run().done == 4
    assert again.calls == [[name] for name in NAMES[2:]]


def test_groups_keep_their_borders_when_resumed(tmp_path):
    (tmp_path / NAMES[0]).write_text("done before")
    stage = Stage(tmp_path)
    stage.run(together=2)
    assert stage.calls == [NAMES[1:2], NAMES[2:4], NAMES[4:6]]


def test_a_failure_is_a_file_and_is_tried_again_only_when_asked(tmp_path):
    report = Stage(tmp_path, {NAMES[1]: "latents are not finite"}).run()
    assert report.failed == {NAMES[1]: "latents are not finite"}
    written = json.loads((tmp_path / "failed" / "sampling" / f"{NAMES[1]}.json").read_text())
    assert written == {
        "identity": NAMES[1],
        "stage": "sampling",
        "reason": "latents are not finite",
    }
    again = Stage(tmp_path)
    assert again.run().failed == report.failed
    assert again.opened == 0
    assert Stage(tmp_path).run(Worker(output=tmp_path, retries=["sampling"])).done == 1
    assert failures(tmp_path, "sampling") == {}


def test_an_error_is_a_failure_of_the_identity_it_happens_to(tmp_path):
    stage = Stage(tmp_path, {NAMES[3]: ValueError("prompt of 90 tokens")})
    report = stage.run(together=3)
    assert report.failed == {NAMES[3]: "ValueError: prompt of 90 tokens"}
    assert report.done == 5
    assert stage.calls[1:] == [NAMES[3:], *([name] for name in NAMES[3:])]


def test_a_bug_passes(tmp_path):
    with pytest.raises(AttributeError, match="no such thing"):
        Stage(tmp_path, {NAMES[0]: AttributeError("no such thing")}).run()
    assert failures(tmp_path, "sampling") == {}


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_stops_the_job_and_blames_nobody(tmp_path, error):
    with pytest.raises(OSError, match=r"disk of .* is full \(stage sampling\); make room"):
        Stage(tmp_path, {NAMES[2]: error}).run(together=2)
    assert failures(tmp_path, "sampling") == {}
    assert Stage(tmp_path).run().done == 4


def test_room_is_asked_for_before_anything_is_done(tmp_path):
    stage = Stage(tmp_path)
    with pytest.raises(OSError, match=r"expected about 6000000\.0 GB free .*, got .* make room"):
        stage.run(bytes_each=10**15)
    assert stage.opened == 0


def test_too_little_memory_says_what_to_lower(tmp_path):
    with pytest.raises(
        ValueError, match=r"stage sampling needs more memory .* lower the BATCH_SIZE"
    ):
        Stage(tmp_path, {NAMES[0]: torch.OutOfMemoryError("CUDA out of memory")}).run()


def test_what_fails_for_all_is_no_identitys_fault(tmp_path):
    names = [f"Set_{person:04d}" for person in range(30)]
    calls = []

    def work(group):
        calls.extend(group)
        raise ValueError(f"{group[0]}: unknown scheduler")

    with pytest.raises(
        ValueError, match="the first 10 identities all failed with: ValueError: <name>: unknown"
    ):
        run_stage(
            names, lambda: work, lambda _: False, stage="sampling", worker=Worker(output=tmp_path)
        )
    assert calls == names[:10]


def test_shards_divide_the_identities(tmp_path):
    stages = [Stage(tmp_path) for _ in range(4)]
    for index, stage in enumerate(stages):
        stage.run(Worker(output=tmp_path, shard=Shard(index, 4)))
    assert [[name for group in stage.calls for name in group] for stage in stages] == [
        NAMES[index::4] for index in range(4)
    ]


def test_a_damaged_failure_file_is_named(tmp_path):
    path = Worker(output=tmp_path).failure("sampling", NAMES[0])
    path.parent.mkdir(parents=True)
    path.write_text('{"identity"')
    with pytest.raises(ValueError, match=rf"{NAMES[0]}\.json: expected .* remove the file"):
        failures(tmp_path, "sampling")


def test_a_folder_is_whole_or_not_there(tmp_path):
    target = tmp_path / "images" / NAMES[0]
    with pytest.raises(RuntimeError), whole_folder(target, tmp_path) as folder:  # noqa: PT012
        (folder / "a.jpg").write_text("half")
        raise RuntimeError
    assert not target.exists()
    assert not list((tmp_path / ".partial").iterdir())
    left = tmp_path / ".partial" / f"images--{NAMES[0]}"  # by a run that was killed
    left.mkdir(parents=True)
    (left / "old.jpg").write_text("old")
    with whole_folder(target, tmp_path) as folder:
        assert folder == left
        (folder / "b.jpg").write_text("whole")
    assert [path.name for path in target.iterdir()] == ["b.jpg"]


def test_other_errors_are_not_about_the_disk():
    assert not is_disk_full(OSError(errno.EACCES, "Permission denied"))
    assert not is_disk_full(ValueError("no space for doubt"))
