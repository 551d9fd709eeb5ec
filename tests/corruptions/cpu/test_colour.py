"""Brightness, contrast and saturation against hand cases and colorsys."""

import colorsys

import numpy as np
import pytest

from fastreid_ext.corruptions.cpu.colour import BRIGHTNESS_ADDED, CONTRASTS, SATURATE

from .modes import MODES, each_severity, even, mode, run


@mode
@pytest.mark.parametrize(
    ("name", "severity", "colour", "wanted"),
    [
        ("brightness", 1, (100, 100, 100), (125, 125, 125)),  # + 25.5
        ("brightness", 1, (200, 100, 0), (225, 112, 0)),  # hue and saturation stay
        ("brightness", 1, (0, 0, 0), (25, 25, 25)),
        ("brightness", 5, (200, 100, 0), (255, 127, 0)),  # clipped at white
        ("saturate", 1, (200, 100, 0), (200, 170, 140)),  # 0.3 of the distance to the largest
        ("saturate", 3, (200, 150, 110), (200, 100, 20)),  # twice the distance
        ("saturate", 3, (200, 80, 50), (200, 40, 0)),  # black at most: 150 becomes 200
        ("saturate", 4, (100, 100, 100), (100, 90, 90)),  # a grey pixel becomes reddish
        ("saturate", 5, (100, 100, 100), (100, 80, 80)),
        ("saturate", 5, (0, 0, 0), (0, 0, 0)),
    ],
)
def test_colours_worked_out_by_hand(name, severity, colour, wanted, reference):
    found = run(even(*colour), name, severity, reference)
    assert np.abs(found.astype(int) - even(*wanted)).max() <= 1


@each_severity
def test_brightness_and_saturation_against_colorsys(severity, texture):
    image = texture(32, 32)
    factor, added = SATURATE[severity - 1]
    bright = np.empty(image.shape)
    rich = np.empty(image.shape)
    for place in np.ndindex(32, 32):
        h, s, v = colorsys.rgb_to_hsv(*(image[place] / 255.0))
        more = min(s * factor + added, 1) if s > 0 else min(added, 1)
        bright[place] = colorsys.hsv_to_rgb(h, s, min(v + BRIGHTNESS_ADDED[severity - 1], 1))
        rich[place] = colorsys.hsv_to_rgb(h, more, v)
    for name, wanted in (("brightness", bright), ("saturate", rich)):
        for reference in MODES:
            difference = run(image, name, severity, reference) - 255 * wanted
            assert difference.max() < 0.01
            assert difference.min() > -1.01


@pytest.mark.parametrize("name", ["brightness", "saturate"])
@each_severity
def test_fast_colours_are_at_most_one_level_from_the_reference(name, severity):
    image = np.random.default_rng(1).integers(0, 256, (300, 301, 3), dtype=np.uint8)
    image[:100] = np.sort(image[:100] // 16, axis=-1)  # dark and grey pixels, where hues are few
    fast = run(image, name, severity, False).astype(int)
    reference = run(image, name, severity, True).astype(int)
    assert np.abs(fast - reference).max() <= 1


@mode
@each_severity
def test_contrast_moves_every_channel_towards_its_mean(severity, reference):
    image = np.zeros((32, 40, 3), np.uint8)
    image[:, :20] = (200, 100, 30)
    share = CONTRASTS[severity - 1]
    found = run(image, "contrast", severity, reference)
    for channel, level in enumerate((200, 100, 30)):
        low, high = level / 2 * (1 - share), level / 2 * (1 + share)
        assert found[0, 0, channel] in {int(high), int(high + 1e-6), int(high - 1e-6)}
        assert found[0, -1, channel] in {int(low), int(low + 1e-6), int(low - 1e-6)}
