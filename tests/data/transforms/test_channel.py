"""Channel augmentation and grey scale: by hand, by counts."""

from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from fastreid_ext.data.transforms.channel import (
    LUMINANCE,
    UNCHANGED,
    AdaptiveGray,
    ChannelErasing,
    ChannelExchange,
    with_channel,
)
from fastreid_ext.data.transforms.grayscale import RandomGrayscale
from fastreid_ext.data.transforms.soft_erasing import Patch

COLOURS = torch.tensor([[[10, 20]], [[100, 110]], [[200, 210]]])  # (3, 1, 2)


def counts(transform, times=8000):
    rng = np.random.default_rng(0)
    return Counter(transform.sample(rng) for _ in range(times))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("channel", [0, 1, 2])
def test_one_channel_is_copied_to_all(channel, dtype):
    image = COLOURS.to(dtype)
    changed = with_channel(image, channel)
    assert changed.tolist() == [image[channel].tolist()] * 3
    assert (changed.dtype, changed.is_contiguous()) == (dtype, True)
    changed.zero_()  # a copy
    assert torch.equal(image, COLOURS.to(dtype))


def test_luminance():
    # 0.2989 * 10 + 0.587 * 100 + 0.114 * 200 = 84.489; 20, 110, 210: 94.488
    assert with_channel(COLOURS.float(), LUMINANCE)[0, 0].tolist() == pytest.approx(
        [84.489, 94.488], abs=1e-3
    )
    assert with_channel(COLOURS.byte(), LUMINANCE).tolist() == [[[84, 94]]] * 3
    image = COLOURS.float()
    assert with_channel(image, UNCHANGED) is image


def test_exchange_takes_each_channel_equally_often():
    sampled = counts(ChannelExchange(probability=0.75))
    assert set(sampled) == {0, 1, 2, UNCHANGED}
    assert all(1860 < sampled[outcome] < 2140 for outcome in sampled)  # 2000, deviation 39
    sampled = counts(ChannelExchange(probability=1.0, with_luminance=True))
    assert set(sampled) == {0, 1, 2, LUMINANCE}
    assert all(1860 < sampled[outcome] < 2140 for outcome in sampled)


def test_adaptive_gray_leaves_an_eighth_unchanged():
    sampled = counts(AdaptiveGray())
    assert all(1860 < sampled[outcome] < 2140 for outcome in (0, 1, 2))
    assert all(890 < sampled[outcome] < 1110 for outcome in (LUMINANCE, UNCHANGED))  # deviation 30
    assert counts(AdaptiveGray(probability=0.0), 50) == {UNCHANGED: 50}


def test_channel_erasing_paints_its_colour():
    image = COLOURS.float().repeat(1, 4, 2)
    erasing = ChannelErasing(fill=(1.5, 2.0, 3.0))
    erased = erasing.apply(image, Patch(1, 1, 2, 2))
    assert erased[:, 1:3, 1:3].flatten(1).tolist() == [[1.5] * 4, [2.0] * 4, [3.0] * 4]
    outside = torch.ones(4, 4, dtype=torch.bool)
    outside[1:3, 1:3] = False
    assert torch.equal(erased[:, outside], image[:, outside])
    assert erasing.apply(image.byte(), Patch(0, 0, 1, 1))[:, 0, 0].tolist() == [2, 2, 3]
    assert torch.equal(image, COLOURS.float().repeat(1, 4, 2))


def test_half_of_the_images_are_erased_by_default():
    rng = np.random.default_rng(0)
    erasing = ChannelErasing(fill=(0, 0, 0))
    sampled = [erasing.sample(rng, 256, 128) for _ in range(4000)]
    assert 1880 < sum(patch is None for patch in sampled) < 2120
    areas = [patch.height * patch.width / (256 * 128) for patch in sampled if patch]
    assert 0.019 < min(areas)
    assert max(areas) < 0.41


@pytest.mark.parametrize(
    "transform",
    [
        ChannelExchange(probability=1.0),
        AdaptiveGray(),
        ChannelErasing(probability=1.0, fill=(9, 9, 9)),
    ],
    ids=lambda transform: type(transform).__name__,
)
def test_equal_seeds_give_equal_images_and_the_input_stays(transform):
    image = torch.rand(3, 40, 20) * 255
    before = image.clone()
    results = [[transform(image, np.random.default_rng(s)) for s in range(9)] for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    assert any(not torch.equal(results[0][0], other) for other in results[0][1:])
    assert torch.equal(image, before)


def test_grey_is_pillows():
    image = np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)
    before = image.copy()
    grey = RandomGrayscale.apply(image)
    assert np.array_equal(grey, np.asarray(Image.fromarray(image).convert("L").convert("RGB")))
    assert np.array_equal(image, before)
    assert grey.dtype == np.uint8


def test_a_fifth_becomes_grey():
    rng = np.random.default_rng(0)
    transform = RandomGrayscale(probability=0.2)
    assert 720 < sum(transform.sample(rng) for _ in range(4000)) < 880  # 800, deviation 25
    image = np.ones((2, 2, 3), np.uint8)
    assert RandomGrayscale(probability=0.0)(image, rng) is image
