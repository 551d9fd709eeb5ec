"""Brightness, saturation, contrast, pixels, JPEG and warps against hand cases and Pillow."""

import colorsys
import io

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from fastreid_ext.corruptions.cpu import corrupt
from fastreid_ext.corruptions.cpu.colour import BRIGHTNESS_ADDED, CONTRASTS, SATURATE
from fastreid_ext.corruptions.cpu.elastic_transform import (
    ELASTIC_STRENGTHS,
    _kernel,
    _smooth,
    _taken,
)
from fastreid_ext.corruptions.cpu.jpeg_compression import JPEG_QUALITIES
from fastreid_ext.corruptions.cpu.pixelate import PIXELATE_SIDES

SEVERITIES = [1, 2, 3, 4, 5]
MODES = [True, False]
mode = pytest.mark.parametrize("reference", MODES, ids=["reference", "fast"])
each_severity = pytest.mark.parametrize("severity", SEVERITIES)


def run(image, name, severity, reference=False, seed=0):
    rng = np.random.RandomState(seed) if reference else np.random.default_rng(seed)
    return corrupt(image, name, severity, rng, reference=reference)


def even(*colour):
    return np.broadcast_to(np.array(colour, np.uint8), (32, 33, 3)).copy()


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


@mode
@each_severity
@pytest.mark.parametrize("shape", [(32, 32), (57, 43), (256, 128)], ids=str)
def test_pixelate_and_jpeg_are_pillows(severity, reference, shape, texture):
    image = texture(*shape)
    size = tuple(int(side * PIXELATE_SIDES[severity - 1]) for side in shape[::-1])
    small = Image.fromarray(image).resize(size, Image.Resampling.BOX)
    large = small.resize(shape[::-1], Image.Resampling.NEAREST)
    np.testing.assert_array_equal(run(image, "pixelate", severity, reference), np.array(large))
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=JPEG_QUALITIES[severity - 1])
    np.testing.assert_array_equal(
        run(image, "jpeg_compression", severity, reference), np.array(Image.open(buffer))
    )


@pytest.mark.parametrize("size", [(40, 33), (33, 70)], ids=str)
@pytest.mark.parametrize("reach", [0.0, 0.7, 3.0, 90.0])
def test_a_warp_reads_where_scipy_does(size, reach, texture):
    """Also from beyond the border, which is a mirror that may be met several times."""
    rng = np.random.default_rng(0)
    image = texture(*size)
    down, across = rng.uniform(-reach, reach, (2, *size)).astype(np.float32)
    y, x = np.mgrid[: size[0], : size[1]]
    wanted = [
        ndimage.map_coordinates(
            image[..., channel].astype(float), (y + down, x + across), order=1, mode="reflect"
        )
        for channel in range(3)
    ]
    difference = _taken(image, down, across) - np.stack(wanted, axis=-1)
    assert difference.max() < 0.01
    assert difference.min() > -1.01


@pytest.mark.parametrize("size", [(32, 32), (33, 150), (256, 128)], ids=str)
def test_displacements_are_smoothed_as_scipy_does(size):
    noise = np.random.default_rng(0).random(size, dtype=np.float32)
    sigma = [0.01 * side for side in size]
    wanted = ndimage.gaussian_filter(
        (noise.astype(float) - 0.5) * 6, sigma, mode="reflect", truncate=3
    )
    np.testing.assert_allclose(_smooth(noise, 3.0), wanted, atol=1e-5)
    assert _kernel(size[0]).sum() == pytest.approx(1)


@mode
@each_severity
def test_an_elastic_warp_moves_pixels_as_far_as_its_formula(severity, reference):
    """An image of columns numbered by grey level tells how far each pixel was moved."""
    height, width = 96, 200
    ramp = np.broadcast_to(np.arange(width, dtype=np.uint8)[None, :, None], (height, width, 3))
    moves = [
        run(ramp, "elastic_transform", severity, reference, seed)[:, 40:-40, 0] + 0.5
        for seed in range(20)
    ]
    found = np.std(np.stack(moves) - np.arange(40, width - 40))
    noise = np.random.default_rng(0).uniform(-0.005 * height, 0.005 * height, (20, height, width))
    smooth = [ndimage.gaussian_filter(plane, (0.96, 2.0), truncate=3) for plane in noise]
    wanted = ELASTIC_STRENGTHS[severity - 1] * np.std(smooth)
    rounding = 1 / 12  # of the grey level that is read
    assert found == pytest.approx(np.sqrt(wanted**2 + rounding), rel=0.05)


@mode
def test_an_elastic_warp_leaves_an_even_image(reference):
    for level in (0, 1, 99, 254, 255):
        image = even(level, level, level)
        np.testing.assert_array_equal(run(image, "elastic_transform", 5, reference), image)
