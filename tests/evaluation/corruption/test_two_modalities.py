"""Corruption of visible-infrared sets: which side, at which size, and how infrared images are."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from fastreid_ext.corruptions.cpu import corrupt
from fastreid_ext.corruptions.record import Corruption
from fastreid_ext.data.dataset import read_rgb
from fastreid_ext.data.transforms import build_transforms
from fastreid_ext.evaluation.corruption.corrupted_images import (
    CorruptedImages,
    Part,
    pixel_hash,
    test_images,
)
from fastreid_ext.evaluation.corruption.index import sample_corruption, sample_index
from fastreid_ext.evaluation.corruption.measure import CorruptionEvaluation
from fastreid_ext.evaluation.corruption.pixels import pixels_file
from fastreid_ext.evaluation.corruption.results import CorruptionResults
from fastreid_ext.evaluation.corruption.two_modalities import (
    corrupted_side,
    infrared_corruption,
    resize_before,
    suffix_of,
    with_equal_noise,
)

from .conftest import small_config

NAME = "RenderedVI"
SIZE = (48, 40)  # of the network; files are 64 x 32


@pytest.fixture
def cfg(tmp_path):
    """Write coloured images by cameras 1 and 2 and grey ones by 3; return a configuration."""
    rng = np.random.default_rng(0)
    folder = tmp_path / NAME
    for split, cameras in (("bounding_box_train", 1), ("query", 3), ("bounding_box_test", (1, 2))):
        (folder / split).mkdir(parents=True)
        for pid in range(1, 5):
            for camera in np.atleast_1d(cameras):
                image = rng.integers(0, 256, (64, 32, 3), dtype=np.uint8)
                image = image[..., :1].repeat(3, axis=2) if camera == 3 else image
                Image.fromarray(image).save(folder / split / f"{pid:04d}_c{camera}s1_0_00.png")
    return small_config(
        tmp_path,
        DATASETS__NAMES=(NAME,),
        DATASETS__TESTS=(NAME,),
        INPUT__SIZE_TEST=list(SIZE),
    )


@pytest.fixture
def images(cfg):
    return test_images(cfg, NAME)


@pytest.mark.parametrize(
    ("name", "asked", "side", "suffix"),
    [
        ("Market1501", "", "both", "-C"),
        ("Market1501", "query", "query", "-C"),
        ("SYSUMM01", "", "gallery", "-C"),
        ("SYSUMM01", "visible", "gallery", "-C"),
        ("SYSUMM01", "both", "both", "-C*"),
        ("RegDB_trial1_visible_to_infrared", "", "query", "-C"),
        ("RegDB_trial1_infrared_to_visible", "", "gallery", "-C"),
        ("LLCM_visible_to_infrared", "visible", "query", "-C"),
        ("LLCM_visible_to_infrared", "gallery", "gallery", "-C*"),
    ],
)
def test_the_visible_side_is_corrupted_unless_asked_otherwise(name, asked, side, suffix):
    assert corrupted_side(name, asked) == side
    assert suffix_of(name, side) == suffix


def test_a_set_of_one_modality_has_no_visible_side():
    with pytest.raises(ValueError, match=r"query, gallery or both of Market1501, which has one"):
        corrupted_side("Market1501", "visible")


def test_images_are_resized_before_they_are_corrupted(cfg, images):
    index = sample_index(NAME, images.files("both"))
    row = images.num_query  # a visible image
    transform = build_transforms(cfg, is_train=False)
    samples = CorruptedImages(images, index, transform, resize=resize_before(cfg, NAME))
    sample = samples[Part(cell=("fog", 3)), row]
    resized = read_rgb(images.items[row][0]).resize(SIZE[::-1], Image.Resampling.BICUBIC)
    seed = int(index.grid_seeds[index.row_of[images.names[row]]])
    state = np.random.RandomState(seed)
    expected = corrupt(np.asarray(resized), "fog", 3, state, reference=True)
    assert sample["pixels"] == pixel_hash(expected)
    assert torch.equal(sample["images"], torch.from_numpy(expected).permute(2, 0, 1))
    assert resize_before(cfg, "Market1501") is None


def test_samples_hold_the_modality(cfg, images):
    index = sample_index(NAME, images.files("both"))
    samples = CorruptedImages(images, index, build_transforms(cfg, is_train=False))
    found = [samples[Part(), row]["modalities"] for row in range(len(images.items))]
    assert found == [1] * 4 + [0] * 8


def test_saturate_leaves_infrared_images_clean(cfg, images):
    index = sample_index(NAME, images.files("both"))
    samples = CorruptedImages(images, index, build_transforms(cfg, is_train=False))
    visible = images.num_query
    for row, is_changed in ((0, False), (visible, True)):
        clean = samples[Part(), row]["pixels"]
        assert (samples[Part(cell=("saturate", 5)), row]["pixels"] != clean) == is_changed
        assert samples[Part(cell=("contrast", 5)), row]["pixels"] != clean


def test_twenty_outcomes_of_an_infrared_image_are_equally_likely():
    sampled = (sample_corruption(0, NAME, f"{number}.jpg", 0) for number in range(6000))
    outcomes = [getattr(infrared_corruption(one), "name", "none") for one in sampled]
    counts = {name: outcomes.count(name) for name in set(outcomes)}
    assert len(counts) == 20
    assert "saturate" not in counts
    assert all(235 < count < 365 for count in counts.values())  # 300, deviation 17


@pytest.mark.parametrize("name", ["gaussian_noise", "impulse_noise", "speckle_noise"])
def test_noise_of_an_infrared_image_is_that_of_one_channel(cfg, images, name):
    index = sample_index(NAME, images.files("both"))
    grey = np.full((40, 40, 3), 120, np.uint8)
    corruption = Corruption(name, 3, 5)
    noisy = corruption.apply(grey, reference=True)
    assert (noisy != noisy[..., :1]).any()
    equal = with_equal_noise(grey, noisy, corruption)
    assert np.array_equal(equal, noisy[..., :1].repeat(3, axis=2))
    colours = grey + np.array([0, 9, 0], np.uint8)
    assert with_equal_noise(colours, noisy, corruption) is noisy
    samples = CorruptedImages(images, index, build_transforms(cfg, is_train=False))
    seen = samples[Part(cell=(name, 5)), 0]["images"]
    assert torch.equal(seen[0], seen[2])
    assert not torch.equal(*samples[Part(cell=(name, 5)), 4]["images"][:2])


def test_fog_of_an_infrared_image_is_not_touched():
    noisy = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    grey = np.zeros((4, 4, 3), np.uint8)
    assert with_equal_noise(grey, noisy, Corruption("fog", 1, 1)) is noisy
    assert with_equal_noise(grey, grey, None) is grey


def test_sizes_below_32_are_refused(cfg):
    cfg = cfg.clone()
    cfg.defrost()
    cfg.INPUT.SIZE_TEST = [64, 24]
    with pytest.raises(ValueError, match=r"SIZE_TEST of at least 32 .* got \[64, 24\]; enlarge"):
        resize_before(cfg, NAME)


def test_hashes_of_two_sizes_have_two_files(tmp_path):
    index = tmp_path / "a.jsonl.gz"
    assert pixels_file(index).name == "a.pixels.jsonl"
    assert pixels_file(index, [288, 144]).name == "a.288x144.pixels.jsonl"


class Modalities(nn.Module):
    """Mean grey level of an image, and its modality."""

    def forward(self, batch):
        grey = batch["images"].float().mean(dim=(2, 3))
        return torch.cat([grey, batch["modalities"][:, None].float()], dim=1)


@pytest.mark.parametrize(("asked", "changed"), [("visible", [False, True]), ("both", [True] * 2)])
def test_c_star_corrupts_infrared_queries_too(cfg, images, tmp_path, asked, changed):
    index = sample_index(NAME, images.files("both"), repeats=2, corruptions=("fog", "contrast"))
    evaluation = CorruptionEvaluation(
        cfg=cfg,
        model=Modalities,
        images=images,
        index=index,
        corrupt=corrupted_side(NAME, asked),
        folder=tmp_path / "parts",
    )
    measured = evaluation.run(repeats=2, grid=False)
    (clean, _), (noisy, hashes) = evaluation.features([Part(), Part(repeat=0)])
    assert clean[:, 3].tolist() == [1.0] * 4 + [0.0] * 8
    differs = (clean != noisy).any(dim=1)
    assert [bool(differs[:4].all()), bool(differs[4:].all())] == changed
    assert differs[:4].any() == changed[0]
    assert len(hashes) == (12 if asked == "both" else 8)
    results = CorruptionResults(NAME, corrupted_side(NAME, asked), "0" * 32, measured, title="T")
    name = "RenderedVI-C*" if asked == "both" else "RenderedVI-C"
    assert results.one_line().startswith(f"{name}: Rank-1 ")
    assert "no trapezoid); T; index" in results.as_markdown()
    assert json.loads(json.dumps(results.as_json()))["name"] == name
