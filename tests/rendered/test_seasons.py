"""Wardrobes: known names, and garments that a season forbids."""

import pytest

from fastreid_ext.rendered.accessories import bag_pieces
from fastreid_ext.rendered.domains import DOMAINS
from fastreid_ext.rendered.garments import LOWERS, UPPERS
from fastreid_ext.rendered.palettes import COLOURS
from fastreid_ext.rendered.seasons import SEASONS

KNOWN = {
    "upper": UPPERS,
    "lower": LOWERS,
    "upper_colours": COLOURS,
    "lower_colours": COLOURS,
    "bags": ("none", "backpack", "shoulder bag", "handbag", "shopping bag", "suitcase"),
    "headwear": ("none", "cap", "hat", "beanie", "headscarf"),
}
WARM = {"coat", "down jacket", "jacket", "hoodie", "sweater", "blazer"}
BARE = {"t-shirt", "tank top", "polo", "dress"}


def test_every_domain_has_a_season():
    assert set(SEASONS) == set(DOMAINS)


@pytest.mark.parametrize("domain", SEASONS)
@pytest.mark.parametrize("field", KNOWN)
def test_weights_are_positive_and_of_known_names(domain, field):
    weights = getattr(SEASONS[domain], field)
    assert weights
    assert set(weights) <= set(KNOWN[field])
    assert all(weight > 0 for weight in weights.values())


def test_no_outfit_has_winter_clothes_in_summer():
    summer = SEASONS["RenderedStreet"]
    assert not set(summer.upper) & WARM
    assert "beanie" not in summer.headwear
    assert summer.scarf_share == 0


def test_no_outfit_has_summer_clothes_in_winter():
    winter = SEASONS["RenderedStation"]
    assert not set(winter.upper) & BARE
    assert not {"shorts", "skirt"} & set(winter.lower)
    assert winter.scarf_share == max(season.scarf_share for season in SEASONS.values())


@pytest.mark.parametrize("domain", SEASONS)
def test_a_man_finds_something_to_wear(domain):
    season = SEASONS[domain]
    assert set(season.upper) - {"dress"}
    assert [kind for kind in season.lower if not LOWERS[kind].skirt and kind != "leggings"]
    if "dress" in season.upper:  # worn over bare legs or leggings, which the season must know
        assert "leggings" in season.lower


@pytest.mark.parametrize("kind", KNOWN["bags"])
def test_every_bag_is_made_and_no_bag_makes_nothing(kind, figure):
    assert bool(bag_pieces(figure, kind)) == (kind != "none")
