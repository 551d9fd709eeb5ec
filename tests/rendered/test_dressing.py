"""Dressed bodies: the skin under cloth, and arrays that fit together."""

import dataclasses

import numpy as np
import pytest

from fastreid_ext.rendered import body_coordinates as bc
from fastreid_ext.rendered.accessories import HAIR
from fastreid_ext.rendered.dressing import _strongest, _wrinkles, displaced, dress, free_body
from fastreid_ext.rendered.identities import sample_identity
from fastreid_ext.rendered.pieces import ANCHORS, JOINTS
from fastreid_ext.rendered.seams import SURFACES

PHASES = np.array([0.3, 1.1, 2.5])


def dressed_person(person_id, bag=None, domain="RenderedStation", seed=0):
    person = sample_identity(free_body()[0], seed, domain, person_id, 1)
    return dress(person, person.outfit.bag_kind if bag is None else bag, seed, domain)


def changed(identity, **changes):
    return dataclasses.replace(identity, outfit=dataclasses.replace(identity.outfit, **changes))


def moved(figure, identity):
    """Distance by which each vertex is displaced."""
    return np.linalg.norm(displaced(figure, identity, PHASES) - figure.vertices, axis=1)


@pytest.mark.parametrize("person_id", [1, 2, 3])
def test_arrays_of_a_dressed_body_fit_together(person_id):
    body = dressed_person(person_id)
    count = len(body.vertices)
    zones = len(body.rule_starts) - 1
    assert body.influences.shape == body.shares.shape == (count, 4)
    assert body.coordinates.shape == (count, 3)
    assert body.face_zone.shape == (len(body.faces),)
    assert 0 <= body.faces.min() < body.faces.max() == count - 1
    assert 0 <= body.face_zone.min() < body.face_zone.max() == zones - 1
    assert body.surfaces.shape == (len(SURFACES), 14)
    assert body.joints.shape == (JOINTS, 3)
    for array in (body.vertices, body.shares, body.coordinates, body.rules, body.surfaces):
        assert array.dtype == np.float32
        assert np.isfinite(array).all()


@pytest.mark.parametrize("person_id", [1, 2, 3])
def test_every_zone_finds_its_own_rules(person_id):
    body = dressed_person(person_id)
    for zone in range(len(body.rule_starts) - 1):
        own = body.rules[body.rule_starts[zone] : body.rule_starts[zone + 1]]
        assert len(own)
        assert set(own[:, 0]) == {zone}


def test_shares_sum_to_one_and_name_joints_or_anchors():
    body = dressed_person(2, "suitcase")
    assert body.shares.sum(axis=1) == pytest.approx(np.ones(len(body.shares)), abs=1e-6)
    assert body.shares.min() >= 0
    assert body.influences.max() == JOINTS + ANCHORS - 1


def test_strongest_keeps_the_four_largest_weights():
    weights = np.random.default_rng(0).random((50, 27))
    weights /= weights.sum(axis=1, keepdims=True)
    joints, shares = _strongest(weights)
    for row, own_joints, own_shares in zip(weights, joints, shares, strict=True):
        largest = sorted(row, reverse=True)[:4]
        assert row[own_joints] == pytest.approx(largest)
        assert own_shares == pytest.approx(np.array(largest) / sum(largest), abs=1e-6)


def test_wrinkles_stay_within_one():
    spots = np.random.default_rng(0).uniform(-1, 1, (5000, 3))
    folds = _wrinkles(spots, PHASES)
    assert 0.9 < np.abs(folds).max() <= 1.0
    assert folds.mean() == pytest.approx(0, abs=0.03)


def test_bare_skin_is_not_displaced(figure, identity):
    clothes = {"sleeve": 0.3, "lower_kind": "shorts", "leg": 0.4, "shoe_kind": "sandals"}
    person = changed(identity, headwear_kind="none", **clothes)
    distance = moved(figure, dataclasses.replace(person, hair_style="bald"))
    along = figure.coordinates[:, 1]
    bare = (
        np.isin(figure.zone, [bc.HAND, bc.HEAD, bc.FOOT, bc.HAIR])
        | ((figure.zone == bc.ARM) & (along > 0.3 * figure.arm_length))
        | ((figure.zone == bc.LEG) & (along > 0.4 * figure.leg_length))
    )
    assert bare.mean() > 0.5
    assert distance[bare].max() < 1e-9
    assert distance[(figure.zone == bc.ARM) & (along < 0.25 * figure.arm_length)].min() > 0


def test_cloth_is_as_thick_as_the_outfit_says(figure, identity):
    """Without ease a torso is its thickness from the skin, give or take 3 mm of folds."""
    for thickness in (0.006, 0.05):
        distance = moved(figure, changed(identity, thickness=thickness, ease=0.0))
        chest = (figure.zone == bc.TORSO) & (figure.coordinates[:, 1] > 0.05)
        chest &= figure.coordinates[:, 1] < 0.4
        assert np.abs(distance[chest] - thickness).max() <= 0.003 + 1e-6
        assert distance[chest].mean() == pytest.approx(thickness, abs=0.001)


def test_cloth_never_lies_inside_the_body(figure, identity):
    thin = changed(identity, thickness=0.004, ease=0.03, leg_ease=0.0, lower_kind="leggings")
    body = displaced(figure, thin, PHASES) - figure.vertices
    from_middle = figure.vertices * [1, 0, 0]
    arms = (figure.zone == bc.LEG) & (np.abs(figure.coordinates[:, 0]) > 0.05)
    outwards = np.einsum("ij,ij->i", body[arms], from_middle[arms]) * figure.coordinates[arms, 0]
    assert (outwards >= -1e-12).mean() > 0.95


@pytest.mark.parametrize("style", HAIR)
def test_hair_is_as_thick_as_its_style(figure, identity, style):
    person = dataclasses.replace(changed(identity, headwear_kind="none"), hair_style=style)
    scalp = moved(figure, person)[figure.zone == bc.HAIR]
    thickness = HAIR[style][0]
    assert 0.75 * thickness - 1e-6 <= scalp.min()
    assert scalp.max() <= 1.25 * thickness + 1e-6


def test_a_cap_covers_the_hair(figure, identity):
    person = dataclasses.replace(changed(identity, headwear_kind="hat"), hair_style="bob")
    scalp = moved(figure, person)[figure.zone == bc.HAIR]
    assert scalp.mean() == pytest.approx(0.03, abs=0.003)


def test_shoes_and_boots(figure, identity):
    feet = figure.zone == bc.FOOT
    shins = (figure.zone == bc.LEG) & (figure.coordinates[:, 1] > 0.7 * figure.leg_length)
    bare = {"lower_kind": "bare legs", "leg": 0.0}
    sneakers = moved(figure, changed(identity, shoe_kind="sneakers", **bare))
    boots = moved(figure, changed(identity, shoe_kind="boots", **bare))
    assert sneakers[feet] == pytest.approx(np.full(feet.sum(), 0.009), abs=1e-6)
    assert sneakers[shins].max() < 1e-9
    assert boots[shins] == pytest.approx(np.full(shins.sum(), 0.012), abs=1e-6)


def test_wide_trousers_are_wider_below_the_knee(figure, identity):
    legs = figure.zone == bc.LEG
    shin = legs & (figure.coordinates[:, 1] > 0.6 * figure.leg_length)
    shin &= figure.coordinates[:, 1] < 0.9 * figure.leg_length
    plain = {"leg": 1.0, "shoe_kind": "sneakers"}
    means = {
        ease: moved(figure, changed(identity, lower_kind="wide trousers", leg_ease=ease, **plain))[
            shin
        ].mean()
        for ease in (0.0, 0.05)
    }
    assert means[0.05] - means[0.0] == pytest.approx(0.05, abs=0.005)


def test_surfaces_are_in_the_shaders_order(identity):
    outfit = identity.outfit
    table = dress(identity, "none", 0, "RenderedVI").surfaces
    worn = {"skin": identity.skin, "hair": identity.hair, "bag": outfit.bag, "sole": outfit.sole}
    for name in ("upper", "inner", "lower", "shoes", "headwear"):
        worn[name] = getattr(outfit, name)
    for name, cloth in worn.items():
        assert table[SURFACES.index(name)] == pytest.approx(cloth.row(), abs=1e-6)
    lips = table[SURFACES.index("lips"), :3] / table[SURFACES.index("skin"), :3]
    assert lips == pytest.approx([0.75, 0.5, 0.5])
    assert table[SURFACES.index("dark"), :3].max() < 0.02


def test_a_bag_changes_nothing_of_the_body(identity):
    without = dress(identity, "none", 0, "RenderedVI")
    carrying = dress(identity, "backpack", 0, "RenderedVI")
    count = len(without.vertices)
    assert len(carrying.vertices) > count
    assert np.array_equal(carrying.vertices[:count], without.vertices)
    assert np.array_equal(carrying.faces[: len(without.faces)], without.faces)
    assert carrying.salt == without.salt


def test_equal_identities_are_dressed_equally():
    one = dressed_person(5)
    other = dressed_person(5)
    for field in dataclasses.fields(one):
        assert np.array_equal(getattr(one, field.name), getattr(other, field.name))
    assert dressed_person(5, seed=1).salt != one.salt
