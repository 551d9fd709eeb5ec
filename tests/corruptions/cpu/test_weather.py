"""Snow and fog: described rules as loops, closed forms, moments of the fast mode."""

import numpy as np
import pytest
from scipy import ndimage

from fastreid_ext.corruptions.cpu import corrupt
from fastreid_ext.corruptions.cpu.fog import FOG, plasma_map
from fastreid_ext.corruptions.cpu.snow import SNOW, flake_layer, flake_source, snowed

from .modes import SEVERITIES, fast, moments_agree, noise_image, reference


@pytest.mark.parametrize("severity", SEVERITIES)
def test_fast_snow_has_the_moments_of_reference(severity):
    moments_agree("snow", severity, np.full((96, 64, 3), 60, np.uint8), samples=150)


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("shape", [(32, 45), (71, 33)])
def test_flakes_are_scipys_zoom_of_the_centre_above_a_threshold(severity, shape):
    mean, deviation, factor, threshold = SNOW[severity - 1][:4]
    noise = np.random.RandomState(0).normal(mean, deviation, shape)
    rows, columns = flake_source(*shape, factor)
    top, left = (shape[0] - rows) // 2, (shape[1] - columns) // 2
    centre = noise[top : top + rows, left : left + columns]
    expected = np.clip(ndimage.zoom(centre, factor, order=1), 0, 1)
    expected[expected < threshold] = 0
    layer = flake_layer(noise, *shape, factor, threshold)
    np.testing.assert_allclose(layer, expected, atol=1e-6)
    alone = flake_layer(np.ascontiguousarray(centre), *shape, factor, threshold)
    np.testing.assert_array_equal(alone, layer)


def test_snow_is_laid_on_as_described():
    image = noise_image(32, 40)
    layer = np.random.default_rng(1).random((34, 41), dtype=np.float32) ** 8
    expected = np.empty(image.shape)
    steps = np.round(layer[:32, :40].astype(np.float64) * 255)
    for y in range(32):
        for x in range(40):
            r, g, b = image[y, x].astype(float)
            light = 1.5 * (0.299 * r + 0.587 * g + 0.114 * b) + 127.5
            flakes = steps[y, x] + steps[31 - y, 39 - x]
            for c in range(3):
                value = float(image[y, x, c])
                expected[y, x, c] = min(0.7 * value + 0.3 * max(value, light) + flakes, 255)
    difference = snowed(image, layer, 0.7) - np.floor(expected)
    assert np.abs(difference).max() <= 1
    assert (difference != 0).mean() < 0.01


@pytest.mark.parametrize("severity", SEVERITIES)
def test_snow_on_an_even_image_is_equal_upside_down(severity):
    snowy = fast(np.full((64, 48, 3), 90, np.uint8), "snow", severity)
    np.testing.assert_array_equal(snowy, snowy[::-1, ::-1])


def test_reference_snow_samples_a_number_for_each_pixel():
    image = noise_image(40, 50)
    ours = np.random.RandomState(0)
    plain = np.random.RandomState(0)
    corrupt(image, "snow", 5, ours, reference=True)
    plain.normal(size=40 * 50)
    plain.uniform()
    assert ours.randint(2**31) == plain.randint(2**31)


def slow_plasma(noise, side, decay):
    """Diamond-square on a torus, cell by cell, one number after the other."""
    cells = np.zeros((side, side))
    numbers = iter(noise)
    step = side
    wibble = 100.0

    def wobble():
        return wibble * (-wibble + 2 * wibble * next(numbers))

    while step >= 2:
        half = step // 2
        places = range(0, side, step)
        for y in places:
            for x in places:
                right = (x + step) % side
                below = (y + step) % side
                corners = (cells[y, x] + cells[below, x]) + (cells[y, right] + cells[below, right])
                cells[y + half, x + half] = corners / 4 + wobble()
        for y in places:
            for x in places:
                middles = cells[y + half, x + half] + cells[(y - half) % side, x + half]
                olds = cells[y, x] + cells[y, (x + step) % side]
                cells[y, x + half] = (middles + olds) / 4 + wobble()
        for y in places:
            for x in places:
                middles = cells[y + half, x + half] + cells[y + half, (x - half) % side]
                olds = cells[y, x] + cells[(y + step) % side, x]
                cells[y + half, x] = (middles + olds) / 4 + wobble()
        step //= 2
        wibble /= decay
    assert next(numbers, None) is None
    return cells


@pytest.mark.parametrize("side", [2, 8, 32])
@pytest.mark.parametrize("decay", [2, 1.4])
def test_plasma_equals_the_slow_rule(side, decay):
    noise = np.random.RandomState(0).random_sample(side * side - 1)
    expected = slow_plasma(noise, side, decay)
    np.testing.assert_array_equal(plasma_map(noise, side, decay), expected)
    single = plasma_map(noise.astype(np.float32), side, decay)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, expected, rtol=1e-4, atol=0.1)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_fog_on_white_is_the_plasma_itself(severity):
    """(1 + w m) / (1 + w) of white; a 32 x 20 image shows the top left of a map of 32."""
    weight, decay = FOG[severity - 1]
    plasma = slow_plasma(np.random.RandomState(3).random_sample(1023), 32, decay)[:, :20]
    whole = slow_plasma(np.random.RandomState(3).random_sample(1023), 32, decay)
    plasma = (plasma - whole.min()) / (whole.max() - whole.min())
    expected = np.floor((1 + weight * plasma) / (1 + weight) * 255)
    foggy = reference(np.full((32, 32, 3), 255, np.uint8), "fog", severity, 3)
    assert np.abs(foggy[:, :20] - expected[..., None]).max() <= 1
    assert foggy.max() == 255
    assert foggy.min() == int(255 / (1 + weight))


@pytest.mark.parametrize("severity", SEVERITIES)
def test_fast_fog_has_the_moments_of_reference(severity):
    moments_agree("fog", severity, noise_image(48, 64), samples=150)


@pytest.mark.parametrize("mode", [fast, reference])
def test_fog_keeps_black_black_and_nothing_brighter_than_before(mode):
    assert mode(np.zeros((40, 33, 3), np.uint8), "fog", 3).max() == 0
    assert mode(np.minimum(noise_image(40, 33), 170), "fog", 3).max() <= 170


@pytest.mark.parametrize("name", ["snow", "frost", "fog", "spatter"])
@pytest.mark.parametrize("shape", [(32, 32), (33, 101), (257, 32), (64, 1024)])
def test_any_size_and_layout(name, shape):
    image = noise_image(*shape)
    image.flags.writeable = False
    before = image.copy()
    for severity in (1, 5):
        for mode in (fast, reference):
            weathered = mode(image, name, severity)
            assert weathered.shape == image.shape
            assert weathered.dtype == np.uint8
            np.testing.assert_array_equal(image, before)
            turned = np.asfortranarray(image)
            np.testing.assert_array_equal(mode(turned, name, severity), weathered)
