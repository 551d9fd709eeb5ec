"""A job that is stopped, continued, divided or enlarged ends as one that never was."""

import contextlib
import errno
import os
import re

import pytest

from fastreid_ext.generation.identities.identity_list import read_identities
from fastreid_ext.generation.stages import verify


def test_a_second_run_changes_nothing(whole, settings_of, run_job):
    output, report = whole
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*.jpg")}
    assert str(run_job(settings_of(output))) == str(report)
    assert before == {path: path.stat().st_mtime_ns for path in output.rglob("*.jpg")}


@pytest.mark.slow
def test_a_job_stopped_at_any_file_ends_as_one_never_stopped(
    whole, settings_of, tmp_path, monkeypatch, run_job, contents
):
    """Every file and folder gets its place by os.replace; runs are stopped at later and later.

    In turn the user stops them and the disk is full.
    """
    replace = os.replace
    left = [0]
    cfg = settings_of(tmp_path / "job")
    stops = []

    def stopping(source, target):
        left[0] -= 1
        if left[0] == 0:
            if len(stops) % 2:
                raise KeyboardInterrupt
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", stopping)
    while True:
        left[0] = 3 * len(stops) + 1
        try:
            run_job(cfg)
            break
        except (KeyboardInterrupt, OSError) as error:
            stops.append(str(error))
    assert len(stops) > 4
    assert all(re.search(r"the disk of .* is full \(.*\); make room", said) for said in stops[::2])
    assert contents(tmp_path / "job") == contents(whole[0])
    assert not (tmp_path / "job" / "failed").exists()
    assert verify.verify_job(cfg) == []


@pytest.mark.slow
def test_shards_together_do_what_one_does(whole, settings_of, tmp_path, run_job, contents):
    cfg = settings_of(tmp_path / "job")
    with pytest.raises(TimeoutError, match=r"caption is not finished: 2 of 4 .* shards 1/2"):
        run_job(cfg, shard="0/2", wait=0)
    for stage in ("caption", "reference", "fine-tune", "sample"):
        for shard in ("1/2", "0/2"):
            with contextlib.suppress(TimeoutError):
                run_job(cfg, shard=shard, wait=0, stages=[stage])
    run_job(cfg, shard="1/2", wait=0, stages=("filter",))
    run_job(cfg, shard="0/2", wait=0)
    assert contents(tmp_path / "job") == contents(whole[0])


def test_a_larger_limit_goes_on(settings_of, tmp_path, run_job):
    output = tmp_path / "job"
    first = run_job(settings_of(output, **{"IDENTITIES.LIMIT": 1}), stages=["caption"])
    assert first.identities == 1
    assert (
        run_job(settings_of(output, **{"IDENTITIES.LIMIT": 3}), stages=["caption"]).identities == 3
    )
    assert (
        run_job(settings_of(output, **{"IDENTITIES.LIMIT": 2}), stages=["caption"]).identities == 2
    )
    assert len(read_identities(output / "identities.jsonl")) == 3
    assert run_job(settings_of(output), stages=["caption"]).identities == 4
