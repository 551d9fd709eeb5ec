"""Training transforms that treat visible and infrared images differently."""

import random

import numpy as np
import pytest
import torch
from PIL import Image

from fastreid_ext.data.build import build_train_loader
from fastreid_ext.data.dataset import Origin
from fastreid_ext.data.transforms import build_transforms
from fastreid_ext.data.transforms.caj_views import CajViews
from fastreid_ext.data.transforms.channel import AdaptiveGray, ChannelErasing, ChannelExchange
from fastreid_ext.data.transforms.multi_view import Parts
from fastreid_ext.data.transforms.on_batch import infrared_once

from ..conftest import write_market

VISIBLE = Origin(domain=0, modality=0)
INFRARED = Origin(domain=0, modality=1)
CAJ = {"INPUT.VIEWS.RECIPE": "caj", "INPUT.VIEWS.SUPERVISED": "all"}


def transformed(cfg, picture, origin, seed=1):
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    random.seed(seed)
    return build_transforms(cfg, is_train=True)(Image.fromarray(picture), origin)


def is_grey(image):
    return torch.equal(image[0], image[1]) and torch.equal(image[1], image[2])


def test_channel_steps_follow_the_modality(config_of, picture):
    changes = {"INPUT.CHANNEL.ENABLED": True, "INPUT.CHANNEL.MODES": ["exchange"]}
    cfg = config_of(changes | {"INPUT.CHANNEL.INFRARED_MODES": []})
    clean = np.array(Image.fromarray(picture).resize((32, 64), Image.Resampling.BICUBIC))
    assert is_grey(transformed(cfg, picture, VISIBLE))
    left = transformed(cfg, picture, INFRARED)
    assert torch.equal(left, torch.tensor(clean).permute(2, 0, 1))
    swapped = {"INPUT.CHANNEL.MODES": [], "INPUT.CHANNEL.INFRARED_MODES": ["exchange"]}
    cfg = config_of(changes | swapped)
    assert not is_grey(transformed(cfg, picture, VISIBLE))
    assert is_grey(transformed(cfg, picture, INFRARED))
    assert "of infrared images" in repr(build_transforms(cfg, is_train=True))


@pytest.mark.parametrize("crop", ["shared", "separate"])
def test_cil_leaves_infrared_images_as_they_are(config_of, picture, crop):
    changes = {"INPUT.VIEWS.RECIPE": "cil", "INPUT.AUGMIX.METHOD": "paper"}
    changes |= {"INPUT.VIEWS.CROP": crop, "INPUT.PADDING.ENABLED": True}
    cfg = config_of(changes)
    first, *others = transformed(cfg, picture, INFRARED)
    assert len(others) == 2
    assert all(torch.equal(first, other) for other in others)
    first, *others = transformed(cfg, picture, VISIBLE)
    assert not any(torch.equal(first, other) for other in others)


def test_cil_erases_no_infrared_image_where_it_erases_the_clean_view_too(config_of, picture):
    changes = {"INPUT.VIEWS.RECIPE": "cil", "INPUT.AUGMIX.METHOD": "paper"}
    changes |= {"INPUT.VIEWS.ERASED": "all", "INPUT.SOFT_ERASING.PROB": 1.0}
    resized = np.array(Image.fromarray(picture).resize((32, 64), Image.Resampling.BICUBIC))
    views = transformed(config_of(changes), picture, INFRARED)
    assert torch.equal(views[0], torch.tensor(resized).permute(2, 0, 1))


def keep(image, rng):
    return image, ""


def caj(same_crop=False, decoded=keep):
    views = CajViews(
        same_crop=same_crop,
        visible=[ChannelErasing(probability=1.0, fill=(7, 8, 9)), ChannelExchange(probability=1)],
        infrared=[AdaptiveGray()],
    )
    parts = Parts(decoded=decoded, image=keep, tensor=keep)
    return lambda image, modality, seed=0: [
        array for array, _ in views(image, np.random.default_rng(seed), parts, modality)
    ]


def erased(array):
    return (array == np.array([7, 8, 9], np.uint8)).all(axis=2)


def test_caj_shows_a_visible_image_erased_and_erased_with_one_channel():
    colours = np.zeros((40, 20, 3), np.uint8) + np.array([50, 100, 150], np.uint8)
    first, second = caj()(colours, 0)
    assert erased(first).any()
    assert (first[~erased(first)] == [50, 100, 150]).all()
    # The channel is exchanged after erasing, so both colours are one channel's.
    values = {tuple(pixel) for pixel in second.reshape(-1, 3).tolist()}
    assert values in ({(50,) * 3, (7,) * 3}, {(100,) * 3, (8,) * 3}, {(150,) * 3, (9,) * 3})
    assert (erased(first) != (second[..., 0] < 10)).any()  # each has a rectangle of its own


def test_caj_shows_an_infrared_image_once_and_does_not_erase_it_as_visible():
    colours = np.zeros((40, 20, 3), np.uint8) + np.array([50, 100, 150], np.uint8)
    made = [caj()(colours, 1, seed) for seed in range(12)]
    assert all(np.array_equal(first, second) for first, second in made)
    assert len({tuple(first[0, 0].tolist()) for first, _ in made}) > 3
    assert all(len(np.unique(first.reshape(-1, 3), axis=0)) == 1 for first, _ in made)


@pytest.mark.parametrize("same_crop", [False, True])
def test_streams_of_a_visible_image_have_crops_of_their_own(same_crop):
    def crop(image, rng):
        return np.roll(image, rng.integers(len(image)), axis=0), ""

    rows = np.arange(40, dtype=np.uint8)[:, None, None].repeat(20, 1).repeat(3, 2) * 5
    views = CajViews(same_crop=same_crop, visible=[], infrared=[])
    parts = Parts(decoded=crop, image=keep, tensor=keep)
    (first, _), (second, _) = views(rows, np.random.default_rng(0), parts, 0)
    assert np.array_equal(first, second) == same_crop


def test_infrared_once_keeps_all_rows_of_visible_images_in_order():
    modalities = torch.tensor([0, 1, 1, 0])
    batch = {
        "images": torch.arange(8.0).view(8, 1, 1, 1),
        "modalities": modalities.repeat(2),
        "img_paths": list("abcdABCD"),
        "nested": {"rows": torch.arange(8), "number": 3},
        "weight": torch.tensor(0.5),
        "views": 2,
    }
    once = infrared_once(batch)
    assert once["images"].flatten().tolist() == [0, 1, 2, 3, 4, 7]
    assert once["modalities"].tolist() == [0, 1, 1, 0, 0, 0]
    assert once["img_paths"] == list("abcdAD")
    assert once["nested"]["rows"].tolist() == [0, 1, 2, 3, 4, 7]
    assert (once["nested"]["number"], once["weight"], once["views"]) == (3, 0.5, 1)
    assert len(batch["images"]) == 8


def test_caj_batches_have_two_rows_of_visible_and_one_of_infrared_images(config_of, tmp_path):
    write_market(tmp_path / "RenderedVI", cameras=(1, 3))
    changes = {
        "DATASETS.NAMES": ("RenderedVI",),
        "DATALOADER.SAMPLER_TRAIN": "CrossModalitySampler",
        "DATALOADER.NUM_INSTANCE": 4,
        "INPUT.CHANNEL.ERASING_PROB": 0.0,
    }
    loader = build_train_loader(config_of(CAJ | changes, root=tmp_path))
    batch = next(iter(loader))
    assert batch["images"].shape == (12, 3, 64, 32)
    assert batch["modalities"].bincount().tolist() == [8, 4]
    assert batch["views"] == 1
    for path, target, modality in zip(
        batch["img_paths"], batch["targets"], batch["modalities"], strict=True
    ):
        assert ("_c3" in path) == modality
        assert loader.dataset.pids[target].endswith(f"_{int(path.split('/')[-1][:4])}")
    visible = batch["images"][:8][batch["modalities"][:8] == 0]
    second = batch["images"][8:]
    for own, other in zip(visible, second, strict=True):
        assert is_grey(other)
        assert any(torch.equal(other[0], channel) for channel in own)
