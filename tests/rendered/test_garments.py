"""Tables of garments: every entry is something that the tailor can make."""

import pytest

from fastreid_ext.rendered.cloth import FABRICS, PATTERNS
from fastreid_ext.rendered.garments import LOWERS, UPPERS

COLLARS = {"round", "v", "shirt", "lapel", "high", "hood"}


def assert_weights(weights, known):
    assert weights
    assert set(weights) <= set(known)
    assert all(weight > 0 for weight in weights.values())


def assert_range(bounds, least, most):
    low, high = bounds
    assert least <= low < high <= most


@pytest.mark.parametrize("kind", UPPERS)
def test_upper_is_possible(kind):
    cut = UPPERS[kind]
    assert_weights(cut.fabrics, FABRICS)
    assert_weights(cut.collar, COLLARS)
    assert_weights(cut.patterns, PATTERNS)
    assert_range(cut.sleeve, 0, 1)
    assert_range(cut.hem, 0, 0.8)
    assert_range(cut.thickness, 0.001, 0.07)
    assert_range(cut.ease, 0, 0.1)
    assert 0 <= cut.open_share <= 1
    assert 0 <= cut.prints <= 1


@pytest.mark.parametrize("kind", LOWERS)
def test_lower_is_possible(kind):
    cut = LOWERS[kind]
    assert_weights(cut.fabrics, FABRICS)
    assert_weights(cut.patterns, PATTERNS)
    assert_range(cut.leg, 0, 1.05)
    assert_range(cut.ease, 0, 0.06)
    assert cut.skirt == ("skirt" in kind)


def test_only_coats_and_dresses_cover_the_thighs():
    others = [cut.hem[1] for kind, cut in UPPERS.items() if kind not in ("coat", "dress")]
    assert min(UPPERS[kind].hem[0] for kind in ("coat", "dress")) > max(others)


def test_lengths_of_legs_are_in_order():
    assert LOWERS["shorts"].leg[1] < LOWERS["long skirt"].leg[0] < LOWERS["jeans"].leg[0]
    assert LOWERS["skirt"].leg[1] < LOWERS["long skirt"].leg[0]


def test_winter_wear_is_thicker_than_summer_wear():
    summer = max(UPPERS[kind].thickness[1] for kind in ("t-shirt", "polo", "tank top", "dress"))
    for kind in ("hoodie", "jacket", "down jacket", "coat"):
        assert UPPERS[kind].thickness[0] > summer
    assert UPPERS["down jacket"].thickness[0] == max(cut.thickness[0] for cut in UPPERS.values())


def test_a_garment_worn_open_has_sleeves_and_no_chest_to_cover():
    for cut in UPPERS.values():
        if cut.open_share:
            assert cut.sleeve[0] >= 0.5
            assert not {"round", "v"} & set(cut.collar)
