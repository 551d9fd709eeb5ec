"""Snow: its rules as slow loops, closed forms, moments of fast mode."""

import numpy as np
import pytest
from scipy import ndimage

from fastreid_ext.corruptions.cpu import corrupt
from fastreid_ext.corruptions.cpu.snow import SNOW, flake_layer, flake_source, snowed

from .modes import SEVERITIES, fast, moments_agree, noise_image


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
