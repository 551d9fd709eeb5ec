"""Fog: its rules as slow loops, closed forms, moments of fast mode."""

import numpy as np
import pytest

from fastreid_ext.corruptions.cpu.fog import FOG, plasma_map

from .modes import SEVERITIES, fast, moments_agree, noise_image, reference


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
