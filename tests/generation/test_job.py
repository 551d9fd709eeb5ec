"""A whole job on tiny real models: what comes out, and that it survives being killed."""

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import re
import shutil

import cv2
import numpy as np
import pytest
from PIL import Image

from fastreid_ext.config import load_config
from fastreid_ext.generation import job, job_check
from fastreid_ext.generation.adapter_files import LORA
from fastreid_ext.generation.identities import read_identities
from fastreid_ext.generation.job import STAGES
from fastreid_ext.generation.job_folder import open_job
from fastreid_ext.manifest import read_identity, read_set

PERSONS, IMAGES = 4, 3


def write_market(root, persons=PERSONS):
    """A Market-style folder of people who are one colour with some noise."""
    rng = np.random.default_rng(0)
    folder = root / "bounding_box_train"
    folder.mkdir(parents=True)
    for person in range(1, persons + 1):
        colour = rng.integers(30, 220, 3)
        for frame in range(IMAGES):
            image = np.clip(colour + rng.normal(0, 25, (128, 64, 3)), 0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / f"{person:04d}_c1s1_{frame:06d}_00.jpg"), image)
    for other in ("query", "bounding_box_test"):
        shutil.copytree(folder, root / other)


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    root = tmp_path_factory.mktemp("market")
    write_market(root)
    return root


@pytest.fixture(scope="module")
def models(tiny_pipeline_folder, tiny_clip_folder, tiny_blip_folder):
    return {
        "BASE_MODEL": tiny_pipeline_folder,
        "CAPTIONS.TEXT_MODEL": tiny_clip_folder,
        "CAPTIONS.CAPTIONER": tiny_blip_folder,
        "FILTER.CLIP.MODEL": tiny_clip_folder,
    }


@pytest.fixture(scope="module")
def settings_of(market, models):
    """Makes the configuration of a small job; keys below GENERATION."""
    people = market

    def make(output, market=people, **keys):
        small = {
            "DTYPE": "float32",
            "SIZE": [32, 16],
            "CAPTIONS.MAX_TOKENS": 8,
            "CAPTIONS.QUESTIONS": [""],
            "CAPTIONS.BEAMS": 1,
            "REFERENCE_SET.IMAGES": 3,
            "FINE_TUNING.STEPS": 2,
            "FINE_TUNING.IDENTITIES_AT_ONCE": 1,
            "SAMPLING.IMAGES_PER_IDENTITY": 3,
            "SAMPLING.STEPS": 2,
            "SAMPLING.BATCH_SIZE": 2,
            "SAMPLING.OUTPUT_SIZE": [64, 32],
            "FILTER.USE": ["duplicates"],
        }
        pairs = {f"GENERATION.{key}": value for key, value in (models | small | keys).items()}
        pairs |= {"MODEL.DEVICE": "cpu", "SEED": 0, "OUTPUT_DIR": output}
        pairs |= {"DATASETS.NAMES": ("PersonFolder",), "DATASETS.FOLDER": market}
        return load_config("", [str(part) for pair in pairs.items() for part in pair])

    return make


def run(cfg, **kwargs):
    with open_job(cfg, **{key: kwargs.pop(key) for key in ("shard", "wait") if key in kwargs}) as w:
        return generate(dataclasses.replace(w, **kwargs.pop("worker", {})), cfg, **kwargs)


def generate(worker, cfg, **kwargs):
    return job.generate(cfg, worker, lambda _: {}, **kwargs)


def contents(output):
    """What a job is for, as hashes; seconds, histories and locks differ between equal jobs."""
    kinds = ("*.jpg", "*.jsonl", "*.safetensors", "captions/*.json", "dataset.json", "README.md")
    found = {path for kind in kinds for path in output.rglob(kind)}
    return {
        str(path.relative_to(output)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(found)
    }


@pytest.fixture(scope="module")
def whole(settings_of, tmp_path_factory):
    """An uninterrupted job, and what it said."""
    output = tmp_path_factory.mktemp("whole") / "job"
    report = run(settings_of(output))
    return output, report


def test_everything_is_there(whole, settings_of):
    output, report = whole
    assert re.fullmatch(
        rf"4 of 4 identities drawn in {output}/images, \d+ of 12 images kept", str(report)
    )
    for name in (
        "identities.jsonl",
        "captions.jsonl",
        "job.json",
        "distribution.png",
        "preview.png",
        "images/README.md",
        "images/dataset.json",
        "filter/thresholds.json",
        "adapters/PersonFolder_0002/training.json",
    ):
        assert (output / name).stat().st_size > 0, name
    rows = read_set(output / "images")[1]
    assert len(rows) == 12
    assert {row.image.person_id for row in rows} == {1, 2, 3, 4}
    assert rows[0].image.prompt.startswith("a photo of sks person")
    with Image.open(rows[0].path) as image:
        assert image.size == (32, 64)
    assert job_check.verify_job(settings_of(output)) == []


def test_a_second_run_changes_nothing(whole, settings_of):
    output, report = whole
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*.jpg")}
    assert str(run(settings_of(output))) == str(report)
    assert before == {path: path.stat().st_mtime_ns for path in output.rglob("*.jpg")}


def test_a_job_stopped_at_any_file_ends_as_one_never_stopped(
    whole, settings_of, tmp_path, monkeypatch
):
    """Every file and folder gets its place by os.replace; runs are stopped at later and later.

    In turn the user stops them and the disk is full.
    """
    replace, left = os.replace, [0]
    cfg, stops = settings_of(tmp_path / "job"), []

    def stopping(source, target):
        left[0] -= 1
        if left[0] == 0:
            if len(stops) % 2:
                raise KeyboardInterrupt
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", stopping)
    while True:
        left[0] = (len(stops) + 1) ** 2
        try:
            run(cfg)
            break
        except (KeyboardInterrupt, OSError) as error:
            stops.append(str(error))
    assert len(stops) > 4
    assert all(re.search(r"the disk of .* is full \(.*\); make room", said) for said in stops[::2])
    assert contents(tmp_path / "job") == contents(whole[0])
    assert not (tmp_path / "job" / "failed").exists()
    assert job_check.verify_job(cfg) == []


def test_shards_together_do_what_one_does(whole, settings_of, tmp_path):
    cfg = settings_of(tmp_path / "job")
    with pytest.raises(TimeoutError, match=r"captions is not finished: 2 of 4 .* shards 1/2"):
        run(cfg, shard="0/2", wait=0)
    for stages in (("captions",), ("reference_sets",), ("persons",)):
        for shard in ("1/2", "0/2"):
            with contextlib.suppress(TimeoutError):
                run(cfg, shard=shard, wait=0, stages=stages)
    run(cfg, shard="1/2", wait=0, stages=("filter",))
    run(cfg, shard="0/2", wait=0)
    assert contents(tmp_path / "job") == contents(whole[0])


def test_stages_can_be_done_one_by_one_and_captions_be_corrected(settings_of, tmp_path):
    cfg = settings_of(tmp_path / "job")
    run(cfg, stages=["identities"])
    assert not (tmp_path / "job" / "captions.jsonl").exists()
    run(cfg, stages=["captions"])
    path = tmp_path / "job" / "captions.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[0]["caption"] = "a man in a red coat"
    rows[1]["caption"] = ""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = run(cfg)
    assert report.drawn == 3
    assert "caption of PersonFolder_0002 is empty" in report.failed["PersonFolder_0002"]
    drawn = read_identity(tmp_path / "job" / "images" / "PersonFolder_0001")
    assert drawn[0].image.prompt == "a photo of sks person, a man in a red coat"

    rows[0]["caption"] = "a woman in a blue coat"
    rows[1]["caption"] = "a woman in a dress"  # no --retry needed: the reason is gone
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    kept = tmp_path / "job" / "images" / "PersonFolder_0003" / "metadata.jsonl"
    before = kept.stat().st_mtime_ns
    with pytest.raises(FileNotFoundError, match=r"1 of 1 reference sets are missing, .* first"):
        run(cfg, stages=["persons"])
    assert run(cfg, stages=["reference_sets", "persons"]).drawn == 4
    drawn = read_identity(tmp_path / "job" / "images" / "PersonFolder_0001")
    assert "red coat" in drawn[0].image.prompt
    run(cfg, stages=["reference_sets", "persons"], redo_changed=True)
    drawn = read_identity(tmp_path / "job" / "images" / "PersonFolder_0001")
    assert "blue coat" in drawn[0].image.prompt
    assert kept.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("keys", "files"),
    [
        ({"PROMPT.TRAIN_TOKEN": True}, ["learned_embeds.safetensors", LORA, "training.json"]),
        ({"FINE_TUNING.METHOD": "full", "FINE_TUNING.TEXT_ENCODER": True}, ["training.json"]),
        (
            {"FINE_TUNING.METHOD": "full", "FINE_TUNING.KEEP_FULL_WEIGHTS": True},
            ["training.json", "unet"],
        ),
        ({"REFERENCE_SET.IMAGES": 0, "PROMPT.TOKEN": ""}, [LORA, "training.json"]),
    ],
)
def test_every_way_to_learn_draws(settings_of, tmp_path, keys, files):
    cfg = settings_of(tmp_path / "job", **{"IDENTITIES.LIMIT": 1}, **keys)
    report = run(cfg, stages=STAGES[:4])
    assert (report.drawn, report.failed) == (1, {})
    adapter = tmp_path / "job" / "adapters" / "PersonFolder_0001"
    assert sorted(path.name for path in adapter.iterdir()) == files
    assert (tmp_path / "job" / "reference_sets").exists() == ("REFERENCE_SET.IMAGES" not in keys)
    assert run(cfg, stages=STAGES[:4]).drawn == 1


def test_a_larger_limit_goes_on(settings_of, tmp_path):
    output = tmp_path / "job"
    first = run(settings_of(output, **{"IDENTITIES.LIMIT": 1}), stages=["captions"])
    assert first.identities == 1
    assert run(settings_of(output, **{"IDENTITIES.LIMIT": 3}), stages=["captions"]).identities == 3
    assert run(settings_of(output, **{"IDENTITIES.LIMIT": 2}), stages=["captions"]).identities == 2
    assert len(read_identities(output / "identities.jsonl")) == 3
    assert run(settings_of(output), stages=["captions"]).identities == 4


def test_a_photograph_that_breaks_later_fails_its_person_alone(market, settings_of, tmp_path):
    folder = tmp_path / "market"
    shutil.copytree(market, folder)
    cfg = settings_of(tmp_path / "job", market=folder)
    run(cfg, stages=["captions"])
    broken = folder / "bounding_box_train" / "0003_c1s1_000001_00.jpg"
    broken.write_bytes(broken.read_bytes()[:200])
    report = run(cfg, stages=["reference_sets", "persons"])
    assert report.drawn == 3
    assert broken.name in report.failed["PersonFolder_0003"]
    shutil.copy(market / "bounding_box_train" / broken.name, broken)
    assert run(cfg, stages=["persons"]).drawn == 3
    assert run(cfg, stages=["persons"], worker={"retry_failed": True}).drawn == 4


def test_verify_finds_what_is_wrong(whole, settings_of, tmp_path):
    output = tmp_path / "job"
    shutil.copytree(whole[0], output)
    (output / ".partial" / "images--PersonFolder_0009").mkdir()
    shutil.rmtree(output / "images" / "PersonFolder_0001")
    (output / "adapters" / "PersonFolder_0002" / "training.json").write_text("{")
    shutil.rmtree(output / "adapters" / "PersonFolder_0003")
    next((output / "images" / "PersonFolder_0004").glob("*.jpg")).unlink()
    found = "\n".join(job_check.verify_job(settings_of(output)))
    for text in (
        "PersonFolder_0001: neither drawn nor failed; run the job again",
        "images--PersonFolder_0009: left in",
        "PersonFolder_0002/training.json: not JSON",
        "PersonFolder_0003: drawn, but",
        "is missing",
        "dataset.json counts",
    ):
        assert text in found
    (output / "images" / "dataset.json").unlink()
    assert (
        "no dataset.json, the set is not finished" in job_check.verify_job(settings_of(output))[-1]
    )
