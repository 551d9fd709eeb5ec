"""Compiled rules and patterns, against slow loops and numbers a person can check."""

import math

import numpy as np
import pytest

from fastreid_ext.rendered.cloth import PATTERNS, Cloth
from fastreid_ext.rendered.patterns import pattern_at, surface_at
from fastreid_ext.rendered.seams import ANY_SIDE, BACK, FRONT, SURFACES, SeamRule, Strip, rule_table


def table(*rules):
    rows = rule_table(rules).astype(np.float32)
    return rows, np.array([0, len(rows)])


def row(pattern, period=0.1, phase=0.0, duty=0.5, weave=0.0):
    """Row of a cloth of cotton, whose weave is set afterwards."""
    cloth = Cloth("cotton", "", (0, 0, 0), 0, pattern, period=period, phase=phase, duty=duty)
    values = np.array(cloth.row(), dtype=np.float32)
    values[12] = weave
    return values


def shares(surface, across, along):
    return np.array([pattern_at(surface, p, q, 0.0, 1)[0] for p in across for q in along])


def holds(rule, p, q, r):
    """Tell whether a seam rule holds at a spot: its definition, in plain words of Python."""
    if not rule.low <= q < rule.high or rule.side * r < 0:
        return False
    strip = rule.strip
    share = (q - rule.low) / (rule.high - rule.low)
    half = strip.low_half_width + share * (strip.high_half_width - strip.low_half_width)
    centre = strip.centre + strip.slope * (q - rule.low)
    distance = (abs(p) if strip.mirrored else p) - centre
    return -half < distance < half


def test_surface_at_agrees_with_a_slow_loop():
    rng = np.random.default_rng(0)
    rules = []
    for _ in range(12):
        low = rng.uniform(0, 0.4)
        strip = Strip(
            rng.uniform(-0.1, 0.1),
            rng.uniform(-0.5, 0.5),
            rng.uniform(0, 0.1),
            rng.uniform(0, 0.1),
            bool(rng.random() < 0.5),
        )
        high = low + rng.uniform(0.05, 0.4)
        side = float(rng.choice([FRONT, BACK, ANY_SIDE]))
        rules.append(SeamRule(0, str(rng.choice(SURFACES)), low, high, strip, side))
    rows = rule_table(rules)
    starts = np.array([0, len(rows)])
    found = set()
    for p, q, r in rng.uniform((-0.2, -0.1, -1), (0.2, 0.8, 1), (2000, 3)):
        expected = "skin"  # where no rule holds
        for rule in rules:
            if holds(rule, p, q, r):
                expected = rule.surface
        assert SURFACES[surface_at(rows.astype(np.float32), starts, 0, p, q, r)] == expected
        found.add(expected)
    assert len(found) > 5


def test_surface_at_reads_the_rules_of_its_zone_only():
    rows = rule_table([SeamRule(0, "upper"), SeamRule(1, "lower"), SeamRule(2, "shoes")])
    starts = np.array([0, 1, 2, 3])
    found = [
        SURFACES[surface_at(rows.astype(np.float32), starts, z, 0.0, 0.0, 0.0)] for z in (0, 1, 2)
    ]
    assert found == ["upper", "lower", "shoes"]


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
    striped = row("horizontal stripes")
    assert shares(striped, [0.0], (0.02, 0.07, 0.12, 0.17)).tolist() == [1.0, 0.0, 1.0, 0.0]
    assert shares(striped, [0.0, 0.04, 0.3], [0.02]).tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("duty", [0.25, 0.4, 0.55])
def test_duty_is_the_share_of_the_second_colour(duty):
    """Over whole periods; pin stripes are narrower and twice as many, checks fill half of both."""
    at = (np.arange(400) + 0.5) / 400 * 0.6  # six periods of 0.1 m
    horizontal = shares(row("horizontal stripes", duty=duty), [0.0], at)
    vertical = shares(row("vertical stripes", duty=duty), at, [0.0])
    assert horizontal.mean() == pytest.approx(duty, abs=0.01)
    assert vertical.mean() == pytest.approx(0.6 * duty, abs=0.01)
    assert np.count_nonzero(np.diff(horizontal) > 0) == 5  # the first begins at 0
    assert np.count_nonzero(np.diff(vertical) > 0) == 11
    checks = shares(row("checks", duty=duty), at[::5], at[::5])
    assert set(checks) == {0.0, 0.5, 1.0}
    assert checks.mean() == pytest.approx(duty, abs=0.03)
    assert (checks == 1.0).mean() == pytest.approx(duty**2, abs=0.03)


def test_phase_moves_the_stripes_up():
    still = shares(row("horizontal stripes"), [0.0], np.arange(0.005, 0.3, 0.01))
    moved = shares(row("horizontal stripes", phase=0.03), [0.0], np.arange(0.005, 0.3, 0.01) - 0.03)
    assert still.tolist() == moved.tolist()


def test_colour_block_begins_below_the_chest():
    block = row("colour block", phase=0.05)
    assert (
        shares(block, [-0.2, 0.2], (-0.1, 0.1, 0.169, 0.171, 0.5)).tolist() == [0, 0, 0, 1, 1] * 2
    )


def test_speckles_cover_their_share_in_cells_of_a_45th_of_a_metre():
    at = (np.arange(60) + 0.5) / 45
    speckled = row("speckled")
    values = shares(speckled, at, at)
    assert set(values) == {0.0, 1.0}
    assert values.mean() == pytest.approx(0.28, abs=0.03)
    assert shares(speckled, at + 0.4 / 45, at - 0.4 / 45).tolist() == values.tolist()


def test_quilted_is_dark_at_its_seams_and_bright_between():
    quilted = row("quilted")
    found = [pattern_at(quilted, 0.0, q, 0.0, 1) for q in (0.0, 0.0375, 0.1125)]
    tones = [tone for _, tone in found]
    assert {share for share, _ in found} == {0.0}
    for tone, seam in zip(tones, (0.0, 1.0, 1.0), strict=True):
        assert tone == pytest.approx(0.62 + 0.5 * math.sqrt(seam), rel=0.05)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_no_pattern_leaves_its_range(pattern):
    """Weave 0.14, hair's, is the roughest: grain of 7 % and shade of 27 % either way."""
    rng = np.random.default_rng(0)
    rough = row(pattern, weave=0.14)
    for p, q, r in rng.uniform(-1, 1, (300, 3)):
        share, tone = pattern_at(rough, p, q, r, 77)
        assert share in (0.0, 0.5, 1.0)
        assert 0.62 * 0.66 <= tone <= 1.12 * 1.35


def test_weave_makes_cloth_uneven():
    rng = np.random.default_rng(0)
    spots = rng.uniform(-0.3, 0.3, (300, 3))
    spread = [
        np.std([pattern_at(row("plain", weave=weave), *spot, 3)[1] for spot in spots])
        for weave in (0.0, 0.05, 0.14)
    ]
    assert spread[0] < 0.02 < spread[1] < spread[2]
