import dataclasses
import json

import cv2
import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from projects.DiffusionReID.miniature.fitting import Schedule
from projects.DiffusionReID.miniature.recipe import RECIPES, STAGES, Job, run_stages, with_steps
from projects.DiffusionReID.miniature.report import is_complete, write_report

COLOURS = {"red": (40, 40, 220), "blue": (220, 60, 40), "green": (60, 200, 60)}  # BGR


@pytest.fixture(scope="module")
def captions(tmp_path_factory):
    """Grey pictures with a coat in one of three colours."""
    folder = tmp_path_factory.mktemp("persons")
    rng = np.random.default_rng(0)
    rows = []
    for number in range(48):
        name = list(COLOURS)[number % 3]
        pixels = np.full((32, 16, 3), rng.integers(90, 160), np.uint8)
        pixels[8:24, 4:12] = COLOURS[name]
        file = folder / f"{number}.png"
        cv2.imwrite(str(file), pixels)
        text = f"a man with no hair wearing a {name} coat and {name} shoes, walking, side view"
        rows.append((file, text if number % 2 else text.replace("man", "woman")))
    return rows


@pytest.fixture(scope="module")
def job(captions, tmp_path_factory):
    schedule = Schedule(steps=30, batch_size=8, rate=2e-3, warm_up=5)
    recipe = dataclasses.replace(RECIPES["test"], schedules=dict.fromkeys(STAGES, schedule))
    job = Job(recipe=recipe, captions=captions, output=tmp_path_factory.mktemp("base"))
    assert run_stages(job) == list(STAGES)
    return job


@pytest.mark.parametrize("stage", STAGES)
def test_stage_lowers_its_loss(job, stage):
    losses = json.loads((job.output / "losses" / f"{stage}.json").read_text())
    assert len(losses) == 30
    assert np.mean(losses[-5:]) < np.mean(losses[:5])


def test_a_stage_that_is_there_is_skipped(job):
    assert run_stages(job) == []


def test_latents_have_unit_spread(job, captions):
    pipeline = StableDiffusionPipeline.from_pretrained(job.folder("denoiser"))
    assert pipeline.vae.config.scaling_factor != 0.18215


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_stages_on_a_gpu(job, tmp_path):
    onto = dataclasses.replace(job, output=tmp_path, device="cuda")
    assert run_stages(onto) == list(STAGES)
    assert 0 < write_report(onto)["rebuilt_error"] < 60


def test_report(job):
    assert is_complete(job)
    numbers = write_report(job)
    assert json.loads((job.output / "report.json").read_text()) == numbers
    assert 0 < numbers["rebuilt_error"] < 60
    assert all(0 <= numbers[key] <= 1 for key in ("found_real", "found_generated", "colours_told"))
    names = {file.name for file in (job.output / "pictures").iterdir()}
    assert names == {"rebuilt.png", "losses.png", "samples.png"}


def test_a_stage_says_what_it_lacks(job, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no .*autoencoder, which .*--stages autoencoder"):
        run_stages(dataclasses.replace(job, output=tmp_path), ["denoiser"])


def test_no_captions_are_refused(job):
    with pytest.raises(ValueError, match=r"expected captioned images, got none; render"):
        run_stages(dataclasses.replace(job, captions=[]))


def test_steps_of_a_stage_are_changed():
    recipe = with_steps(RECIPES["test"], {"clip": 7})
    assert recipe.schedules["clip"].steps == 7
    assert recipe.schedules["denoiser"] == RECIPES["test"].schedules["denoiser"]


@pytest.mark.parametrize("steps", [{"clap": 5}, {"clip": 0}])
def test_wrong_steps_are_refused(steps):
    with pytest.raises(ValueError, match=r"expected STAGE=STEPS with a stage of auto.*, got"):
        with_steps(RECIPES["test"], steps)
