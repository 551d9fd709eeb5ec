"""Files that fine-tuning leaves, and a group that survives one of its members."""

import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from fastreid_ext import atomic
from fastreid_ext.diffusion.adapter_files import LORA
from fastreid_ext.generation.fine_tuning import fine_tuned_files
from fastreid_ext.generation.fine_tuning.fine_tuned_files import fine_tuned_bytes
from fastreid_ext.generation.runs.disk import OutageError
from fastreid_ext.generation.runs.stage import STAGES

pytestmark = pytest.mark.slow

FULL = {"FINE_TUNING.METHOD": "full", "FINE_TUNING.TEXT_ENCODER": True, "IDENTITIES.LIMIT": 2}
TOGETHER = {"FINE_TUNING.IDENTITIES_AT_ONCE": 4}


def images_of(contents, output):
    return {name: value for name, value in contents(output).items() if name.startswith("images/")}


def test_whole_models_generate_from_memory(settings_of, run_job, contents, tmp_path, monkeypatch):
    """The images are those of a job that keeps the weights on the disk, row by row."""
    kept = tmp_path / "kept"
    run_job(settings_of(kept, **FULL, **{"FINE_TUNING.KEEP_FULL_WEIGHTS": True}), stages=STAGES[:5])
    assert len(list(kept.glob("adapters/*/*/*.safetensors"))) == 4

    def refused(*_, **__):
        raise AssertionError("weights reach the disk")

    monkeypatch.setattr(fine_tuned_files, "save_file", refused)
    output = tmp_path / "job"
    assert run_job(settings_of(output, **FULL), stages=STAGES[:5]).generated == 2
    assert images_of(contents, output) == images_of(contents, kept)


def test_weights_of_an_earlier_stage_generate_the_same(settings_of, run_job, contents, tmp_path):
    """Images generated later, from the files of fine-tuning, are those generated at once."""
    keep = {"FINE_TUNING.KEEP_FULL_WEIGHTS": True}
    output = tmp_path / "job"
    run_job(settings_of(output, **FULL, **keep), stages=STAGES[:5])
    before = images_of(contents, output)
    shutil.rmtree(output / "images")
    run_job(settings_of(output, **FULL), stages=STAGES[:5])
    assert images_of(contents, output) == before
    assert not list(output.glob("adapters/*/unet"))


@pytest.mark.parametrize(
    "keys",
    [
        {"FINE_TUNING.RANK": 2},
        {"FINE_TUNING.RANK": 8, "FINE_TUNING.ADAPTER_DTYPE": "bfloat16"},
        FULL | {"FINE_TUNING.KEEP_FULL_WEIGHTS": True},
    ],
)
def test_the_estimate_is_what_is_written(settings_of, run_job, tmp_path, keys):
    """But for the headers of the files."""
    cfg = settings_of(tmp_path / "job", **(keys | {"IDENTITIES.LIMIT": 1}))
    run_job(cfg, stages=STAGES[:5])
    files = list((tmp_path / "job" / "adapters").rglob("*.safetensors"))
    headers = sum(8 + int.from_bytes(path.read_bytes()[:8], "little") for path in files)
    assert sum(path.stat().st_size for path in files) - headers == fine_tuned_bytes(cfg)


def test_half_precision_halves_adapters_and_changes_no_image(settings_of, run_job, tmp_path):
    found = {}
    for dtype in ("float32", "bfloat16"):
        output = tmp_path / dtype
        keys = {"DTYPE": "bfloat16", "FINE_TUNING.ADAPTER_DTYPE": dtype, "IDENTITIES.LIMIT": 1}
        run_job(settings_of(output, **keys), stages=STAGES[:5])
        (adapter,) = output.glob(f"adapters/*/{LORA}")
        assert {str(value.dtype) for value in load_file(adapter).values()} == {f"torch.{dtype}"}
        found[dtype] = [path.read_bytes() for path in sorted(output.glob("images/*/*.jpg"))]
    assert len(found["float32"]) == 3
    assert found["float32"] == found["bfloat16"]


def test_one_bad_image_leaves_its_group_together(
    market, settings_of, run_job, contents, tmp_path, groups
):
    """The others are fine-tuned in one batch, and are what they are beside a good one."""
    people = shutil.copytree(market, tmp_path / "market")
    good = tmp_path / "good"
    bad = tmp_path / "bad"
    run_job(settings_of(good, **TOGETHER), stages=STAGES[:5])
    run_job(settings_of(bad, market=people, **TOGETHER), stages=STAGES[:3])
    broken = people / "bounding_box_train" / "0002_c1s1_000001_00.jpg"
    broken.write_bytes(broken.read_bytes()[:200])
    groups.clear()
    report = run_job(settings_of(bad, market=people, **TOGETHER), stages=["fine-tune", "sample"])
    assert [len(group) for group in groups] == [4]  # never tried one by one
    assert list(report.failed) == ["PersonFolder_0002"]
    for name in ("PersonFolder_0001", "PersonFolder_0003", "PersonFolder_0004"):
        adapters = [load_file(output / "adapters" / name / LORA) for output in (good, bad)]
        for key, value in adapters[0].items():
            torch.testing.assert_close(adapters[1][key], value, rtol=1e-3, atol=1e-5)
    shutil.copy(market / "bounding_box_train" / broken.name, broken)
    again = settings_of(bad, market=people, **TOGETHER)
    report = run_job(again, stages=["fine-tune", "sample"], worker={"retries": ["sample"]})
    assert report.generated == 4


def test_a_write_error_generates_nothing_again(settings_of, run_job, tmp_path, monkeypatch):
    output = tmp_path / "job"
    cfg = settings_of(output, **TOGETHER)
    write = Path.write_bytes

    def failing(path, data):
        if path.name == "PersonFolder_0003_0001.jpg":
            raise OSError(5, "Input/output error")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", failing)
    with pytest.raises(OutageError, match=r"stage sample stopped at a file .* Input/output error"):
        run_job(cfg)
    kept = {path: path.stat().st_mtime_ns for path in output.glob("images/*/*.jpg")}
    assert len(kept) == 6
    monkeypatch.setattr(Path, "write_bytes", write)
    assert run_job(cfg).generated == 4
    assert kept == {path: path.stat().st_mtime_ns for path in kept}


def test_a_folder_costs_one_sync(settings_of, run_job, tmp_path, monkeypatch):
    """Its files are brought to the disk together, then its place in the parent."""
    cfg = settings_of(tmp_path / "job", **{"SAMPLING.IMAGES_PER_IDENTITY": 12})
    run_job(cfg, stages=STAGES[:3])
    fsync = os.fsync
    sync = atomic._sync_file_system
    calls = []
    monkeypatch.setattr(os, "fsync", lambda handle: calls.append("fsync") or fsync(handle))
    monkeypatch.setattr(atomic, "_sync_file_system", lambda f: calls.append("sync") or sync(f))
    run_job(cfg, stages=["fine-tune", "sample"])
    # Two folders of each of four identities: weights and images.
    assert (calls.count("sync"), calls.count("fsync")) == (8, 8)
