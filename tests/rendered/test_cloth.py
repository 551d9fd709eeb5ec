"""Cloth: what a sample may be, and the row that the shader reads."""

import numpy as np
import pytest

from fastreid_ext.rendered.cloth import (
    FABRICS,
    PATTERNS,
    TABLE_COLUMNS,
    Cloth,
    plain,
    sample_cloth,
    sample_nir,
)
from fastreid_ext.rendered.palettes import COLOURS

COLOUR_WEIGHTS = {"white": 3.0, "red": 2.0, "navy": 1.0}


def samples(fabric="cotton", patterns=None, count=400):
    rng = np.random.default_rng(5)
    patterns = patterns or dict.fromkeys(PATTERNS, 1.0)
    return [sample_cloth(fabric, COLOUR_WEIGHTS, patterns, rng) for _ in range(count)]


def test_fabrics_have_possible_reflectances():
    for low, high, gloss, weave in FABRICS.values():
        assert 0 < low < high < 1
        assert 0 <= gloss <= 1
        assert 0 <= weave <= 1


@pytest.mark.parametrize("fabric", FABRICS)
def test_nir_fills_the_range_of_its_fabric(fabric):
    low, high, _, _ = FABRICS[fabric]
    rng = np.random.default_rng(0)
    values = [sample_nir(fabric, rng) for _ in range(300)]
    assert low <= min(values) < low + 0.05 * (high - low)
    assert high - 0.05 * (high - low) < max(values) <= high


def test_row_lists_the_columns_in_the_shaders_order():
    cloth = Cloth("denim", "blue", (0.1, 0.2, 0.3), 0.4, "checks", "red", (0.5, 0.6, 0.7), 0.8)
    checks = PATTERNS.index("checks")
    expected = [0.1, 0.2, 0.3, 0.5, 0.6, 0.7, 0.4, 0.8, checks, 0.08, 0.0, 0.02, 0.12, 0.5]
    assert cloth.row() == expected
    assert len(expected) == TABLE_COLUMNS


def test_second_colour_has_another_name_and_only_where_it_shows():
    for cloth in samples():
        assert cloth.colour in COLOUR_WEIGHTS
        if cloth.pattern in ("plain", "quilted"):
            assert cloth.second_colour == ""
        else:
            assert cloth.second_colour in COLOURS
            assert cloth.second_colour != cloth.colour


@pytest.mark.parametrize(("only", "other"), [("white", "navy"), ("red", "white")])
def test_second_colour_differs_from_the_only_colour_there_is(only, other):
    rng = np.random.default_rng(0)
    found = {
        sample_cloth("wool", {only: 1.0}, {"checks": 1.0}, rng).second_colour for _ in "ab" * 9
    }
    assert found == {other}


def test_sampled_values_stay_in_their_ranges():
    low, high, _, _ = FABRICS["cotton"]
    for cloth in samples():
        assert all(0 < value < 1 for value in (*cloth.rgb, *cloth.second_rgb))
        assert low <= cloth.nir <= high
        assert 0.8 * cloth.nir - 1e-4 <= cloth.second_nir <= 1.2 * cloth.nir + 1e-4
        assert 0.05 <= cloth.period <= 0.15
        assert 0 <= cloth.phase <= 0.15
        assert 0.25 <= cloth.duty <= 0.55


def test_pattern_never_given_never_sampled():
    assert {cloth.pattern for cloth in samples(patterns={"plain": 1, "checks": 2})} == {
        "plain",
        "checks",
    }
    assert {cloth.pattern for cloth in samples()} == set(PATTERNS)


def test_plain_keeps_the_colour_it_is_given():
    cloth = plain("skin", "tone 2", (0.3, 0.2, 0.1), np.random.default_rng(0))
    assert (cloth.rgb, cloth.colour, cloth.pattern) == ((0.3, 0.2, 0.1), "tone 2", "plain")
    assert 0.46 <= cloth.nir <= 0.60
