"""Outfits: every rule of a wardrobe holds over many samples."""

import functools

import numpy as np
import pytest

from fastreid_ext.rendered.cloth import FABRICS
from fastreid_ext.rendered.garments import LOWERS, UPPERS
from fastreid_ext.rendered.outfits import SHOES, resembling, sample_outfit
from fastreid_ext.rendered.seasons import SEASONS

DRESSED = ("upper", "inner", "print_cloth", "lower", "shoes", "sole", "bag", "headwear")


@functools.cache
def outfits(domain, feminine, count=80):
    rng = np.random.default_rng(11)
    return [sample_outfit(SEASONS[domain], feminine, rng) for _ in range(count)]


def everyone(domain):
    return outfits(domain, True) + outfits(domain, False)


def within(value, bounds):
    return bounds[0] - 1e-4 <= value <= bounds[1] + 1e-4


@pytest.mark.parametrize("domain", SEASONS)
def test_only_garments_of_the_season_are_worn(domain):
    season = SEASONS[domain]
    for outfit in everyone(domain):
        assert outfit.upper_kind in season.upper
        assert outfit.lower_kind in {*season.lower, "bare legs"}
        assert outfit.bag_kind in season.bags
        assert outfit.headwear_kind in season.headwear
        assert outfit.upper.colour in season.upper_colours
        if outfit.lower_kind == "jeans":
            assert outfit.lower.colour in ("denim blue", "navy", "black", "light blue")
            assert outfit.lower.fabric == "denim"
        else:
            assert outfit.lower.colour in season.lower_colours
        assert outfit.shoe_kind in SHOES


@pytest.mark.parametrize("domain", SEASONS)
def test_men_wear_neither_skirts_nor_dresses(domain):
    for outfit in outfits(domain, False):
        assert outfit.upper_kind != "dress"
        assert outfit.lower_kind not in ("skirt", "long skirt", "leggings", "bare legs")
    assert any(
        outfit.lower_kind in ("skirt", "long skirt", "bare legs")
        for outfit in outfits(domain, True)
    )


def test_below_a_dress_are_bare_legs_or_leggings():
    below = [o.lower_kind for o in outfits("RenderedMall", True, 400) if o.upper_kind == "dress"]
    assert set(below) == {"bare legs", "leggings"}
    assert below.count("leggings") / len(below) == pytest.approx(0.3, abs=0.13)
    for outfit in outfits("RenderedMall", True, 400):
        if outfit.lower_kind == "bare legs":
            assert outfit.upper_kind == "dress"
            assert outfit.leg == outfit.leg_ease == 0.0


@pytest.mark.parametrize("domain", SEASONS)
def test_garments_are_cut_within_their_ranges(domain):
    for outfit in everyone(domain):
        cut = UPPERS[outfit.upper_kind]
        for name in ("sleeve", "hem", "thickness", "ease"):
            assert within(getattr(outfit, name), getattr(cut, name))
        assert outfit.collar in cut.collar
        assert outfit.upper.fabric in cut.fabrics
        assert outfit.upper.pattern in cut.patterns
        if outfit.lower_kind in LOWERS:
            below = LOWERS[outfit.lower_kind]
            assert within(outfit.leg, below.leg)
            assert within(outfit.leg_ease, below.ease)
            assert outfit.lower.fabric in below.fabrics
            assert outfit.lower.pattern in below.patterns
        for name in DRESSED:
            worn = getattr(outfit, name)
            assert within(worn.nir, FABRICS[worn.fabric][:2])


@pytest.mark.parametrize("domain", SEASONS)
def test_openings_and_prints_belong_to_garments_that_have_them(domain):
    for outfit in everyone(domain):
        cut = UPPERS[outfit.upper_kind]
        assert outfit.opening == 0.0 or (cut.open_share and within(outfit.opening, (0.03, 0.1)))
        assert outfit.print_kind == "" or (cut.prints and outfit.print_kind in ("logo", "block"))


def test_shares_of_garments_follow_the_weights():
    season = SEASONS["RenderedStation"]
    worn = [outfit.upper_kind for outfit in outfits("RenderedStation", False, 600)]
    total = sum(season.upper.values())
    for kind, weight in season.upper.items():
        assert worn.count(kind) / 600 == pytest.approx(weight / total, abs=0.05)
    opened = [
        bool(o.opening) for o in outfits("RenderedStation", False, 600) if o.upper_kind == "coat"
    ]
    assert np.mean(opened) == pytest.approx(UPPERS["coat"].open_share, abs=0.1)


def test_scarves_are_worn_as_often_as_the_season_says():
    scarves = [o.scarf is not None for o in outfits("RenderedStation", False, 600)]
    assert np.mean(scarves) == pytest.approx(0.3, abs=0.05)
    assert not any(outfit.scarf for outfit in everyone("RenderedStreet"))


def test_beanies_are_knitted_and_soles_are_rubber():
    for outfit in everyone("RenderedStation"):
        assert outfit.headwear.fabric == ("wool" if outfit.headwear_kind == "beanie" else "cotton")
        assert outfit.sole.fabric == "rubber"
        assert outfit.sole.colour == "black" or outfit.shoe_kind == "sneakers"


def test_equal_generators_dress_equally():
    found = [
        sample_outfit(SEASONS["RenderedMall"], True, np.random.default_rng(seed))
        for seed in (3, 3, 4)
    ]
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("domain", SEASONS)
def test_a_look_alike_has_the_same_garments_and_colours_and_other_details(domain):
    rng = np.random.default_rng(0)
    shifts = []
    same = ("upper_kind", "lower_kind", "leg", "leg_ease", "thickness", "ease", "opening", "inner")
    surface = (
        "fabric",
        "colour",
        "rgb",
        "pattern",
        "second_colour",
        "second_rgb",
        "period",
        "duty",
    )
    for model in outfits(domain, True)[:60]:
        other = resembling(model, SEASONS[domain], rng)
        assert all(getattr(other, name) == getattr(model, name) for name in same)
        for cloth in ("upper", "lower"):
            for name in surface:
                assert getattr(getattr(other, cloth), name) == getattr(getattr(model, cloth), name)
            low, high, _, _ = FABRICS[getattr(model, cloth).fabric]
            shifts.append((getattr(other, cloth).nir - getattr(model, cloth).nir) / (high - low))
        cut = UPPERS[model.upper_kind]
        assert within(other.sleeve, cut.sleeve)
        assert within(other.hem, cut.hem)
        assert other.collar in cut.collar
        assert not (model.print_kind and other.print_kind)
        assert (other.shoes, other.bag) != (model.shoes, model.bag)
    # The difference of two independent uniform numbers deviates by the root of a sixth.
    assert np.std(shifts) == pytest.approx(6**-0.5, rel=0.2)
