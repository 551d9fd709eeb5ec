"""Lens, sensor and encoder against slow loops and closed forms."""

import dataclasses
import functools
import math

import numpy as np
import pytest

from fastreid_ext.pictures.contact_sheet import decode
from fastreid_ext.rendered.camera_effects import (
    _motion_kernel,
    _tone,
    _vignette,
    encode,
    expose,
)
from fastreid_ext.rendered.difficulty import difficulty
from fastreid_ext.rendered.domains import camera_specs
from fastreid_ext.rendered.shots import sample_shot
from fastreid_ext.rendered.views import FRAME_HEIGHT, FRAME_WIDTH, View

CENTRE = (FRAME_WIDTH / 2 - 30, FRAME_HEIGHT / 2 - 60, 60.0, 120.0)
NEUTRAL = dataclasses.replace(
    camera_specs("RenderedCampus")[0],
    gains=(1.0, 1.0, 1.0),
    exposure=1.0,
    gamma=1.0,
    saturation=1.0,
    contrast=1.0,
    blur=0.0,
    native=128,
    noise=0,
)
INFRARED = dataclasses.replace(NEUTRAL, infrared=True)


@functools.cache
def still_shot():
    """A shot without drift, haste or blur of its own."""
    names = [field.name for field in dataclasses.fields(View)]
    place = View(**dict.fromkeys(names) | {"spec": NEUTRAL, "focal": 600.0})
    shot = sample_shot(place, "none", 0, np.random.default_rng(0), level=difficulty("easy"))
    return dataclasses.replace(
        shot, exposure=1.0, gains=np.ones(3), sharpness=1.0, motion_length=0.0
    )


def picture(radiance, spec=NEUTRAL, height=128, width=64, seed=0, box=CENTRE, **changes):
    shot = dataclasses.replace(still_shot(), **changes)
    rng = np.random.default_rng(seed)
    return expose(radiance, box, spec, shot, height, width, rng)


def flat(value, height=128, width=64):
    return np.full((2 * height, 2 * width, 4), value, np.float32)


def slow_convolution(image, kernel):
    """Weigh neighbours, mirrored about the border pixels; any kernel of an odd size."""
    reach = len(kernel) // 2
    padded = np.pad(image, ((reach, reach), (reach, reach), (0, 0)), mode="reflect")
    out = np.zeros_like(image)
    for i in range(len(kernel)):
        for j in range(len(kernel)):
            shifted = padded[i : i + image.shape[0], j : j + image.shape[1]]
            out += kernel[i, j] * shifted
    return out


def test_vignette_takes_a_quarter_of_the_light_at_the_corners():
    light = _vignette((0, 0, FRAME_WIDTH, FRAME_HEIGHT), 540, 720)
    assert light[0, 0] == pytest.approx(0.75, abs=1e-3)
    assert light[269, 359] == pytest.approx(1.0, abs=1e-5)
    assert light[0, 359] == pytest.approx(0.875, abs=1e-3)
    assert light == pytest.approx(light[::-1, ::-1], abs=1e-6)


@pytest.mark.parametrize("length", [1.5, 2.0, 3.5, 9.0])
@pytest.mark.parametrize("angle", [0.0, 0.6, math.pi / 2, 2.5])
def test_motion_kernel_is_a_line_through_its_middle(length, angle):
    kernel = _motion_kernel(length, angle)
    assert kernel.sum() == pytest.approx(1)
    assert kernel == pytest.approx(kernel[::-1, ::-1])
    rows, columns = np.nonzero(kernel)
    middle = len(kernel) // 2
    across = (columns - middle) * math.sin(angle) - (rows - middle) * math.cos(angle)
    along = (columns - middle) * math.cos(angle) + (rows - middle) * math.sin(angle)
    assert np.abs(across).max() <= 0.75
    assert np.abs(along).max() <= length / 2 + 0.75


def test_tone_keeps_what_is_dark_and_bends_what_is_bright():
    levels = np.linspace(-0.2, 5, 200)[:, None, None] * np.ones(3)
    toned = _tone(levels, NEUTRAL)
    assert toned[:, 0, 0] == pytest.approx(toned[:, 0, 2], abs=1e-6)
    dark = (levels >= 0) & (levels <= 0.7)
    assert toned[dark] == pytest.approx(levels[dark], abs=1e-6)
    assert toned[levels < 0] == pytest.approx(0, abs=1e-6)
    assert (np.diff(toned[:, 0, 0]) >= -1e-6).all()
    assert toned.max() == pytest.approx(1.0, abs=1e-5)


def test_tone_closed_forms():
    grey = np.full((1, 1, 3), 0.25)
    curved = dataclasses.replace(NEUTRAL, gamma=2.0)
    assert _tone(grey, curved)[0, 0] == pytest.approx([0.5] * 3, abs=1e-5)
    steep = dataclasses.replace(NEUTRAL, contrast=1.5)
    assert _tone(grey, steep)[0, 0] == pytest.approx([0.45 - 1.5 * 0.2] * 3, abs=1e-5)
    colour = np.array([[[0.6, 0.3, 0.1]]])
    luma = 0.299 * 0.6 + 0.587 * 0.3 + 0.114 * 0.1
    faded = dataclasses.replace(NEUTRAL, saturation=0.0)
    assert _tone(colour, faded)[0, 0] == pytest.approx([luma] * 3, abs=1e-5)
    vivid = dataclasses.replace(NEUTRAL, saturation=2.0)
    assert _tone(colour, vivid)[0, 0] == pytest.approx(2 * colour[0, 0] - luma, abs=1e-5)


@pytest.mark.parametrize(
    ("length", "angle"), [(0.0, 0.0), (3.0, 0.0), (3.4, 1.1), (2.0, math.pi / 2)]
)
def test_expose_agrees_with_a_slow_camera(length, angle):
    """Average 2 x 2, gains, vignette, motion blur by direct convolution, lens of 0.3 pixels."""
    rng = np.random.default_rng(4)
    radiance = rng.uniform(0, 0.55, (256, 128, 4)).astype(np.float32)
    gains = np.array([1.1, 1.0, 0.8])
    spec = dataclasses.replace(NEUTRAL, gains=tuple(gains), exposure=0.9)
    found = picture(radiance, spec, motion_length=length, motion=angle, exposure=1.05)
    light = radiance[..., :3].reshape(128, 2, 64, 2, 3).mean(axis=(1, 3)).astype(np.float64)
    rows, columns = np.meshgrid(np.arange(128), np.arange(64), indexing="ij")
    x = (CENTRE[0] + CENTRE[2] * (columns + 0.5) / 64) / FRAME_WIDTH - 0.5
    y = (CENTRE[1] + CENTRE[3] * (rows + 0.5) / 128) / FRAME_HEIGHT - 0.5
    light *= gains * 0.9 * 1.05 * (1 - (x**2 + y**2) / 2)[..., None]
    if length:
        light = slow_convolution(light, _motion_kernel(length, angle))
    side = math.exp(-1 / (2 * 0.3**2))
    line = np.array([side, 1, side]) / (1 + 2 * side)
    value = slow_convolution(light, np.outer(line, line))
    assert found.astype(int) == pytest.approx(np.round(value * 255), abs=1)


def test_motion_blur_spares_stripes_along_its_direction():
    stripes = flat(0.1)
    stripes[:, ::8] = stripes[:, 1::8] = 0.6  # one pixel in four, vertical
    along = picture(stripes, motion_length=3.0, motion=math.pi / 2)
    across = picture(stripes, motion_length=3.0, motion=0.0)
    sharp = picture(stripes)
    assert np.abs(along.astype(int) - sharp).max() <= 1
    assert np.ptp(across[64, :, 0]) < 0.7 * np.ptp(sharp[64, :, 0])


@pytest.mark.parametrize("infrared", [False, True])
def test_noise_has_its_strength_and_is_grey_in_infrared(infrared):
    spec = dataclasses.replace(NEUTRAL, noise=4, infrared=infrared)
    grain = picture(flat(0.4), spec).astype(float) - picture(flat(0.4), NEUTRAL)
    assert grain.std() == pytest.approx(4, rel=0.05)
    assert grain.mean() == pytest.approx(0, abs=0.2)
    likeness = np.corrcoef(grain[..., 0].ravel(), grain[..., 2].ravel())[0, 1]
    assert likeness == pytest.approx(1.0 if infrared else 0.0, abs=0.05)


def test_infrared_reads_the_fourth_channel_alone():
    rng = np.random.default_rng(0)
    radiance = rng.uniform(0, 0.6, (256, 128, 4)).astype(np.float32)
    other = radiance.copy()
    other[..., :3] = rng.uniform(0, 0.6, (256, 128, 3))
    assert np.array_equal(picture(radiance, INFRARED), picture(other, INFRARED))
    other = radiance.copy()
    other[..., 3] = 0.1
    assert np.array_equal(picture(radiance), picture(other))
    assert not np.array_equal(picture(radiance, INFRARED), picture(other, INFRARED))


@pytest.mark.parametrize("native", [64, 32])
def test_a_coarser_sensor_keeps_means_and_loses_detail(native):
    radiance = np.random.default_rng(0).uniform(0, 0.6, (256, 128, 4)).astype(np.float32)
    sharp = picture(radiance)
    coarse = picture(radiance, dataclasses.replace(NEUTRAL, native=native))
    assert coarse.shape == sharp.shape
    assert coarse.mean() == pytest.approx(sharp.mean(), rel=0.02)
    assert coarse.std() < 0.7 * native / 64 * sharp.std()
    by_shot = picture(radiance, sharpness=native / 128)
    assert np.array_equal(by_shot, coarse)


@pytest.mark.parametrize(("height", "width"), [(32, 16), (128, 64), (200, 300)])
@pytest.mark.parametrize("infrared", [False, True])
def test_expose_shape_type_and_range_at_extremes(height, width, infrared):
    spec = dataclasses.replace(NEUTRAL, infrared=infrared, native=91, noise=6, contrast=1.4)
    for value, byte in ((0.0, 0), (1e4, 255)):
        radiance = flat(value, height, width)
        before = radiance.copy()
        found = picture(radiance, spec, height, width, motion_length=3.5, exposure=3.0)
        assert found.shape == (height, width, 3)
        assert found.dtype == np.uint8
        assert np.median(found) == byte
        assert np.array_equal(radiance, before)


def test_equal_generators_give_equal_noise():
    noisy = dataclasses.replace(NEUTRAL, noise=5)
    assert np.array_equal(picture(flat(0.3), noisy), picture(flat(0.3), noisy))
    assert not np.array_equal(picture(flat(0.3), noisy), picture(flat(0.3), noisy, seed=1))


def test_encode_keeps_colours_and_trades_bytes_for_quality():
    colours = np.zeros((64, 32, 3), np.uint8)
    colours[:32] = (200, 30, 60)
    colours[32:] = (20, 90, 220)
    assert np.abs(decode(encode(colours, 95)).astype(int) - colours)[4:28].max() <= 4
    noise = np.random.default_rng(0).integers(0, 255, (64, 32, 3), dtype=np.uint8)
    sizes = [len(encode(noise, quality)) for quality in (30, 60, 95)]
    assert sizes == sorted(sizes)
    assert encode(noise, 60) == encode(noise, 60)
