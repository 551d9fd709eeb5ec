import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fastreid_ext.diffusion.stable_diffusion import read_base
from fastreid_ext.generation.fine_tuning.lora_bank import LoraBank
from fastreid_ext.generation.identities.identity_list import Identity, SourceImage
from fastreid_ext.generation.runs.layout import Layout
from fastreid_ext.generation.runs.seeds import seed_of
from fastreid_ext.generation.sampling.identity_images import (
    DrawingSettings,
    PersonToDraw,
    draw_persons,
)
from fastreid_ext.generation.sampling.image_files import FileSettings, fitted
from fastreid_ext.generation.sampling.sampler import NOT_FINITE, Drawing, SamplingSettings, draw
from fastreid_ext.manifest import GeneratedSet, read_identity, verify_set, write_set

SAMPLING = SamplingSettings(
    size=(32, 16),
    scheduler="DDIMScheduler",
    steps=2,
    guidance=5.0,
    negative_prompt="",
    batch_size=4,
)
SETTINGS = DrawingSettings(
    images=3, run_seed=5, sampling=SAMPLING, files=FileSettings(size=(16, 8), format="png")
)


def load(folder):
    return read_base(folder, name="tiny@0", device=torch.device("cpu"), dtype=torch.float32)


@pytest.fixture(scope="module")
def base(tiny_pipeline_folder):
    return load(tiny_pipeline_folder)


@pytest.fixture(scope="module")
def bank(base):
    bank = LoraBank(base.unet, count=3, rank=2, alpha=2, target_modules=["to_q", "to_v"])
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        bank.weights.copy_(0.3 * torch.randn(bank.weights.shape, generator=generator))
    yield bank
    bank.remove()


def person(number, **changes):
    identity = Identity(
        name=f"Market1501_{number:04d}",
        source_dataset="Market1501",
        person_id=number,
        images=(
            SourceImage(path=f"train/{number:04d}_c3s1_000001_01.jpg", camera=2, frame=1),
            SourceImage(path=f"train/{number:04d}_c3s1_000026_01.jpg", camera=2, frame=26),
        ),
    )
    found = PersonToDraw(
        identity=identity,
        prompts=(f"a photo of a person, {'black' if number % 2 else 'blue'} coat",),
        adapter=number,
        model_id=f"adapters/{identity.name}@0123456789ab",
    )
    return dataclasses.replace(found, **changes)


PEOPLE = [person(n) for n in range(3)]


@pytest.fixture(scope="module")
def layout(base, bank, tmp_path_factory):
    layout = Layout(tmp_path_factory.mktemp("job"))
    assert draw_persons(base, bank, PEOPLE, layout, SETTINGS) == {}
    return layout


def test_writes_a_generated_set(layout):
    write_set(layout.images, GeneratedSet(generator="test", counts={"ok": 9}))
    assert verify_set(layout.images) == []
    assert sorted(path.name for path in layout.images.iterdir() if path.is_dir()) == [
        "Market1501_0000",
        "Market1501_0001",
        "Market1501_0002",
    ]
    assert not [*layout.output.glob(".partial/*")]


def test_rows_say_what_was_done(layout):
    rows = [row.image for row in read_identity(layout.images / "Market1501_0002")]
    assert [row.file_name for row in rows] == [f"Market1501_0002_000{n}.png" for n in range(3)]
    assert [row.seed for row in rows] == [
        seed_of(5, "draw", "Market1501_0002", n) for n in range(3)
    ]
    first = rows[0]
    assert (first.source_dataset, first.person_id, first.source_camera_id) == ("Market1501", 2, 2)
    assert first.source_images == tuple(image.path for image in PEOPLE[2].identity.images)
    assert first.model_ids == ("tiny@0", "adapters/Market1501_0002@0123456789ab")
    assert first.prompt == PEOPLE[2].prompt(0)
    assert (first.steps, first.guidance) == (2, 5.0)
    assert (first.status, first.reason, first.scores) == ("ok", "", {})


def test_files_are_the_drawings_in_the_wanted_size(base, bank, layout):
    row = read_identity(layout.images / "Market1501_0001")[2].image
    request = Drawing(identity="", prompt=row.prompt, adapter=1, seed=row.seed)
    (drawn,) = draw(base, bank, [request], SAMPLING)
    path = layout.images / "Market1501_0001" / row.file_name
    expected = fitted(drawn.pixels, (16, 8), "resize")
    assert np.array_equal(np.asarray(Image.open(path)), expected)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == row.sha256


def test_a_person_alone_equals_the_person_of_a_run(base, bank, layout, tmp_path):
    alone = Layout(tmp_path)
    draw_persons(base, bank, [PEOPLE[1]], alone, SETTINGS)
    for path in (layout.images / "Market1501_0001").iterdir():
        assert path.read_bytes() == (alone.images / "Market1501_0001" / path.name).read_bytes()


def test_a_persons_own_embedding_is_used(base, bank, layout, tmp_path):
    embedding = base.encode_prompts(PEOPLE[0].prompts)
    same = dataclasses.replace(PEOPLE[1], embedding=embedding)
    draw_persons(base, bank, [same], Layout(tmp_path), SETTINGS)
    name = "Market1501_0001/Market1501_0001_0000.png"
    assert (tmp_path / "images" / name).read_bytes() != (layout.images / name).read_bytes()


def test_a_person_of_whom_nothing_can_be_drawn_is_a_reason_and_no_folder(base, tmp_path):
    nan = torch.full_like(base.encode_prompts(["a man"]), float("nan"))
    people = [person(0, adapter=-1), person(1, adapter=-1, embedding=nan), person(2, adapter=-1)]
    layout = Layout(tmp_path)
    reasons = draw_persons(base, None, people, layout, SETTINGS)
    assert reasons == {"Market1501_0001": f"none of 3 images could be drawn: {NOT_FINITE}"}
    assert sorted(path.name for path in layout.images.iterdir()) == [
        "Market1501_0000",
        "Market1501_0002",
    ]
    assert not [*tmp_path.glob(".partial/*")]


def test_failed_images_are_rows_without_a_file(base, tmp_path, monkeypatch):
    def some_fail(*arguments):
        for drawn in draw(*arguments):
            is_bad = drawn.request.index == 1
            yield dataclasses.replace(drawn, pixels=None, reason=NOT_FINITE) if is_bad else drawn

    monkeypatch.setattr("fastreid_ext.generation.sampling.identity_images.draw", some_fail)
    draw_persons(base, None, [person(0, adapter=-1)], Layout(tmp_path), SETTINGS)
    folder = tmp_path / "images" / "Market1501_0000"
    assert sorted(path.name for path in folder.iterdir()) == [
        "Market1501_0000_0000.png",
        "Market1501_0000_0002.png",
        "failures.jsonl",
        "metadata.jsonl",
    ]
    (failed,) = (folder / "failures.jsonl").read_text().splitlines()
    assert json.loads(failed)["reason"] == NOT_FINITE


def test_what_is_interrupted_leaves_whole_persons_only(base, tmp_path, monkeypatch):
    def killed(*arguments):
        for count, drawn in enumerate(draw(*arguments)):
            if count == 5:
                raise KeyboardInterrupt
            yield drawn

    monkeypatch.setattr("fastreid_ext.generation.sampling.identity_images.draw", killed)
    people = [dataclasses.replace(p, adapter=-1) for p in PEOPLE]
    with pytest.raises(KeyboardInterrupt):
        draw_persons(base, None, people, Layout(tmp_path), SETTINGS)
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["Market1501_0000"]
    assert len(read_identity(tmp_path / "images" / "Market1501_0000")) == 3


def test_a_full_disk_passes_on(base, tmp_path, monkeypatch):
    def full(path, data):
        assert path.suffix == ".png"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        draw_persons(base, None, [person(0, adapter=-1)], Layout(tmp_path), SETTINGS)
    assert not [*(tmp_path / "images").glob("*")]


def test_prompts_take_turns_by_the_number_of_the_image(base, bank, tmp_path):
    """Image n has prompt n mod P; the first images are those of a person with one prompt."""
    texts = (PEOPLE[0].prompts[0], "a woman, seen from behind")
    turns = dataclasses.replace(PEOPLE[0], prompts=texts)
    draw_persons(base, bank, [turns], Layout(tmp_path / "a"), SETTINGS)
    draw_persons(base, bank, [PEOPLE[0]], Layout(tmp_path / "b"), SETTINGS)
    embedded = dataclasses.replace(turns, embedding=base.encode_prompts(texts))
    draw_persons(base, bank, [embedded], Layout(tmp_path / "c"), SETTINGS)
    name = PEOPLE[0].identity.name
    both, one, other = (read_identity(tmp_path / f / "images" / name) for f in "abc")
    assert [row.image.prompt for row in both] == [texts[n % 2] for n in range(len(both))]
    same = [a.image.sha256 == b.image.sha256 for a, b in zip(both, one, strict=True)]
    assert same == [n % 2 == 0 for n in range(len(both))]
    assert [row.image.sha256 for row in both] == [row.image.sha256 for row in other]
