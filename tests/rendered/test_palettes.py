"""Colours: the sRGB curve, names that can be told apart, and samples near a name."""

import numpy as np
import pytest

from fastreid_ext.rendered.palettes import (
    COLOURS,
    HAIR_COLOURS,
    SKIN_TONES,
    sample_key,
    to_linear,
    vary,
)


def to_bytes(linear):
    """Encode linear values as sRGB, by the inverse formula of IEC 61966-2-1."""
    linear = np.asarray(linear)
    encoded = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return encoded * 255


def test_to_linear_known_values():
    assert to_linear((0, 10, 255)) == pytest.approx([0.0, 10 / 255 / 12.92, 1.0])
    assert to_linear(128) == pytest.approx(0.2158605, abs=1e-6)
    assert to_linear(np.zeros((2, 3, 3))).shape == (2, 3, 3)


def test_to_linear_is_undone_by_the_srgb_curve():
    levels = np.arange(256)
    assert to_bytes(to_linear(levels)) == pytest.approx(levels, abs=0.02)


@pytest.mark.parametrize("names", [COLOURS, HAIR_COLOURS])
def test_named_colours_are_bytes_that_differ_by_more_than_their_spread(names):
    colours = np.array(list(names.values()), dtype=float)
    assert colours.min() >= 0
    assert colours.max() <= 255
    gaps = np.linalg.norm(colours[:, None] - colours[None], axis=-1)
    assert gaps[np.triu_indices(len(colours), 1)].min() > 20


def test_skin_tones_run_from_light_to_dark():
    luminance = to_linear(SKIN_TONES) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) < 0).all()


def test_vary_shifts_brightness_more_than_hue():
    """A shift of 9 bytes common to all channels, and one of 3 bytes of each."""
    rng = np.random.default_rng(0)
    shifts = to_bytes([vary((120, 128, 136), 9.0, rng) for _ in range(4000)]) - [120, 128, 136]
    assert shifts.mean(axis=0) == pytest.approx([0, 0, 0], abs=0.5)
    assert shifts.std(axis=0) == pytest.approx([90**0.5] * 3, rel=0.05)
    assert np.corrcoef(shifts.T)[0, 1] == pytest.approx(81 / 90, abs=0.02)


@pytest.mark.parametrize(("srgb", "limit"), [((0, 0, 0), 14), ((255, 255, 255), 238)])
def test_vary_is_never_perfectly_black_or_white(srgb, limit):
    reached = {vary(srgb, 1.0, np.random.default_rng(seed)) for seed in range(20)}
    assert to_bytes(list(reached)) == pytest.approx(np.full((len(reached), 3), limit), abs=0.05)


def test_sample_key_follows_the_weights():
    weights = {"rare": 0.5, "usual": 3.0, "often": 6.5}
    rng = np.random.default_rng(1)
    found = [sample_key(weights, rng) for _ in range(8000)]
    for name, weight in weights.items():
        share = weight / 10
        deviation = (share * (1 - share) / 8000) ** 0.5
        assert found.count(name) / 8000 == pytest.approx(share, abs=4 * deviation)


def test_sample_key_takes_one_random_number_whatever_the_weights():
    rng = np.random.default_rng(2)
    other = np.random.default_rng(2)
    assert sample_key({"only": 0.1}, rng) == "only"
    sample_key(dict.fromkeys("abcdef", 1.0), other)
    assert rng.random() == other.random()
