import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fastreid_ext.generation.fine_tuning.lora_bank import LoraBank
from fastreid_ext.generation.identities.identity_list import Identity, SourceImage
from fastreid_ext.generation.runs.layout import Layout
from fastreid_ext.generation.runs.seeds import seed_of
from fastreid_ext.generation.sampling.identity_images import (
    IdentityImagesSettings,
    SamplingTask,
    sample_identities,
)
from fastreid_ext.generation.sampling.image_files import FileSettings, resize_image
from fastreid_ext.generation.sampling.sampler import (
    NOT_FINITE,
    ImageRequest,
    sample_images,
)
from fastreid_ext.manifest import GeneratedSet, read_identity, verify_set, write_set

from ...tiny_sampling import tiny_sampling

SAMPLING = tiny_sampling()
SETTINGS = IdentityImagesSettings(
    images=3, run_seed=5, sampling=SAMPLING, files=FileSettings(size=(16, 8), format="png")
)


@pytest.fixture(scope="module")
def bank(base):
    bank = LoraBank(base.unet, count=3, rank=2, alpha=2, target_modules=["to_q", "to_v"])
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        bank.weights.copy_(0.3 * torch.randn(bank.weights.shape, generator=generator))
    yield bank
    bank.remove()


def task_of(number, **changes):
    identity = Identity(
        name=f"Market1501_{number:04d}",
        source_dataset="Market1501",
        person_id=number,
        images=(
            SourceImage(path=f"train/{number:04d}_c3s1_000001_01.jpg", camera=2, frame=1),
            SourceImage(path=f"train/{number:04d}_c3s1_000026_01.jpg", camera=2, frame=26),
        ),
    )
    task = SamplingTask(
        identity=identity,
        prompts=(f"a photo of a person, {'black' if number % 2 else 'blue'} coat",),
        adapter=number,
        model_id=f"adapters/{identity.name}@0123456789ab",
    )
    return dataclasses.replace(task, **changes)


TASKS = [task_of(n) for n in range(3)]


@pytest.fixture(scope="module")
def layout(base, bank, tmp_path_factory):
    layout = Layout(tmp_path_factory.mktemp("job"))
    assert sample_identities(base, bank, TASKS, layout, SETTINGS) == {}
    return layout


def test_sample_identities_writes_a_generated_set(layout):
    write_set(layout.images, GeneratedSet(generator="test", counts={"ok": 9}))
    assert verify_set(layout.images) == []
    assert sorted(path.name for path in layout.images.iterdir() if path.is_dir()) == [
        "Market1501_0000",
        "Market1501_0001",
        "Market1501_0002",
    ]
    assert not [*layout.output.glob(".partial/*")]


def test_rows_record_seed_models_prompt_and_sources(layout):
    rows = [row.image for row in read_identity(layout.images / "Market1501_0002")]
    assert [row.file_name for row in rows] == [f"Market1501_0002_000{n}.png" for n in range(3)]
    assert [row.seed for row in rows] == [
        seed_of(5, "draw", "Market1501_0002", n) for n in range(3)
    ]
    first = rows[0]
    assert (first.source_dataset, first.person_id, first.source_camera_id) == ("Market1501", 2, 2)
    assert first.source_images == tuple(image.path for image in TASKS[2].identity.images)
    assert first.model_ids == ("tiny@0", "adapters/Market1501_0002@0123456789ab")
    assert first.prompt == TASKS[2].prompt(0)
    assert (first.steps, first.guidance) == (2, 5.0)
    assert (first.status, first.reason, first.scores) == ("ok", "", {})


def test_files_are_the_generated_images_at_the_file_size(base, bank, layout):
    row = read_identity(layout.images / "Market1501_0001")[2].image
    request = ImageRequest(identity="", prompt=row.prompt, adapter=1, seed=row.seed)
    (image,) = sample_images(base, bank, [request], SAMPLING)
    path = layout.images / "Market1501_0001" / row.file_name
    expected = resize_image(image.pixels, (16, 8), "resize")
    assert np.array_equal(np.asarray(Image.open(path)), expected)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == row.sha256


def test_identity_generated_alone_equals_that_of_a_run(base, bank, layout, tmp_path):
    alone = Layout(tmp_path)
    sample_identities(base, bank, [TASKS[1]], alone, SETTINGS)
    for path in (layout.images / "Market1501_0001").iterdir():
        assert path.read_bytes() == (alone.images / "Market1501_0001" / path.name).read_bytes()


def test_own_embedding_of_an_identity_is_used(base, bank, layout, tmp_path):
    embedding = base.encode_prompts(TASKS[0].prompts)
    same = dataclasses.replace(TASKS[1], embedding=embedding)
    sample_identities(base, bank, [same], Layout(tmp_path), SETTINGS)
    name = "Market1501_0001/Market1501_0001_0000.png"
    assert (tmp_path / "images" / name).read_bytes() != (layout.images / name).read_bytes()


def test_identity_without_images_is_a_reason_and_no_folder(base, tmp_path):
    nan = torch.full_like(base.encode_prompts(["a man"]), float("nan"))
    tasks = [task_of(0, adapter=-1), task_of(1, adapter=-1, embedding=nan), task_of(2, adapter=-1)]
    layout = Layout(tmp_path)
    reasons = sample_identities(base, None, tasks, layout, SETTINGS)
    assert reasons == {"Market1501_0001": f"none of 3 images could be generated: {NOT_FINITE}"}
    assert sorted(path.name for path in layout.images.iterdir()) == [
        "Market1501_0000",
        "Market1501_0002",
    ]
    assert not [*tmp_path.glob(".partial/*")]


def test_failed_images_are_rows_without_a_file(base, tmp_path, monkeypatch):
    def some_fail(*arguments):
        for image in sample_images(*arguments):
            is_bad = image.request.index == 1
            yield dataclasses.replace(image, pixels=None, reason=NOT_FINITE) if is_bad else image

    monkeypatch.setattr("fastreid_ext.generation.sampling.identity_images.sample_images", some_fail)
    sample_identities(base, None, [task_of(0, adapter=-1)], Layout(tmp_path), SETTINGS)
    folder = tmp_path / "images" / "Market1501_0000"
    assert sorted(path.name for path in folder.iterdir()) == [
        "Market1501_0000_0000.png",
        "Market1501_0000_0002.png",
        "failures.jsonl",
        "metadata.jsonl",
    ]
    (failed,) = (folder / "failures.jsonl").read_text().splitlines()
    assert json.loads(failed)["reason"] == NOT_FINITE


def test_interruption_leaves_complete_identities_only(base, tmp_path, monkeypatch):
    def killed(*arguments):
        for count, image in enumerate(sample_images(*arguments)):
            if count == 5:
                raise KeyboardInterrupt
            yield image

    monkeypatch.setattr("fastreid_ext.generation.sampling.identity_images.sample_images", killed)
    tasks = [dataclasses.replace(p, adapter=-1) for p in TASKS]
    with pytest.raises(KeyboardInterrupt):
        sample_identities(base, None, tasks, Layout(tmp_path), SETTINGS)
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["Market1501_0000"]
    assert len(read_identity(tmp_path / "images" / "Market1501_0000")) == 3


def test_full_disk_is_raised(base, tmp_path, monkeypatch):
    def full(path, data):
        assert path.suffix == ".png"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        sample_identities(base, None, [task_of(0, adapter=-1)], Layout(tmp_path), SETTINGS)
    assert not [*(tmp_path / "images").glob("*")]


def test_prompts_take_turns_by_the_number_of_the_image(base, bank, tmp_path):
    """Image n has prompt n mod P; the first images are those of an identity with one prompt."""
    texts = (TASKS[0].prompts[0], "a woman, seen from behind")
    turns = dataclasses.replace(TASKS[0], prompts=texts)
    sample_identities(base, bank, [turns], Layout(tmp_path / "a"), SETTINGS)
    sample_identities(base, bank, [TASKS[0]], Layout(tmp_path / "b"), SETTINGS)
    embedded = dataclasses.replace(turns, embedding=base.encode_prompts(texts))
    sample_identities(base, bank, [embedded], Layout(tmp_path / "c"), SETTINGS)
    name = TASKS[0].identity.name
    both = read_identity(tmp_path / "a" / "images" / name)
    one = read_identity(tmp_path / "b" / "images" / name)
    other = read_identity(tmp_path / "c" / "images" / name)
    assert [row.image.prompt for row in both] == [texts[n % 2] for n in range(len(both))]
    same = [a.image.sha256 == b.image.sha256 for a, b in zip(both, one, strict=True)]
    assert same == [n % 2 == 0 for n in range(len(both))]
    assert [row.image.sha256 for row in both] == [row.image.sha256 for row in other]
