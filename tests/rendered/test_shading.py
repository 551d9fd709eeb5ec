"""The compiled rules and patterns, on numbers a person can check."""

import numpy as np

from fastreid_ext.rendered.cloth import Cloth
from fastreid_ext.rendered.noise import cell, cloudy, smooth
from fastreid_ext.rendered.patterns import pattern_at, surface_at
from fastreid_ext.rendered.seams import BACK, FRONT, SURFACES, SeamRule, Strip, rule_table
from fastreid_ext.rendered.shading import lit


def table(*rules):
    rows = rule_table(rules).astype(np.float32)
    return rows, np.array([0, len(rows)])


def test_the_last_rule_that_holds_wins():
    rules, starts = table(SeamRule(0, "upper"), SeamRule(0, "skin", 0.5, 1.0))
    assert SURFACES[surface_at(rules, starts, 0, 0.0, 0.2, 0.0)] == "upper"
    assert SURFACES[surface_at(rules, starts, 0, 0.0, 0.7, 0.0)] == "skin"


def test_a_strip_narrows_and_shows_on_its_side_only():
    narrowing = Strip(low_half_width=0.08, high_half_width=0.0)
    neckline = SeamRule(0, "skin", 0.0, 0.1, narrowing, FRONT)
    rules, starts = table(SeamRule(0, "upper"), neckline)
    assert SURFACES[surface_at(rules, starts, 0, -0.06, 0.01, 1.0)] == "skin"
    assert SURFACES[surface_at(rules, starts, 0, 0.06, 0.09, 1.0)] == "upper"
    assert SURFACES[surface_at(rules, starts, 0, 0.06, 0.01, -1.0)] == "upper"


def test_a_sloped_strap_crosses_from_one_shoulder_to_the_other_hip():
    strap = SeamRule(0, "bag", 0.0, 0.5, Strip(-0.1, 0.4, 0.015, 0.015, mirrored=False), BACK)
    rules, starts = table(SeamRule(0, "upper"), strap)
    assert SURFACES[surface_at(rules, starts, 0, -0.1, 0.0, -1.0)] == "bag"
    assert SURFACES[surface_at(rules, starts, 0, 0.1, 0.499, -1.0)] == "bag"
    assert SURFACES[surface_at(rules, starts, 0, 0.1, 0.0, -1.0)] == "upper"


def test_stripes_alternate_with_their_period():
    cloth = Cloth(
        "cotton",
        "red",
        (0.5, 0, 0),
        0.5,
        pattern="horizontal stripes",
        period=0.1,
        phase=0.0,
        duty=0.5,
    )
    row = np.array(cloth.row(), dtype=np.float32)
    shares = [pattern_at(row, 0.0, q, 0.0, 1)[0] for q in (0.02, 0.07, 0.12, 0.17)]
    assert shares == [1.0, 0.0, 1.0, 0.0]


def test_noise_stays_between_zero_and_one_and_repeats():
    for function in (smooth, cloudy):
        values = np.array([function(0.37 * k, 0.91 * k, 5) for k in range(-200, 200)])
        assert values.min() >= 0.0
        assert values.max() <= 1.0
        assert values.std() > 0.05
    assert cell(3, -7, 1) == cell(3, -7, 1) != cell(4, -7, 1)


def test_a_point_under_the_shadow_map_is_dark_and_beside_it_is_lit():
    depth = np.full((10, 10), np.inf, np.float32)
    depth[4:6, 4:6] = 48.0  # something 2 m above, straight overhead
    frame = np.array([[1.0, 0, 0], [0, 0, 1.0], [0, 1.0, 0], [0.0, 0.0, 10.0]])
    assert lit(depth, frame, 0.5, 0.0, 0.5) == 0.0
    assert lit(depth, frame, 0.1, 0.0, 0.1) == 1.0
    assert lit(depth, frame, 0.5, 2.5, 0.5) == 1.0  # above it
    assert lit(depth, frame, 30.0, 0.0, 0.5) == 1.0  # outside the map
