"""A job's folder belongs to one configuration, and a shard of it to one process."""

import errno
import json
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from fastreid_ext.atomic import create_text
from fastreid_ext.config import load_config
from fastreid_ext.generation.stages.folder import expect_same_settings, fixed_settings, open_job


def settings(output, **keys):
    pairs = {"MODEL.DEVICE": "cpu", "GENERATION.FILTER.USE": "[]", "OUTPUT_DIR": str(output)}
    pairs |= {key.replace("__", "."): value for key, value in keys.items()}
    return load_config("", [str(part) for pair in pairs.items() for part in pair])


def test_the_same_settings_continue(settings_of, tmp_path):
    cfg = settings_of(tmp_path / "job")
    for _ in range(2):
        with open_job(cfg, shard="1/2") as job:
            assert (job.worker.shard.index, job.worker.output) == (1, tmp_path / "job")
    written = json.loads((tmp_path / "job" / "job.json").read_text())
    assert written == fixed_settings(cfg)
    assert written["GENERATION.SIZE"] == [32, 16]
    assert not any(".FILTER." in key for key in written)
    # That of training changes what is learned, the others do not change an image.
    assert [key for key in written if key.endswith("BATCH_SIZE")] == [
        "GENERATION.FINE_TUNING.BATCH_SIZE"
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"GENERATION__FILTER__MAX_PER_IDENTITY": 20},
        {"GENERATION__SAMPLING__BATCH_SIZE": 3},
        {"GENERATION__FINE_TUNING__IDENTITIES_AT_ONCE": 3},
        {"GENERATION__FINE_TUNING__GRADIENT_CHECKPOINTING": True},
        {"GENERATION__IDENTITIES__LIMIT": 5},
        {"GENERATION__DOWNLOAD": True},
        {"MODEL__DEVICE": "cpu:0"},
    ],
)
def test_what_changes_no_finished_image_may_change(tmp_path, change):
    expect_same_settings(settings(tmp_path), tmp_path)
    expect_same_settings(settings(tmp_path, **change), tmp_path)


def test_other_settings_are_refused_by_name(tmp_path):
    expect_same_settings(settings(tmp_path), tmp_path)
    with pytest.raises(
        ValueError,
        match=r"holds a job of other settings \(GENERATION.FINE_TUNING.STEPS was 1000, is 5; "
        r"SEED was -1, is 4\); give another OUTPUT_DIR, repeat",
    ):
        expect_same_settings(settings(tmp_path, GENERATION__FINE_TUNING__STEPS=5, SEED=4), tmp_path)


def test_a_younger_key_had_its_default(tmp_path):
    cfg = settings(tmp_path)
    old = fixed_settings(cfg)
    del old["GENERATION.SAMPLING.RESIZE_MODE"]
    (tmp_path / "job.json").write_text(json.dumps(old))
    expect_same_settings(cfg, tmp_path)
    with pytest.raises(ValueError, match=r"SAMPLING.RESIZE_MODE was resize, is crop"):
        expect_same_settings(settings(tmp_path, GENERATION__SAMPLING__RESIZE_MODE="crop"), tmp_path)


def test_settings_are_written_once(settings_of, tmp_path, run_job):
    output = tmp_path / "job"
    run_job(settings_of(output, **{"IDENTITIES.LIMIT": 1}), stages=["list"])
    before = (output / "job.json").stat()
    run_job(settings_of(output, **{"IDENTITIES.LIMIT": 3}), stages=["list"])
    run_job(settings_of(output), stages=["list"])
    after = (output / "job.json").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


@pytest.mark.parametrize("has_links", [True, False])
def test_of_several_one_creates_a_file(tmp_path, monkeypatch, has_links):
    def link(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    if not has_links:
        monkeypatch.setattr(os, "link", link)
    with ThreadPoolExecutor(8) as threads:
        wrote = list(threads.map(lambda n: create_text(tmp_path / "a", f"{n}"), range(8)))
    assert sum(wrote) == 1
    assert (tmp_path / "a").read_text() == str(wrote.index(True))
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_damaged_file_is_named(tmp_path):
    for text in ('{"SEED": ', "[1]"):
        (tmp_path / "job.json").write_text(text)
        with pytest.raises(ValueError, match=r"job\.json: not JSON.* Restore it"):
            expect_same_settings(settings(tmp_path), tmp_path)


def test_what_is_lacking_is_said_before_anything_is_written(tmp_path):
    cfg = settings(tmp_path / "job", GENERATION__BASE_MODEL="/no/such")
    with (
        pytest.raises(ValueError, match=r"the job cannot begin:\n  - no folder at /no/such"),
        open_job(cfg),
    ):
        pass
    assert not (tmp_path / "job").exists()
