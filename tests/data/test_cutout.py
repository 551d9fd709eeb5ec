"""Cutout: position, probability and colour."""

import random
from collections import Counter

import numpy as np
import pytest
import torch
from fastreid.data.transforms import build_transforms as host_transforms
from PIL import Image

from fastreid_ext.data.build import build_train_loader
from fastreid_ext.data.samplers import SampledIndex
from fastreid_ext.data.transforms import Cutout, build_transforms
from fastreid_ext.data.transforms.one_pass import ResizeOnly

from .conftest import small_config
from .pillow_transforms import pillow_transforms, shown

MEAN = [0.485 * 255, 0.456 * 255, 0.406 * 255]
PLAIN = {f"INPUT__{name}__ENABLED": False for name in ("FLIP", "REA", "CJ", "AUGMIX", "AUTOAUG")}
CUT = PLAIN | {
    "INPUT__CUTOUT__ENABLED": True,
    "INPUT__CUTOUT__SIZE": [8, 4],
}


def cutout(probability=0.5, size=(2, 3)):
    return Cutout(probability=probability, size=size, fill=(1.0, 2.0, 3.0))


def test_cutout_fills_the_rectangle_only():
    image = torch.full((3, 4, 5), 9.0)
    cut = cutout().apply(image, (1, 2))
    for channel, colour in enumerate((1.0, 2.0, 3.0)):
        expected = [[9, 9, 9, 9, 9], [9, 9, *[colour] * 3], [9, 9, *[colour] * 3], [9, 9, 9, 9, 9]]
        assert cut[channel].tolist() == expected
    assert (image == 9).all()
    assert (cut.dtype, cut.shape) == (torch.float32, (3, 4, 5))


def test_cutout_places_are_uniform():
    torch.manual_seed(0)
    sampled = Counter(cutout().sample(4, 5) for _ in range(9000))
    assert 4300 < sampled.pop(None) < 4700  # standard deviation 47
    assert set(sampled) == {(top, left) for top in range(3) for left in range(3)}
    assert all(400 < count < 600 for count in sampled.values())  # 500, standard deviation 22


@pytest.mark.parametrize(("probability", "cut"), [(0.0, 0), (1.0, 50)])
def test_cutout_probability_zero_and_one(probability, cut):
    assert sum(cutout(probability).sample(4, 5) is not None for _ in range(50)) == cut


def test_cutout_refuses_a_small_image():
    with pytest.raises(ValueError, match=r"at least 2 x 3 for Cut-out, got 1 x 5; lower INPUT.CUT"):
        cutout()(torch.zeros(3, 1, 5))


def test_cutout_is_zero_for_the_model():
    """The original cuts after normalisation, which is the model's first step here."""
    cfg = small_config("", **CUT, INPUT__CUTOUT__PROB=1.0)
    red = Image.new("RGB", (20, 40), (255, 0, 0))
    image = shown(cfg, build_transforms(cfg, is_train=True)(red))
    normalised = (image - torch.tensor(cfg.MODEL.PIXEL_MEAN)[:, None, None]) / torch.tensor(
        cfg.MODEL.PIXEL_STD
    )[:, None, None]
    assert image.shape == (3, 32, 16)
    assert (normalised == 0).all(dim=0).sum() == 8 * 4
    assert torch.tensor(MEAN).equal(torch.tensor(cfg.MODEL.PIXEL_MEAN))


def test_cutout_order_among_transforms():
    cfg = small_config("", **CUT | {"INPUT__REA__ENABLED": True, "INPUT__FLIP__ENABLED": True})
    painters = build_transforms(cfg, is_train=True).painters
    assert [type(painter).__name__ for painter in painters] == ["CutoutPainter", "ErasingPainter"]
    names = [
        getattr(s, "__name__", type(s).__name__)
        for s in pillow_transforms(cfg, is_train=True).transforms
    ]
    assert names[1:] == ["Resize", "RandomHorizontalFlip", "ToTensor", "Cutout", "RandomErasing"]
    assert isinstance(build_transforms(cfg, is_train=False), ResizeOnly)


def test_cutout_disabled_equals_fastreid():
    cfg = small_config("")
    noise = np.random.default_rng(0).integers(0, 256, (40, 20, 3), dtype=np.uint8)
    for is_train in (True, False):
        images = []
        for build in (build_transforms, host_transforms):
            np.random.seed(1)  # noqa: NPY002
            torch.manual_seed(1)
            random.seed(1)
            sample = build(cfg, is_train=is_train)(Image.fromarray(noise))
            images.append(shown(cfg, sample, is_train=is_train))
        assert torch.equal(*images)


def test_cutout_same_position_cuts_the_same_place(make_cfg):
    cfg = make_cfg(**CUT)
    dataset = build_train_loader(cfg).dataset
    first = image_at(cfg, dataset, 17)
    again = image_at(cfg, dataset, 17)
    other = image_at(cfg, dataset, 21)
    assert torch.equal(first, again)
    places = {tuple(_cut_pixels(image_at(cfg, dataset, n))) for n in range(30)}
    assert len(places) > 8
    assert not torch.equal(first, other)


def image_at(cfg, dataset, number):
    sample = dataset[SampledIndex(3, number, seed=5)]
    return shown(cfg, {name: sample[name] for name in ("images", "painted")})


def _cut_pixels(image):
    return (image == torch.tensor(MEAN)[:, None, None]).all(dim=0).flatten().tolist()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"INPUT__CUTOUT__SIZE": [64, 64]},
            r"smaller than the image \(INPUT.SIZE_TRAIN \[32, 16\]",
        ),
        (
            {"INPUT__CUTOUT__SIZE": [8]},
            r"expected INPUT.CUTOUT.SIZE \[rows, columns\] .* got \[8\]",
        ),
        ({"INPUT__CUTOUT__PROB": 1.5}, r"expected INPUT.CUTOUT.PROB in \[0, 1\], got 1.5"),
    ],
)
def test_cutout_settings_are_checked(changes, message):
    with pytest.raises(ValueError, match=message):
        small_config("", **CUT | changes)
