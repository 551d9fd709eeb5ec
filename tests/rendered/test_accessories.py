"""Hair, headwear and bags: where each piece lies and what carries it."""

import dataclasses

import numpy as np
import pytest

from fastreid_ext.rendered import body_coordinates as bc
from fastreid_ext.rendered.accessories import (
    HAIR,
    HAND_OF_ANCHOR,
    bag_pieces,
    hair_pieces,
    headwear_pieces,
)
from fastreid_ext.rendered.identities import FEMININE_HAIR, MASCULINE_HAIR
from fastreid_ext.rendered.pieces import GROUND_ANCHOR, LEFT_HAND_ANCHOR, RIGHT_HAND_ANCHOR
from fastreid_ext.rendered.seams import FRONT, SURFACES, seam_table

BAGS = ("backpack", "shoulder bag", "handbag", "shopping bag", "suitcase")


def with_hair(identity, style, headwear="none"):
    outfit = dataclasses.replace(identity.outfit, headwear_kind=headwear)
    return dataclasses.replace(identity, hair_style=style, outfit=outfit)


def head_box(figure):
    own = figure.vertices[(figure.zone == bc.HEAD) | (figure.zone == bc.HAIR)]
    return own.min(axis=0), own.max(axis=0)


def test_every_hair_style_is_known():
    assert set(FEMININE_HAIR) | set(MASCULINE_HAIR) == set(HAIR)


@pytest.mark.parametrize("style", HAIR)
def test_hair_that_sticks_out_is_a_piece(figure, identity, style):
    pieces = hair_pieces(figure, with_hair(identity, style))
    assert len(pieces) == (style in ("bun", "ponytail", "bob", "long"))
    assert {piece.surface for piece in pieces} <= {"hair"}


@pytest.mark.parametrize("style", ["bob", "long"])
def test_hair_falls_as_far_as_its_style_says(figure, identity, style):
    (fall,) = hair_pieces(figure, with_hair(identity, style))
    crown = head_box(figure)[1][1]
    assert crown - fall.vertices[:, 1].min() == pytest.approx(HAIR[style][1] * figure.head_height)
    assert fall.coordinates[:, 1] == pytest.approx(crown - fall.vertices[:, 1])


@pytest.mark.parametrize(
    ("style", "headwear"), [("bob", "none"), ("long", "none"), ("bald", "headscarf")]
)
def test_a_fall_leaves_the_face_free(figure, identity, style, headwear):
    (fall,) = hair_pieces(figure, with_hair(identity, style, headwear))
    low, high = head_box(figure)
    level = fall.vertices[fall.vertices[:, 1] > low[1]]
    in_front = level[level[:, 2] > (low[2] + high[2]) / 2]
    assert np.abs(in_front[:, 0]).min() > 0.02
    behind = level[level[:, 2] < low[2]]
    assert np.abs(behind[:, 0]).min() < 1e-9


def test_a_fall_is_seen_from_both_sides(figure, identity):
    (fall,) = hair_pieces(figure, with_hair(identity, "long"))
    half = len(fall.faces) // 2
    assert np.array_equal(fall.faces[:half], fall.faces[half:, ::-1])


def test_a_headscarf_replaces_whatever_hair_there_is(figure, identity):
    for style in HAIR:
        (piece,) = hair_pieces(figure, with_hair(identity, style, "headscarf"))
        assert piece.surface == "headwear"


def test_bun_and_ponytail_are_behind_the_head(figure, identity):
    low, high = head_box(figure)
    for style in ("bun", "ponytail"):
        (piece,) = hair_pieces(figure, with_hair(identity, style))
        assert piece.vertices[:, 2].mean() < low[2] + 0.01
        assert piece.vertices[:, 1].max() < high[1] + 0.005


def test_a_cap_has_a_brim_in_front_and_a_hat_all_around(figure, identity):
    low, high = head_box(figure)
    (cap,) = headwear_pieces(figure, with_hair(identity, "short", "cap"))
    assert cap.vertices[:, 2].max() > high[2] + 0.08
    assert cap.vertices[:, 2].min() > (low[2] + high[2]) / 2
    (hat,) = headwear_pieces(figure, with_hair(identity, "short", "hat"))
    assert hat.vertices.max(axis=0)[[0, 2]] == pytest.approx(high[[0, 2]] + 0.075)
    assert hat.vertices.min(axis=0)[[0, 2]] == pytest.approx(low[[0, 2]] - 0.075)
    for piece in (cap, hat):
        assert piece.weights[:, bc.HEAD_JOINT].tolist() == [1.0] * len(piece.vertices)


@pytest.mark.parametrize("kind", ["none", "beanie", "headscarf"])
def test_headwear_without_a_brim_is_no_piece(figure, identity, kind):
    assert headwear_pieces(figure, with_hair(identity, "short", kind)) == []


@pytest.mark.parametrize("kind", BAGS)
def test_bags_are_carried_whole(figure, kind):
    for piece in bag_pieces(figure, kind):
        assert piece.weights.sum(axis=1) == pytest.approx(np.ones(len(piece.vertices)))
        assert (piece.weights == piece.weights[0]).all()
        assert piece.surface in ("bag", "dark")


def test_a_backpack_hangs_behind_the_back(figure):
    torso = figure.vertices[figure.zone == bc.TORSO]
    for piece in bag_pieces(figure, "backpack"):
        assert piece.vertices[:, 2].max() < torso[:, 2].min() + 0.02
        assert np.abs(piece.vertices[:, 0]).max() < np.abs(torso[:, 0]).max()


@pytest.mark.parametrize("kind", ["handbag", "shopping bag"])
def test_a_bag_hangs_below_the_right_hand(figure, kind):
    bag, handle = bag_pieces(figure, kind)
    hand = figure.joints[bc.RIGHT_HAND]
    assert bag.vertices[:, 1].max() < hand[1] - 0.09
    assert handle.vertices[:, 1].min() < bag.vertices[:, 1].max()
    assert handle.vertices[:, 1].max() > hand[1]
    assert bag.vertices[:, [0, 2]].mean(axis=0) == pytest.approx(hand[[0, 2]], abs=1e-4)
    assert bag.weights[0, RIGHT_HAND_ANCHOR] == handle.weights[0, RIGHT_HAND_ANCHOR] == 1.0


def test_a_suitcase_stands_on_the_ground_behind_the_left_hand(figure):
    pieces = bag_pieces(figure, "suitcase")
    assert min(piece.vertices[:, 1].min() for piece in pieces) == pytest.approx(0, abs=0.01)
    assert max(piece.vertices[:, 2].max() for piece in pieces) < 0
    assert {piece.weights[0, GROUND_ANCHOR] for piece in pieces} == {1.0}
    assert HAND_OF_ANCHOR == {
        LEFT_HAND_ANCHOR: bc.LEFT_HAND,
        RIGHT_HAND_ANCHOR: bc.RIGHT_HAND,
        GROUND_ANCHOR: bc.LEFT_HAND,
    }


def test_the_strap_of_a_shoulder_bag_ends_at_the_bag(figure, identity):
    """A strap starts at the right shoulder and slopes to the left hip, where the bag is."""
    (bag,) = bag_pieces(figure, "shoulder bag")
    rows = seam_table(figure, identity, "shoulder bag")
    straps = rows[rows[:, 9] == SURFACES.index("bag")]
    assert sorted(straps[:, 8]) == [-1.0, FRONT]
    for strap in straps:
        _, low, high, centre, slope = strap[:5]
        assert centre < 0
        end = centre + slope * (high - low)
        assert 0 < end < bag.vertices[:, 0].min() + 0.03
        assert figure.joints[bc.NECK, 1] - high == pytest.approx(bag.vertices[:, 1].max(), abs=0.06)
