import random

import numpy as np
import pytest
import torch
from fastreid.data.build import fast_batch_collator
from PIL import Image

from fastreid_ext.data.dataset import (
    PersonDataset,
    batch_seed,
    collate,
    read_rgb,
    seeded_randomness,
)
from fastreid_ext.data.samplers import SampledIndex

from .conftest import write_image


def numbers():
    return random.random(), np.random.random(), torch.rand(1).item()  # noqa: NPY002


def numbers_of(number, seed=1):
    with seeded_randomness(SampledIndex(0, number, seed)):
        return numbers()


def test_seeded_randomness_depends_on_seed_and_position_only():
    random.seed(0)
    first = numbers_of(5)
    np.random.seed(9)  # noqa: NPY002
    assert numbers_of(5) == first
    others = [numbers_of(6), numbers_of(5, seed=2)]
    assert all(a != b for other in others for a, b in zip(first, other, strict=True))


def test_seeded_randomness_restores_the_main_process():
    for seeded in (random.seed, np.random.seed, torch.manual_seed):
        seeded(3)
    np.random.normal()  # noqa: NPY002  keeps a second value for the next call
    expected = (*numbers(), np.random.normal())  # noqa: NPY002
    for seeded in (random.seed, np.random.seed, torch.manual_seed):
        seeded(3)
    np.random.normal()  # noqa: NPY002
    numbers_of(1)
    with pytest.raises(RuntimeError, match="transform"), seeded_randomness(SampledIndex(0, 2, 1)):
        raise RuntimeError("in a transform")
    assert (*numbers(), np.random.normal()) == expected  # noqa: NPY002


def test_samples_know_their_position_among_the_images():
    items = [("b.jpg", 4, 0), ("a.jpg", 2, 0), ("b.jpg", 4, 1)]
    dataset = PersonDataset(items, torch.tensor, relabel=True, read=lambda path: [0.0])
    samples = [dataset[0], dataset[2], dataset[SampledIndex(1, position=7, seed=3)]]
    batch = collate([{"indices": sample["indices"]} for sample in samples])
    assert batch["indices"].tolist() == [0, 2, 1]


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [("RGB", "png"), ("L", "png"), ("RGBA", "png"), ("P", "png"), ("1", "png"), ("CMYK", "jpg")],
)
def test_read_rgb_converts_every_mode(tmp_path, mode, suffix):
    path = write_image(tmp_path / f"image.{suffix}", mode=mode)
    image = read_rgb(path)
    assert (image.mode, image.size) == ("RGB", (16, 32))
    with Image.open(path) as original:
        assert np.array_equal(np.asarray(image), np.asarray(original.convert("RGB")))


def test_read_rgb_keeps_brightness_of_16_bit_grey(tmp_path):
    Image.fromarray(np.full((4, 4), 0x8040, np.uint16)).save(tmp_path / "grey.png")
    assert np.asarray(read_rgb(tmp_path / "grey.png")).tolist() == [[[0x80] * 3] * 4] * 4


def test_read_rgb_applies_exif_orientation(tmp_path):
    image = Image.new("RGB", (16, 32))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    image.save(tmp_path / "turned.jpg", exif=exif)
    assert read_rgb(tmp_path / "turned.jpg").size == (32, 16)


def test_read_rgb_names_an_unreadable_image(tmp_path):
    path = write_image(tmp_path / "cut.jpg", size=(64, 128))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(OSError, match=r"cannot read image .*cut\.jpg: .*truncated.*check_data"):
        read_rgb(path)
    with pytest.raises(OSError, match=r"cannot read image .*none\.jpg: .*No such file"):
        read_rgb(tmp_path / "none.jpg")


def test_dataset_items_become_python_ints(tmp_path):
    path = str(write_image(tmp_path / "a.jpg"))
    items = [(path, "m_7", "m_1"), (path, "m_10", "m_0")]
    sample = PersonDataset(items, np.asarray, relabel=True)[1]
    assert (sample["targets"], sample["camids"], sample["img_paths"]) == (0, 0, path)
    sample = PersonDataset([(path, np.int64(7), np.int64(2))], np.asarray, relabel=False)[0]
    assert (sample["targets"], sample["camids"]) == (7, 2)
    assert type(sample["targets"]) is type(sample["camids"]) is int


@pytest.fixture
def items(tmp_path):
    return [(str(write_image(tmp_path / f"{i}.jpg", seed=i)), f"m_{i}", "m_1") for i in range(3)]


def test_dataset_adds_entries_of_a_transform(items):
    def transform(image):
        return {"images": torch.zeros(3, 4, 2), "corruptions": "fog:3:81723", "targets": 7}

    sample = PersonDataset(items, transform, relabel=True)[1]
    assert sample["images"].shape == (3, 4, 2)
    assert sample["corruptions"] == "fog:3:81723"
    assert sample["targets"] == 7
    assert sample["img_paths"] == items[1][0]


def test_batch_seed_depends_on_seed_and_position_alone(items):
    dataset = PersonDataset(items, np.asarray, relabel=True)
    assert dataset[SampledIndex(0, 5, 1)]["seeds"] == dataset[SampledIndex(2, 5, 1)]["seeds"]
    seeds = [dataset[SampledIndex(0, number, 1)]["seeds"] for number in range(50)]
    assert (
        len({*seeds, *(dataset[SampledIndex(0, number, 2)]["seeds"] for number in range(50))})
        == 100
    )
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert torch.tensor(seeds).tolist() == seeds  # int64, as collate makes it
    assert batch_seed(SampledIndex(0, 0, 2**64 - 1)) >= 0
    assert "seeds" not in dataset[0]


def test_dataset_seeds_the_generator_of_a_transform(items):
    class Own:
        def __init__(self):
            self.generator = torch.Generator()

        def __call__(self, image):
            return torch.rand(4, generator=self.generator)

    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    ours = PersonDataset(items, Own(), relabel=True)[SampledIndex(0, 8, 1)]["images"]
    assert torch.rand(1) == expected  # the process-wide generator was left alone
    theirs = PersonDataset(items, lambda image: torch.rand(4), relabel=True)
    assert torch.equal(ours, theirs[SampledIndex(0, 8, 1)]["images"])


def test_collate_equals_fastreids():
    samples = [
        {"images": torch.rand(3, 4, 2), "targets": i, "x": {"y": i / 3}, "img_paths": str(i)}
        for i in range(5)
    ]
    ours = collate(samples)
    theirs = fast_batch_collator(samples)
    assert torch.equal(ours["images"], theirs["images"])
    assert torch.equal(ours["targets"], theirs["targets"])
    assert ours["targets"].dtype == theirs["targets"].dtype
    assert torch.equal(ours["x"]["y"], theirs["x"]["y"])
    assert ours["img_paths"] == theirs["img_paths"]


@pytest.mark.parametrize("value", [np.int64(3), [1, 2], None])
def test_collate_refuses_what_fastreid_loses(value):
    assert fast_batch_collator([value]) is None
    with pytest.raises(TypeError, match=r"expected tensors, ints, .* convert numpy values"):
        collate([value])
