"""Order of the steps of build_transforms; the seed of an image alone decides the result."""

import itertools
import random

import numpy as np
import pytest
import torch
from fastreid.data.transforms import build_transforms as host_transforms
from PIL import Image

from fastreid_ext.config import load_config
from fastreid_ext.corruptions.cpu import enlarged
from fastreid_ext.corruptions.record import replay
from fastreid_ext.data.build import build_train_loader
from fastreid_ext.data.samplers import SampledIndex
from fastreid_ext.data.transforms import build_transforms
from fastreid_ext.data.transforms.on_batch import build_batch_steps

from ..pillow_transforms import loading_by_pillow, shown

NOISES = ["gaussian_noise", "shot_noise", "impulse_noise"]
CORRUPT = {"INPUT.CORRUPTION.ENABLED": True, "INPUT.CORRUPTION.NAMES": NOISES}
ALL = CORRUPT | {
    "INPUT.FLIP.ENABLED": True,
    "INPUT.PADDING.ENABLED": True,
    "INPUT.CJ.ENABLED": True,
    "INPUT.GRAYSCALE.ENABLED": True,
    "INPUT.RANDAUGMENT.ENABLED": True,
    "INPUT.AUGMIX.ENABLED": True,
    "INPUT.AUGMIX.PROB": 0.5,
    "INPUT.AUGMIX.METHOD": "paper",
    "INPUT.SOFT_ERASING.ENABLED": True,
    "INPUT.PATCH_MIXING.ENABLED": True,
    "INPUT.CUTOUT.ENABLED": True,
    "INPUT.CUTOUT.SIZE": [8, 4],
    "INPUT.REA.ENABLED": True,
    "INPUT.CHANNEL.ENABLED": True,
}


def seeded(transform, image, seed=1):
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)
    random.seed(seed)
    if hasattr(transform, "generator"):
        transform.generator.manual_seed(seed)
    return transform(image)


def named(steps):
    return [type(step).__name__ for step in steps]


@pytest.mark.parametrize(
    "file",
    ["", "configs/Base-AGW.yml", "configs/Base-SBS.yml", "projects/BDB/configs/Base-BDB.yml"],
)
def test_images_of_existing_recipes_are_fastreids_bit_by_bit(file, picture):
    cfg = load_config(file, ["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.PRETRAIN", False])
    for is_train in (True, False):
        ours = shown(
            cfg,
            seeded(build_transforms(cfg, is_train=is_train), Image.fromarray(picture)),
            is_train=is_train,
        )
        theirs = shown(
            cfg,
            seeded(host_transforms(cfg, is_train=is_train), Image.fromarray(picture)),
            is_train=is_train,
        )
        assert torch.equal(ours, theirs)


def test_every_step_is_at_its_place(config_of):
    transform = build_transforms(config_of(ALL), is_train=True)
    assert named(transform.parts.decoded.steps) == ["Geometry", "OnPillow"]
    assert named([transform.parts.decoded.steps[1].step]) == ["RandomApply"]
    assert named(transform.parts.image.steps) == [
        *("RandomGrayscale", "RandAugment", "AugMix", "SoftErasing", "PatchMixing"),
    ]
    assert transform.parts.image.corruption is not None
    assert transform.parts.decoded.corruption is None
    (tensor_steps,) = transform.parts.tensor.steps
    assert named(tensor_steps.painters) == ["CutoutPainter", "ErasingPainter"]
    visible, infrared = transform.parts.tensor.channel
    assert named(visible) == ["ChannelErasing", "ChannelExchange"]
    assert named(infrared) == ["ChannelErasing", "AdaptiveGray"]
    for name in ("Geometry", "PatchMixing", "RandomCorruption", "ChannelExchange"):
        assert name in repr(transform)


def test_fastreids_augmix_stays_at_its_place_and_gives_its_pixels(config_of, picture):
    changes = {"INPUT.AUGMIX.ENABLED": True, "INPUT.AUGMIX.PROB": 1.0}
    cfg = config_of(changes | {"INPUT.SOFT_ERASING.ENABLED": True, "INPUT.SOFT_ERASING.PROB": 0.0})
    transform = build_transforms(cfg, is_train=True)
    assert named(transform.parts.image.steps) == ["OnPillow", "SoftErasing"]
    ours = seeded(transform.parts.image.steps[0].step, Image.fromarray(picture))
    theirs = host_transforms(config_of(changes)).transforms[-2]
    assert np.array_equal(ours, seeded(theirs, Image.fromarray(picture)))


def test_tests_see_none_of_it(config_of, picture):
    ours = build_transforms(config_of(ALL), is_train=False)(Image.fromarray(picture))
    theirs = host_transforms(config_of(ALL), is_train=False)(Image.fromarray(picture))
    assert torch.equal(ours.float(), theirs)


@pytest.mark.slow
@pytest.mark.parametrize("reference", [False, True])
def test_recorded_corruption_replays_the_tensor(config_of, picture, reference):
    changes = CORRUPT | {"INPUT.CORRUPTION.PROB": 1.0, "INPUT.CORRUPTION.REFERENCE": reference}
    sample = seeded(build_transforms(config_of(changes), is_train=True), Image.fromarray(picture))
    clean = np.array(Image.fromarray(picture).resize((32, 64), Image.Resampling.BICUBIC))
    expected = replay(clean, sample["corruptions"], reference=reference)
    assert torch.equal(sample["images"], torch.tensor(expected).permute(2, 0, 1))
    assert not np.array_equal(clean, expected)


@pytest.mark.parametrize("width", [34, 20])  # 20 is too small and enlarged, as in tests
@pytest.mark.parametrize("is_array", [False, True])
def test_native_corruption_comes_before_resizing(config_of, picture, is_array, width):
    picture = picture[:, :width]
    changes = CORRUPT | {"INPUT.CORRUPTION.PROB": 1.0, "INPUT.CORRUPTION.WHERE": "native"}
    cfg = config_of(changes)
    image = picture if is_array else Image.fromarray(picture)
    sample = seeded(build_transforms(cfg, is_train=True), image)
    corrupted = Image.fromarray(replay(enlarged(picture), sample["corruptions"]))
    expected = np.array(corrupted.resize((32, 64), Image.Resampling.BICUBIC))
    assert torch.equal(sample["images"], torch.tensor(expected).permute(2, 0, 1))


def test_corruption_on_the_device_is_only_recorded(config_of, picture):
    changes = CORRUPT | {"INPUT.CORRUPTION.PROB": 1.0, "INPUT.CORRUPTION.WHERE": "device"}
    sample = seeded(build_transforms(config_of(changes), is_train=True), Image.fromarray(picture))
    clean = np.array(Image.fromarray(picture).resize((32, 64), Image.Resampling.BICUBIC))
    assert torch.equal(sample["images"], torch.tensor(clean).permute(2, 0, 1))
    assert sample["corruptions"].split(":")[0] in NOISES


def test_images_that_stay_clean_have_an_empty_record(config_of, picture):
    cfg = config_of(CORRUPT | {"INPUT.CORRUPTION.PROB": 0.0})
    sample = seeded(build_transforms(cfg, is_train=True), Image.fromarray(picture))
    assert sample["corruptions"] == ""


def test_the_image_given_is_not_written_to(config_of, picture):
    image = Image.fromarray(picture)
    for seed in range(4):
        seeded(build_transforms(config_of(ALL), is_train=True), image, seed)
    assert np.array_equal(np.asarray(image), picture)


def test_a_sample_depends_on_its_seed_alone(config_of):
    dataset = build_train_loader(config_of(ALL)).dataset
    first = dataset[SampledIndex(3, 17, seed=5)]
    again = dataset[SampledIndex(3, 17, seed=5)]
    other = dataset[SampledIndex(3, 21, seed=5)]
    assert torch.equal(first["images"], again["images"])
    assert first["corruptions"] == again["corruptions"]
    assert not torch.equal(first["images"], other["images"])


def sampled(cfg, workers, start=0, count=4):
    cfg = cfg.clone()
    cfg.DATALOADER.NUM_WORKERS = workers
    loader = build_train_loader(cfg)
    loader.start_at(start)
    batches = iter(loader)
    taken = list(itertools.islice(batches, count))
    batches.close()
    return taken


def assert_same(ours, theirs):
    assert len(ours) == len(theirs) > 0
    for a, b in zip(ours, theirs, strict=True):
        assert a["img_paths"] == b["img_paths"]
        assert a.get("corruptions") == b.get("corruptions")
        assert torch.equal(a["images"], b["images"])


@pytest.mark.parametrize(
    "changes",
    [ALL, {"INPUT.VIEWS.RECIPE": "cil", "INPUT.AUGMIX.METHOD": "paper"}],
    ids=["all", "cil"],
)
def test_workers_do_not_matter_and_a_resumed_run_sees_the_rest(config_of, changes):
    cfg = config_of(changes)
    whole = sampled(cfg, workers=0)
    for workers in (1, 2):
        assert_same(sampled(cfg, workers), whole)
    assert_same(sampled(cfg, 1, start=2, count=2), whole[2:])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ["to_float"]),
        (CORRUPT, ["to_float"]),
        (
            CORRUPT | {"INPUT.CORRUPTION.WHERE": "device", "INPUT.MIXUP.ENABLED": True},
            ["CorruptOnDevice", "to_float", "MixBatch"],
        ),
        (
            {"INPUT.VIEWS.RECIPE": "corrupted", "INPUT.CORRUPTION.WHERE": "device"},
            ["flatten_views", "CorruptOnDevice", "to_float"],
        ),
        ({"INPUT.VIEWS.RECIPE": "cil"}, ["flatten_views", "to_float"]),
        ({"INPUT.MIXUP.ENABLED": True}, ["to_float", "MixBatch"]),
        ({"INPUT.MIXUP.ENABLED": True, "INPUT.CUTMIX.ENABLED": True}, ["to_float", "MixBatch"]),
    ],
)
def test_steps_on_the_batch_are_in_order(config_of, changes, expected):
    steps = build_batch_steps(config_of(changes), is_train=True)
    assert [getattr(step, "__name__", type(step).__name__) for step in steps] == expected
    assert build_batch_steps(config_of(changes), is_train=False)[0].__name__ == "to_float"


def test_views_corrupted_on_the_device_come_out_of_the_loader_as_rows(config_of):
    changes = {
        "INPUT.VIEWS.RECIPE": "corrupted",
        "INPUT.CORRUPTION.NAMES": NOISES,
        "INPUT.CORRUPTION.SEVERITIES": [5],
        "INPUT.CORRUPTION.WHERE": "device",
    }
    (batch,) = sampled(config_of(changes), 0, count=1)
    assert batch["views"] == 3
    assert batch["images"].shape == (24, 3, 64, 32)
    assert batch["images"].dtype == torch.float32
    assert batch["targets"].tolist() == batch["targets"][:8].tolist() * 3
    clean, first, second = batch["images"].split(8)
    assert batch["corruptions"][:8] == [""] * 8
    assert all(text.split(":")[0] in NOISES for text in batch["corruptions"][8:])
    for one, other in ((clean, first), (clean, second), (first, second)):
        assert ((one - other).abs().mean(dim=(1, 2, 3)) > 3).all()


def test_views_equal_those_of_pillow_and_torchvision(config_of):
    changes = {"INPUT.FLIP.ENABLED": True, "INPUT.PADDING.ENABLED": True} | {
        "INPUT.VIEWS.RECIPE": "cil",
        "INPUT.AUGMIX.METHOD": "paper",
        "INPUT.CHANNEL.ENABLED": True,
        "INPUT.CHANNEL.MODES": ["exchange"],
    }
    cfg = config_of(changes)
    ours = sampled(cfg, 0, count=2)
    with loading_by_pillow():
        theirs = sampled(cfg, 0, count=2)
    assert_same(ours, theirs)


def test_mixed_batches_come_out_of_the_loader_alike_from_any_worker(config_of):
    cfg = config_of({"INPUT.MIXUP.ENABLED": True, "INPUT.MIXUP.ALPHA": 1.0})
    whole = sampled(cfg, 0)
    workers = sampled(cfg, 2)
    assert_same(whole, workers)
    weights = [batch["mix"]["weight"] for batch in whole]
    assert weights == [batch["mix"]["weight"] for batch in workers]
    assert len(set(weights)) == len(weights)
    plain = sampled(config_of({}), 0)
    for batch, own in zip(whole, plain, strict=True):
        assert torch.equal(batch["targets"], own["targets"])
        assert not torch.equal(batch["images"], own["images"])
