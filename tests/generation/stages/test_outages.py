"""Files that cannot be reached stop a job; damaged files and failing identities are told apart."""

import contextlib
import json
import os
import shutil

import numpy as np
import pytest

from fastreid_ext.data.decode import read_pixels
from fastreid_ext.generation.filters.source_file import compute_source
from fastreid_ext.generation.identities.identity_list import Identity, left_out
from fastreid_ext.generation.runs.disk import OutageError, expect_writable_folders, is_outage
from fastreid_ext.generation.runs.layout import Layout
from fastreid_ext.generation.runs.stage import STAGES, failures, run_stage
from fastreid_ext.generation.runs.workers import Worker
from fastreid_ext.generation.stages import verify
from fastreid_ext.generation.stages.command import FAILED, end

pytestmark = pytest.mark.slow

EIO = "/proc/self/mem"  # a file that opens, and whose reading is an input/output error


def hide(path):
    hidden = path.parents[2] / "hidden" / path.name
    hidden.parent.mkdir(exist_ok=True)
    path.rename(hidden)


def moved(folder):
    folder.rename(folder.with_name("elsewhere"))


def dangling(folder):
    """Two images of one person are links to a disk that is gone."""
    for path in sorted(folder.glob("0002_*"))[:2]:
        hide(path)
        path.symlink_to(f"/gone/{path.name}")


def input_output_error(folder):
    path = min(folder.glob("0003_*"))
    hide(path)
    path.symlink_to(EIO)


def back(folder):
    if not folder.exists():
        folder.with_name("elsewhere").rename(folder)
    for hidden in folder.parents[1].glob("hidden/*"):
        hidden.replace(folder / hidden.name)


@pytest.fixture
def people(market, tmp_path):
    return shutil.copytree(market, tmp_path / "market")


@pytest.mark.parametrize("outage", [moved, dangling, input_output_error])
@pytest.mark.parametrize("stage", ["caption", "fine-tune"])
def test_an_outage_stops_the_job_and_blames_nobody(
    whole, people, settings_of, tmp_path, run_job, contents, outage, stage
):
    """When the files are back, the same command does exactly what is missing."""
    output = tmp_path / "job"
    cfg = settings_of(output, market=people)
    run_job(cfg, stages=STAGES[: STAGES.index(stage)])
    outage(people / "bounding_box_train")
    with pytest.raises(OutageError, match=r"cannot be reached: .*no identity is counted as failed"):
        run_job(cfg)
    assert failures(output, stage) == {}
    assert not (output / "images" / "dataset.json").exists()
    kept = {path: path.stat().st_mtime_ns for path in output.glob("images/*/*.jpg")}
    back(people / "bounding_box_train")
    report = run_job(cfg)
    assert (report.generated, report.failed) == (4, {})
    # dataset.json has a hash of the settings, of which the folder of the data set is one.
    same = {name for name in contents(output) if name != "images/dataset.json"}
    expected = contents(whole[0])
    assert {name: contents(output)[name] for name in same} == {n: expected[n] for n in same}
    assert kept == {path: path.stat().st_mtime_ns for path in kept}
    assert verify.verify_job(cfg) == []


def test_an_outage_while_identities_are_listed_leaves_nobody_out(
    people, settings_of, tmp_path, run_job
):
    input_output_error(people / "bounding_box_train")
    cfg = settings_of(tmp_path / "job", market=people)
    with pytest.raises(OutageError, match=r"Input/output error.* continues where it stopped"):
        run_job(cfg, stages=["list"])
    assert not (tmp_path / "job" / "identities.jsonl").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission_is_an_outage(people):
    path = next((people / "bounding_box_train").glob("*.jpg"))
    path.chmod(0)
    with pytest.raises(OSError, match="Permission denied") as found:
        read_pixels(path)
    assert is_outage(found.value)


def test_damage_is_no_outage(people):
    path = next((people / "bounding_box_train").glob("*.jpg"))
    for data in (path.read_bytes()[:300], b"", b"no image"):
        path.write_bytes(data)
        with pytest.raises(OSError, match="cannot read image") as found:
            read_pixels(path)
        assert not is_outage(found.value)
    assert not is_outage(FileNotFoundError("expected an adapter, got none"))
    assert is_outage(ValueError("no file (os error 5)"))


def test_photographs_out_of_reach_are_not_left_out_of_the_thresholds(people):
    folder = people / "bounding_box_train"
    photographs = [(("A", int(path.name[:4])), path) for path in sorted(folder.glob("*.jpg"))]

    def features(images):
        return np.stack([image.mean(axis=(0, 1)) for image in images]).astype(np.float32)

    photographs[0][1].write_bytes(b"damaged")  # which is left out, with a warning
    assert compute_source(features, photographs, "a").similarities.size == 11
    dangling(folder)
    with pytest.raises(OSError, match=r"0002_c1s1_000000_00\.jpg: .* No such file"):
        compute_source(features, photographs, "a")


def test_many_failures_leave_no_set(people, settings_of, tmp_path, run_job):
    output = tmp_path / "job"
    cfg = settings_of(output, market=people)
    run_job(cfg, stages=STAGES[:2])
    for person in (2, 3):
        for path in (people / "bounding_box_train").glob(f"{person:04d}_*"):
            path.write_bytes(b"damaged")
    with pytest.raises(
        ValueError,
        match=r"2 of 4 identities failed, more than the share GENERATION.MAX_FAILED 0\.3, so "
        r"\S+dataset\.json is not written; .* --retry failed",
    ):
        run_job(cfg)
    assert not (output / "images" / "dataset.json").exists()
    report = run_job(settings_of(output, market=people, MAX_FAILED=0.5))
    assert sorted(report.failed) == ["PersonFolder_0002", "PersonFolder_0003"]
    assert (output / "images" / "dataset.json").exists()
    (problem,) = verify.verify_job(cfg)
    assert problem.startswith("PersonFolder_0002, PersonFolder_0003: failed in the stage sample, ")
    assert problem.endswith("--retry failed")


def test_failures_are_the_exit_code_of_the_first_process(capsys, monkeypatch):
    end("all done", {})
    with pytest.raises(SystemExit) as found:
        end("one failed", {"A_0001": "damaged"})
    assert found.value.code == FAILED == 3
    for name, value in {"RANK": "1", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    end("one failed", {"A_0001": "damaged"})  # torchrun would end the others
    assert capsys.readouterr().out.splitlines() == ["all done", *["one failed"] * 2]


def alike(output, reasons, **kwargs):
    """A stage that fails by ``reasons``; returns the identities that were tried."""
    tried = []

    def work(group):
        tried.extend(group)
        return {name: reasons[name] for name in group if reasons[name]}

    output.mkdir(exist_ok=True)
    worker = Worker(output=output, **kwargs)
    with contextlib.suppress(ValueError):
        run_stage(list(reasons), lambda: work, lambda _: False, stage="sample", worker=worker)
    return tried


def test_alike_failures_in_a_row_stop_a_stage_after_successes_too(tmp_path):
    names = [f"Set_{person:04d}" for person in range(30)]
    reasons = {
        name: f"OSError: /data/{name}_c1.jpg is cut after {n}" for n, name in enumerate(names)
    }
    assert len(alike(tmp_path / "a", reasons | dict.fromkeys(names[:5], ""))) == 15
    assert len(alike(tmp_path / "b", reasons | dict.fromkeys(names[::7], ""))) == 30
    kinds = {name: f"reason {'abc'[n % 3]}" for n, name in enumerate(names)}
    assert len(alike(tmp_path / "c", kinds)) == 28  # the tenth of one kind

    # An identity that fails again in the same way is no news, and must not hide another one.
    assert len(alike(tmp_path / "d", reasons)) == 10
    assert len(alike(tmp_path / "d", reasons, retries=["sample"])) == 20


def test_who_is_left_out_is_said_with_the_reason(people, settings_of, tmp_path, run_job, caplog):
    for path in sorted((people / "bounding_box_train").glob("0004_*"))[:2]:
        path.write_bytes(b"")
    cfg = settings_of(tmp_path / "job", market=people)
    for _ in range(2):  # when they are listed, and when they are read
        caplog.clear()
        assert run_job(cfg, stages=["list"]).identities == 3
        assert "1 of 4 identities are left out (all in " in caplog.text
        assert "1, e.g. PersonFolder_0004: 1 usable images, expected 2 (MIN_IMAGES)" in caplog.text


def test_reasons_to_be_left_out_are_grouped():
    def identity(number, reason):
        return Identity(
            name=f"A_{number:04d}", source_dataset="A", person_id=number, images=(), reason=reason
        )

    few = [identity(n, f"{n} usable images, expected 2 (MIN_IMAGES); 1 unusable") for n in (0, 1)]
    groups = left_out([identity(7, "no camera"), *few, identity(9, "")])
    assert [len(texts) for texts in groups.values()] == [2, 1]
    assert next(iter(groups)) == "0 usable images, expected 0 (MIN_IMAGES)"


@pytest.mark.parametrize("name", ["images", "captions", "adapters", "failed", ".partial"])
def test_a_folder_that_cannot_be_written_to_is_found_first(whole, settings_of, tmp_path, name):
    output = shutil.copytree(whole[0], tmp_path / "job")
    shutil.rmtree(output / name, ignore_errors=True)
    (output / name).symlink_to("/gone/disk")
    with pytest.raises(OutageError, match=rf"expected a folder to write to at \S+/{name}, got Fil"):
        expect_writable_folders(output, Layout(output).folders)
    (output / name).unlink()
    (output / name).write_text("")
    with pytest.raises(OutageError, match=r"got NotADirectoryError \(Not a directory\); correct"):
        expect_writable_folders(output, Layout(output).folders)


def test_an_output_that_cannot_be_made_is_said_before_any_model_works(
    settings_of, run_job, tmp_path
):
    (tmp_path / "file").write_text("")
    for output in ("/proc/job", tmp_path / "file" / "job", tmp_path / "file"):
        with pytest.raises(OutageError, match=r"OUTPUT_DIR \S+ to be a folder .* choose another"):
            run_job(settings_of(output))


def test_probing_leaves_nothing(whole, tmp_path):
    output = shutil.copytree(whole[0], tmp_path / "job")
    before = sorted(output.rglob("*"))
    expect_writable_folders(output, Layout(output).folders)
    assert sorted(output.rglob("*")) == before
    assert json.loads((output / "job.json").read_text())
