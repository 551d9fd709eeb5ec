import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image

from fastreid_ext.diffusion.stable_diffusion import read_base
from fastreid_ext.generation.runs.seeds import seed_of
from fastreid_ext.generation.sampling.reference_set import (
    ReferenceSettings,
    is_reference_set,
    make_reference_set,
    read_reference_set,
)
from fastreid_ext.generation.sampling.sampler import NOT_FINITE, Drawing, SamplingSettings, draw

SETTINGS = ReferenceSettings(
    images=5,
    run_seed=3,
    sampling=SamplingSettings(
        size=(32, 16),
        scheduler="DDIMScheduler",
        steps=2,
        guidance=5.0,
        negative_prompt="",
        batch_size=4,
    ),
)
PROMPT = "a photo of person, a black coat"


def load(folder):
    return read_base(folder, name="tiny@0", device=torch.device("cpu"), dtype=torch.float32)


@pytest.fixture(scope="module")
def base(tiny_pipeline_folder):
    return load(tiny_pipeline_folder)


@pytest.fixture(scope="module")
def output(base, tmp_path_factory):
    output = tmp_path_factory.mktemp("job")
    make_reference_set(base, PROMPT, "c1", output, SETTINGS)
    return output


def test_has_the_images_with_rows_latents_and_a_grid(output):
    folder = output / "reference_sets" / "c1"
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    assert [row["file_name"] for row in rows] == [f"{n:04d}.jpg" for n in range(5)]
    assert [row["seed"] for row in rows] == [
        seed_of(3, "reference set", PROMPT, n) for n in range(5)
    ]
    images = [np.asarray(Image.open(folder / row["file_name"])) for row in rows]
    assert {image.shape for image in images} == {(32, 16, 3)}
    assert len({image.tobytes() for image in images}) == 5
    found = read_reference_set(folder)
    assert found.mean.shape == found.std.shape == (5, 4, 8, 4)
    assert found.mean.dtype == torch.float32
    assert Image.open(folder / "grid.png").size == (5 * 18, 34)
    assert not [*output.glob(".partial/*")]


def test_latents_are_those_of_the_images_as_drawn(base, output):
    requests = [
        Drawing(identity="", prompt=PROMPT, seed=seed_of(3, "reference set", PROMPT, n))
        for n in range(5)
    ]
    images = np.stack([drawn.pixels for drawn in draw(base, None, requests, SETTINGS.sampling)])
    mean, std = base.encode_posterior(torch.from_numpy(images).permute(0, 3, 1, 2))
    found = read_reference_set(output / "reference_sets" / "c1")
    assert torch.equal(found.mean, mean)
    assert torch.equal(found.std, std)


def test_is_made_once(base, output, monkeypatch):
    monkeypatch.setattr("fastreid_ext.generation.sampling.reference_set.draw", None)
    found = make_reference_set(base, PROMPT, "c1", output, SETTINGS)
    assert torch.equal(found.mean, read_reference_set(output / "reference_sets" / "c1").mean)
    # The batch size is no reason to draw again.
    sampling = dataclasses.replace(SETTINGS.sampling, batch_size=1)
    other = dataclasses.replace(SETTINGS, sampling=sampling)
    make_reference_set(base, PROMPT, "c1", output, other)


def test_refuses_one_made_otherwise(base, output):
    other = dataclasses.replace(SETTINGS, images=6)
    with pytest.raises(ValueError, match=r"images was 5, is 6\); remove it, or choose"):
        make_reference_set(base, PROMPT, "c1", output, other)
    with pytest.raises(ValueError, match=r"prompt was .*black coat, is a man\)"):
        make_reference_set(base, "a man", "c1", output, SETTINGS)
    renamed = dataclasses.replace(base, name="tiny@1")
    with pytest.raises(ValueError, match=r"model was tiny@0, is tiny@1\)"):
        make_reference_set(renamed, PROMPT, "c1", output, SETTINGS)


def test_nothing_is_left_of_one_that_was_interrupted(base, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fastreid_ext.generation.sampling.reference_set.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        make_reference_set(base, PROMPT, "c1", tmp_path, SETTINGS)
    assert not is_reference_set(tmp_path / "reference_sets" / "c1")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_fails_with_the_reason_if_nothing_can_be_drawn(tiny_pipeline_folder, tmp_path):
    broken = load(tiny_pipeline_folder)
    torch.nn.init.constant_(broken.unet.conv_out.bias, float("nan"))
    with pytest.raises(
        ValueError, match=r"none of the 5 images .* could be drawn by tiny@0"
    ) as got:
        make_reference_set(broken, PROMPT, "c1", tmp_path, SETTINGS)
    assert NOT_FINITE in str(got.value)
    assert not is_reference_set(tmp_path / "reference_sets" / "c1")


def test_says_that_there_is_none(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no reference set in .*persons.py reference"):
        read_reference_set(tmp_path)


@pytest.mark.parametrize("name", ["latents.safetensors", "settings.json"])
def test_a_damaged_file_is_named(base, tmp_path, name):
    folder = make_reference_set(base, PROMPT, "c1", tmp_path, SETTINGS).folder
    (folder / name).write_bytes((folder / name).read_bytes()[:-5])
    with pytest.raises(ValueError, match=rf"{name} is damaged .* remove {folder}, and it is drawn"):
        make_reference_set(base, PROMPT, "c1", tmp_path, SETTINGS)


def test_a_folder_of_something_else_is_not_overwritten(base, tmp_path):
    (tmp_path / "reference_sets" / "c1").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"has no settings.json, so it is no reference set"):
        make_reference_set(base, PROMPT, "c1", tmp_path, SETTINGS)
