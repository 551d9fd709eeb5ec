"""A whole job on tiny real models: what comes out."""

import functools
import json
import re
import shutil

import pytest
import torch
from fastreid.config import get_cfg
from PIL import Image
from safetensors.torch import load_file, save_file

from fastreid_ext.diffusion.adapter_files import LORA
from fastreid_ext.generation.captions.prompts import Prompts
from fastreid_ext.generation.runs import progress, stage
from fastreid_ext.generation.runs.layout import Layout
from fastreid_ext.generation.runs.stage import STAGES
from fastreid_ext.generation.runs.workers import Worker
from fastreid_ext.generation.sampling.reference_set import is_reference_set
from fastreid_ext.generation.stages import verify
from fastreid_ext.generation.stages.fine_tune_and_sample import remove_changed
from fastreid_ext.generation.stages.job import Job
from fastreid_ext.generation.stages.report import report_of
from fastreid_ext.manifest import read_identity, read_set


def test_everything_is_there(whole, settings_of):
    output, report = whole
    assert re.fullmatch(
        rf"4 of 4 identities generated in {output}/images, \d+ of 12 images kept", str(report)
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
    assert verify.verify_job(settings_of(output)) == []


@pytest.mark.slow
def test_stages_can_be_done_one_by_one_and_captions_be_corrected(settings_of, tmp_path, run_job):
    cfg = settings_of(tmp_path / "job")
    run_job(cfg, stages=["list"])
    assert not (tmp_path / "job" / "captions.jsonl").exists()
    run_job(cfg, stages=["caption"])
    path = tmp_path / "job" / "captions.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[0]["caption"] = "a man in a red coat"
    rows[1]["caption"] = ""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = run_job(cfg)
    assert report.generated == 3
    assert "caption of PersonFolder_0002 is empty" in report.failed["PersonFolder_0002"]
    generated = read_identity(tmp_path / "job" / "images" / "PersonFolder_0001")
    assert generated[0].image.prompt == "a photo of sks person, a man in a red coat"

    rows[0]["caption"] = "a woman in a blue coat"
    rows[1]["caption"] = "a woman in a dress"  # no --retry needed: the reason is gone
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    kept = tmp_path / "job" / "images" / "PersonFolder_0003" / "metadata.jsonl"
    before = kept.stat().st_mtime_ns
    with pytest.raises(FileNotFoundError, match=r"1 of 1 reference sets are missing, .* first"):
        run_job(cfg, stages=["fine-tune", "sample"])
    assert run_job(cfg, stages=["reference", "fine-tune", "sample"]).generated == 4
    generated = read_identity(tmp_path / "job" / "images" / "PersonFolder_0001")
    assert "red coat" in generated[0].image.prompt
    run_job(cfg, stages=["reference", "fine-tune", "sample"], redo_changed=True)
    generated = read_identity(tmp_path / "job" / "images" / "PersonFolder_0001")
    assert "blue coat" in generated[0].image.prompt
    assert kept.stat().st_mtime_ns == before


def test_a_run_killed_while_it_removes_what_changed_is_continued(tmp_path, monkeypatch):
    layout = Layout(tmp_path)
    job = Job(get_cfg(), Worker(output=tmp_path))
    generated = layout.images / "A_0001"
    learned = layout.adapter("A_0001")
    for file in (generated / "metadata.jsonl", learned / "training.json"):
        file.parent.mkdir(parents=True)
        file.write_text('{"prompt": "a photo of sks person, a red coat"}\n')
    prompts = Prompts("a photo of sks person, a blue coat", "a photo of person")
    vars(job)["prompts"] = {"A_0001": prompts}  # as if they had been read
    remove = shutil.rmtree
    removed = []

    def killed(folder, **kwargs):
        if removed:
            raise KeyboardInterrupt
        removed.append(folder)
        remove(folder, **kwargs)

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        remove_changed(job, redo=True)
    monkeypatch.setattr(shutil, "rmtree", remove)
    assert remove_changed(job, redo=True) == 1
    assert not generated.exists()
    assert not learned.exists()
    assert remove_changed(job, redo=True) == 0


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
def test_every_method_of_fine_tuning_generates_images(settings_of, tmp_path, keys, files, run_job):
    cfg = settings_of(tmp_path / "job", **{"IDENTITIES.LIMIT": 1}, **keys)
    report = run_job(cfg, stages=STAGES[:5])
    assert (report.generated, report.failed) == (1, {})
    adapter = tmp_path / "job" / "adapters" / "PersonFolder_0001"
    assert sorted(path.name for path in adapter.iterdir()) == files
    assert (tmp_path / "job" / "reference_sets").exists() == ("REFERENCE_SET.IMAGES" not in keys)
    assert run_job(cfg, stages=STAGES[:5]).generated == 1


@pytest.mark.slow
def test_a_photograph_that_breaks_later_fails_its_person_alone(
    market, settings_of, tmp_path, run_job
):
    folder = tmp_path / "market"
    shutil.copytree(market, folder)
    cfg = settings_of(tmp_path / "job", market=folder)
    run_job(cfg, stages=["caption"])
    broken = folder / "bounding_box_train" / "0003_c1s1_000001_00.jpg"
    broken.write_bytes(broken.read_bytes()[:200])
    report = run_job(cfg, stages=["reference", "fine-tune", "sample"])
    assert report.generated == 3
    assert broken.name in report.failed["PersonFolder_0003"]
    shutil.copy(market / "bounding_box_train" / broken.name, broken)
    assert run_job(cfg, stages=["fine-tune", "sample"]).generated == 3
    report = run_job(cfg, stages=["fine-tune", "sample"], worker={"retries": ["sample"]})
    assert report.generated == 4


def test_a_corrected_caption_has_its_reference_set_before_anybody_is_generated_again(
    whole, settings_of, tmp_path, run_job
):
    """Its worker must not take an image by the old caption, which another one removes, for new."""
    layout = Layout(shutil.copytree(whole[0], tmp_path / "job"))
    rows = [json.loads(line) for line in layout.captions.read_text().splitlines()]
    rows[1]["caption"] = "a man in a red coat"
    layout.captions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run_job(settings_of(layout.output), stages=["reference"])
    cluster = json.loads(layout.clusters.read_text())["clusters"]["PersonFolder_0002"]
    assert is_reference_set(layout.reference_set(cluster))
    settings = json.loads((layout.reference_set(cluster) / "settings.json").read_text())
    assert settings["prompt"] == "a photo of person, a man in a red coat"


@pytest.mark.slow
def test_workers_wait_for_each_others_second_tries(market, settings_of, tmp_path, run_job):
    folder = shutil.copytree(market, tmp_path / "market")
    broken = folder / "bounding_box_train" / "0002_c1s1_000001_00.jpg"
    cfg = settings_of(tmp_path / "job", market=folder)
    run_job(cfg, stages=["caption"])
    broken.write_bytes(b"")
    assert run_job(cfg, stages=["reference", "fine-tune", "sample"]).generated == 3
    shutil.copy(market / "bounding_box_train" / broken.name, broken)
    again = {"retries": STAGES}
    with pytest.raises(TimeoutError, match=r"stage sample is not finished: 1 of 4 .* shards 1/2"):
        run_job(cfg, shard="0/2", wait=0, worker=again)
    assert run_job(cfg, shard="1/2", wait=0, worker=again).generated == 4
    report = run_job(cfg, shard="0/2", wait=0, worker=again)
    assert (report.generated, report.failed) == (4, {})
    assert verify.verify_job(cfg) == []


def test_a_reference_set_that_cannot_be_generated_is_the_reason_of_its_persons(
    whole, settings_of, tmp_path, run_job
):
    layout = Layout(shutil.copytree(whole[0], tmp_path / "job"))
    clusters = json.loads(layout.clusters.read_text())["clusters"]
    (lost, *_) = sorted(set(clusters.values()))
    worker = Worker(output=layout.output)
    shutil.rmtree(layout.reference_set(lost))
    stage.settle(worker, "reference", lost, "ValueError: NaN everywhere")
    persons = [name for name in clusters if clusters[name] == lost]
    for name in persons:
        shutil.rmtree(layout.images / name)
    cfg = settings_of(layout.output)
    report = run_job(cfg, stages=["fine-tune", "sample"])
    words = f"its reference set {lost} could not be generated: ValueError: NaN everywhere"
    assert report.failed == dict.fromkeys(persons, words)
    assert report_of(cfg) == report


def test_whole_weights_that_a_killed_run_left_are_removed(settings_of, tmp_path, run_job):
    keys = {"FINE_TUNING.METHOD": "full", "IDENTITIES.LIMIT": 1}
    cfg = settings_of(tmp_path / "job", **keys)
    run_job(cfg, stages=STAGES[:5])
    left = tmp_path / "job" / "adapters" / "PersonFolder_0001" / "unet"
    left.mkdir()
    assert run_job(cfg, stages=STAGES[:5]).generated == 1
    assert not left.exists()


def test_adapters_and_reference_sets_are_of_one_base_model(whole, settings_of, tmp_path, run_job):
    layout = Layout(shutil.copytree(whole[0], tmp_path / "job"))
    for folder in (layout.images, layout.output / "adapters"):
        shutil.rmtree(folder / "PersonFolder_0001")
    for settings in layout.clusters.parent.glob("*/settings.json"):
        settings.write_text(json.dumps(json.loads(settings.read_text()) | {"model": "other@1"}))
    report = run_job(settings_of(layout.output), stages=["fine-tune", "sample"])
    assert "generated by other@1, the base model is" in report.failed["PersonFolder_0001"]


def test_whole_models_are_sampled_one_by_one(settings_of, tmp_path, run_job, groups):
    """Eight at a time, their weights alone would need 30 GB of the disk."""
    keys = {"FINE_TUNING.METHOD": "full"}
    run_job(settings_of(tmp_path / "job", **keys), stages=STAGES[:5])
    assert [len(group) for group in groups] == [1, 1, 1, 1]


def test_progress_is_told_within_a_group(settings_of, tmp_path, run_job, capsys, monkeypatch):
    monkeypatch.setattr(progress, "tqdm", functools.partial(progress.tqdm, mininterval=0))
    run_job(settings_of(tmp_path / "job", **{"IDENTITIES.LIMIT": 2}), stages=STAGES[:5])
    said = capsys.readouterr().err
    for words in (
        r"sample: 100%.* 2/2 ",
        r"  fine-tuning: 100%.* 2/2 .*loss \d",
        r"  sampling: .* 3/3 ",
    ):
        assert re.search(words, said), words


@pytest.mark.slow
def test_a_photograph_that_is_gone_does_not_stop_a_finished_job(
    market, settings_of, tmp_path, run_job
):
    folder = shutil.copytree(market, tmp_path / "market")
    cfg = settings_of(tmp_path / "job", market=folder)
    run_job(cfg)
    (folder / "bounding_box_train" / "0003_c1s1_000001_00.jpg").unlink()
    assert run_job(cfg).generated == 4


def test_verify_finds_what_is_wrong(whole, settings_of, tmp_path):
    output = tmp_path / "job"
    shutil.copytree(whole[0], output)
    (output / ".partial" / "images--PersonFolder_0009").mkdir()
    shutil.rmtree(output / "images" / "PersonFolder_0001")
    (output / "adapters" / "PersonFolder_0002" / "training.json").write_text("{")
    shutil.rmtree(output / "adapters" / "PersonFolder_0003")
    next((output / "images" / "PersonFolder_0004").glob("*.jpg")).unlink()
    weights = output / "adapters" / "PersonFolder_0004" / LORA
    weights.write_bytes(weights.read_bytes()[:-1])
    found = "\n".join(verify.verify_job(settings_of(output)))
    for text in (
        "PersonFolder_0001: neither generated nor failed; run the job again",
        "images--PersonFolder_0009: left in",
        "PersonFolder_0002/training.json: not JSON",
        "PersonFolder_0003: generated, but",
        "is missing",
        "PersonFolder_0004/pytorch_lora_weights.safetensors: no complete safetensors file",
        "dataset.json counts",
    ):
        assert text in found
    (output / "images" / "dataset.json").unlink()
    assert "no dataset.json, the set is not finished" in verify.verify_job(settings_of(output))[-1]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("reference_sets/clusters.json", r"clusters\.json is damaged .* remove it, and it is made"),
        (
            "images/PersonFolder_0001/metadata.jsonl",
            r"metadata\.jsonl:1 is damaged .* generated ag",
        ),
        ("adapters/PersonFolder_0001/training.json", r"training\.json is damaged .* trained again"),
    ],
)
def test_damaged_files_say_what_to_remove(whole, settings_of, tmp_path, run_job, name, message):
    output = tmp_path / "job"
    shutil.copytree(whole[0], output)
    if name.startswith("adapters"):
        shutil.rmtree(output / "images" / "PersonFolder_0001")
    (output / name).write_text('{"a": ')
    with pytest.raises(ValueError, match=message):
        run_job(settings_of(output))


def test_a_caption_that_cannot_be_used_is_said_of_who_was_generated_before(
    whole, settings_of, tmp_path, run_job, caplog
):
    output = tmp_path / "job"
    shutil.copytree(whole[0], output)
    rows = [json.loads(line) for line in (output / "captions.jsonl").read_text().splitlines()]
    rows[1]["caption"] = "a man in a red coat, " * 40
    (output / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run_job(settings_of(output), redo_changed=True).generated == 4
    assert "PersonFolder_0002: expected a prompt of at most 77 tokens" in caplog.text


def test_a_model_that_generates_nothing_is_the_last_thing_said(
    settings_of, tiny_pipeline_folder, tmp_path, run_job
):
    broken = shutil.copytree(tiny_pipeline_folder, tmp_path / "broken")
    weights = next((broken / "unet").glob("*.safetensors"))
    state = {name: torch.full_like(value, torch.nan) for name, value in load_file(weights).items()}
    save_file(state, weights, {"format": "pt"})
    cfg = settings_of(tmp_path / "job", **{"BASE_MODEL": broken, "REFERENCE_SET.IMAGES": 0})
    with pytest.raises(ValueError, match=r"0 of 4 identities generated .* failed, e\.g\. .*finite"):
        run_job(cfg)


def test_a_single_worker_does_not_wait_for_images_of_others(settings_of, tmp_path, run_job):
    with pytest.raises(
        FileNotFoundError, match=r"4 of 4 identities are not generated.*sample first"
    ):
        run_job(settings_of(tmp_path / "job"), stages=["filter"])


def test_a_lost_generated_image_does_not_stop_the_job(whole, settings_of, tmp_path, run_job):
    output = tmp_path / "job"
    shutil.copytree(whole[0], output)
    next((output / "images" / "PersonFolder_0004").glob("*.jpg")).unlink()
    assert run_job(settings_of(output)).generated == 4
    assert "is missing" in "\n".join(verify.verify_job(settings_of(output)))
