"""A job that gets more images later is one that asked for them at once."""

import json
import os
import shutil

import pytest

from fastreid_ext.diffusion.adapter_files import LORA
from fastreid_ext.generation.runs.layout import Layout
from fastreid_ext.generation.runs.stage import STAGES
from fastreid_ext.generation.stages import verify
from fastreid_ext.generation.stages.enough import next_number
from fastreid_ext.manifest import read_identity, read_set

pytestmark = pytest.mark.slow

MORE = {"SAMPLING.IMAGES_PER_IDENTITY": 5}
TWO = {"IDENTITIES.LIMIT": 2}


@pytest.fixture(scope="module")
def larger(settings_of, run_job, tmp_path_factory):
    """A job that asked for five images at once."""
    output = tmp_path_factory.mktemp("larger") / "job"
    run_job(settings_of(output, **MORE))
    return output


def test_growth_adds_what_is_missing(
    whole, larger, settings_of, run_job, contents, tmp_path, monkeypatch
):
    """No identity is fine-tuned again, and no image is generated a second time."""
    output = shutil.copytree(whole[0], tmp_path / "job")
    settings = (output / "job.json").read_bytes()
    kept = {path: path.stat().st_mtime_ns for path in output.glob("images/*/*.jpg")}
    adapters = {path: path.stat().st_mtime_ns for path in output.glob(f"adapters/*/{LORA}")}
    cfg = settings_of(output, **MORE)
    stops = []
    replace = os.replace
    left = [0]

    def stopping(source, target):
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", stopping)
    while True:
        left[0] = 3 * (len(stops) + 1)
        try:
            run_job(cfg)
            break
        except KeyboardInterrupt as error:
            stops.append(error)
    assert len(stops) > 2
    assert contents(output) == contents(larger)
    assert kept == {path: path.stat().st_mtime_ns for path in kept}
    assert adapters == {path: path.stat().st_mtime_ns for path in adapters}
    assert (output / "job.json").read_bytes() == settings
    assert verify.verify_job(cfg) == []
    assert not list((output / ".partial").iterdir())


def test_fewer_images_than_there_are_change_nothing(
    larger, settings_of, run_job, contents, tmp_path
):
    output = shutil.copytree(larger, tmp_path / "job")
    before = contents(output)
    assert run_job(settings_of(output)).generated == 4
    assert contents(output) == before
    problems = verify.verify_job(settings_of(output))
    assert len(problems) == 4
    assert problems[0].endswith("so set SAMPLING.IMAGES_PER_IDENTITY 5, as it was")
    few = verify.verify_job(settings_of(output, **{"SAMPLING.IMAGES_PER_IDENTITY": 6}))
    assert few[0] == "PersonFolder_0001: expected 6 rows, got 5; run the job again"


def test_without_adapters_growth_fine_tunes_again_and_says_so(
    larger, settings_of, run_job, contents, tmp_path, caplog
):
    output = tmp_path / "job"
    dropped = {"FINE_TUNING.KEEP_ADAPTERS": False}
    run_job(settings_of(output, **dropped), stages=STAGES[:5])
    assert [path.name for path in output.glob("adapters/*/*")] == ["training.json"] * 4
    assert verify.verify_job(settings_of(output))[:-1] == []  # no dataset.json yet, and that alone
    run_job(settings_of(output, **dropped, **MORE))
    assert "4 of them are fine-tuned again, e.g. PersonFolder_0001" in caplog.text
    found = contents(output)
    expected = contents(larger)
    assert found == {name: value for name, value in expected.items() if LORA not in name}


def test_an_image_that_failed_or_is_lost_counts(whole, tmp_path):
    layout = Layout(shutil.copytree(whole[0], tmp_path / "job"))
    name = "PersonFolder_0001"
    assert layout.has_images(name, 3)
    assert not layout.has_images(name, 4)
    (layout.images / name / f"{name}_0002.jpg").unlink()
    assert layout.has_images(name, 3)
    (layout.images / name / "failures.jsonl").write_text("{}\n")
    assert layout.has_images(name, 4)
    assert not layout.has_images("PersonFolder_0009", 1)


UNTIL = {
    "SAMPLING.IMAGES_PER_IDENTITY": 2,
    "SAMPLING.MIN_KEPT": 3,
    "SAMPLING.MAX_IMAGES_PER_IDENTITY": 7,
    "FILTER.DUPLICATES.MIN_DISTANCE": 26,
}


def test_images_are_generated_until_enough_pass(settings_of, run_job, contents, tmp_path):
    output = tmp_path / "job"
    cfg = settings_of(output, **UNTIL)
    run_job(cfg)
    rows = {name: read_identity(output / "images" / name) for name in sorted_names(output)}
    kept = {name: sum(row.image.status == "ok" for row in own) for name, own in rows.items()}
    counts = {name: len(own) for name, own in rows.items()}
    assert all(kept[name] >= 3 or counts[name] == 7 for name in rows), (kept, counts)
    assert len(set(counts.values())) > 1  # some needed more than others
    assert max(counts.values()) > 2
    assert read_set(output / "images")[0].counts["ok"] == sum(kept.values())
    assert verify.verify_job(cfg) == []

    before = contents(output)
    run_job(cfg)
    assert contents(output) == before
    together = tmp_path / "two"
    for shard in ("1/2", "0/2", "1/2", "0/2"):
        for stages in (STAGES[:1], STAGES[:2], STAGES[:3], STAGES):
            try:
                run_job(settings_of(together, **UNTIL), shard=shard, wait=0, stages=stages)
            except TimeoutError:
                break
    run_job(settings_of(together, **UNTIL), shard="1/2", wait=0)
    run_job(settings_of(together, **UNTIL), shard="0/2", wait=0)
    assert contents(together) == before


def sorted_names(output):
    return sorted(path.parent.name for path in output.glob("images/*/metadata.jsonl"))


@pytest.mark.parametrize(
    ("count", "kept", "expected"),
    [
        (150, 100, 0),  # enough
        (600, 10, 0),  # no more are allowed
        (150, 50, 300),  # a third passed
        (150, 90, 167),  # ceil(100 * 150 / 90)
        (150, 10, 300),  # never more than twice as many
        (150, 0, 300),
        (400, 80, 500),
        (450, 60, 600),
        (10, 0, 20),
        (1000, 99, 0),
    ],
)
def test_the_next_number_follows_from_what_passed(count, kept, expected):
    assert next_number(count, kept, 100, 600) == expected


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"SAMPLING.MAX_IMAGES_PER_IDENTITY": 1}, r"MAX_IMAGES_PER_IDENTITY is 1; raise it"),
        ({"FILTER.USE": []}, r"MIN_KEPT is 3, but GENERATION.FILTER.USE is empty"),
        ({"FILTER.MAX_PER_IDENTITY": 2}, r"MAX_PER_IDENTITY 2 keeps fewer; raise"),
        ({"FINE_TUNING.KEEP_ADAPTERS": False}, r"KEEP_ADAPTERS is False, so .* KEEP_ADAPTERS True"),
        ({"FINE_TUNING.METHOD": "full"}, r"set KEEP_FULL_WEIGHTS True"),
    ],
)
def test_what_contradicts_it_is_refused(settings_of, tmp_path, keys, message):
    with pytest.raises(ValueError, match=message):
        settings_of(tmp_path / "job", **(UNTIL | keys))


def test_the_number_of_images_is_no_fixed_setting(whole):
    settings = json.loads((whole[0] / "job.json").read_text())
    assert not any("IMAGES_PER_IDENTITY" in key or "MIN_KEPT" in key for key in settings)
