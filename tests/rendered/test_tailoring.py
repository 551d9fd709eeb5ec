"""Garment pieces: lengths as the outfit says, round the body, tied to the right joints."""

import dataclasses

import numpy as np
import pytest

from fastreid_ext.rendered import body_coordinates as bc
from fastreid_ext.rendered.cloth import Cloth
from fastreid_ext.rendered.tailoring import garment_pieces, hanging_weights, profile

SCARF = Cloth("wool", "red", (0.5, 0.0, 0.0), 0.5)


@pytest.fixture
def outfit(identity):
    """A T-shirt and trousers: one hem, no collar, no scarf."""
    return dataclasses.replace(
        identity.outfit,
        upper_kind="t-shirt",
        hem=0.1,
        thickness=0.007,
        ease=0.03,
        collar="round",
        lower_kind="trousers",
        leg=1.0,
        leg_ease=0.02,
        scarf=None,
    )


def test_profile_measures_a_ring(figure):
    """Eight points of trunk or thigh around a height; points of an arm there do not count."""
    angle = np.arange(8) * np.pi / 4
    ring = np.stack([0.2 * np.sin(angle), 0 * angle + 1.0, 0.1 * np.cos(angle) + 0.03], axis=1)
    vertices = np.concatenate([ring, [[0.6, 1.0, 0.0]], [[0.0, 1.2, 0.5]]])
    zone = np.array([bc.TORSO] * 4 + [bc.LEG] * 4 + [bc.ARM, bc.TORSO])
    made = dataclasses.replace(figure, vertices=vertices, zone=zone)
    assert profile(made, 1.02) == pytest.approx((0.2, 0.03, 0.1))
    assert profile(made, 3.0) == (0.15, 0.0, 0.11)  # nothing there


def test_hanging_weights_sum_to_one_and_are_shares(figure):
    grid = np.stack(np.meshgrid([-0.4, -0.05, 0, 0.1, 0.4], np.linspace(-0.9, 0.3, 30), [0]), -1)
    weights = hanging_weights(figure, grid.reshape(-1, 3))
    assert weights.sum(axis=1) == pytest.approx(np.ones(150))
    assert weights.min() >= 0


def test_hanging_weights_follow_pelvis_above_and_the_nearer_leg_below(figure):
    hip = figure.joints[bc.LEFT_HIP, 1]
    knee = figure.joints[bc.LEFT_KNEE, 1]
    at = np.array(
        [[0.0, hip, 0], [0.3, knee, 0], [-0.3, knee - 0.3, 0], [0, knee, 0], [0, hip + 1, 0]]
    )
    weights = hanging_weights(figure, at)
    assert weights[0, bc.PELVIS] == 1.0
    assert weights[1, bc.LEFT_HIP] == pytest.approx(0.7)
    assert weights[1, bc.RIGHT_HIP] == 0.0
    assert weights[2, bc.RIGHT_KNEE] == pytest.approx(0.2)
    assert weights[2, bc.LEFT_KNEE] == 0.0
    assert weights[3, bc.LEFT_HIP] == weights[3, bc.RIGHT_HIP]
    assert weights[4, bc.SPINE1] == pytest.approx(0.6)


@pytest.mark.parametrize("hem", [0.03, 0.1, 0.4, 0.7])
def test_hem_hangs_from_the_waist_to_its_length(figure, outfit, hem):
    (piece,) = garment_pieces(figure, dataclasses.replace(outfit, hem=hem))
    pelvis = figure.joints[bc.PELVIS, 1]
    assert piece.surface == "upper"
    assert piece.vertices[:, 1].min() == pytest.approx(pelvis - hem)
    assert piece.vertices[:, 1].max() == pytest.approx(pelvis + 0.1)
    along = figure.joints[bc.NECK, 1] - piece.vertices[:, 1]
    assert piece.coordinates[:, 1] == pytest.approx(along)


def test_hem_goes_round_the_body(figure, outfit):
    (piece,) = garment_pieces(figure, outfit)
    for level in np.unique(piece.vertices[:, 1].round(9)):
        ring = piece.vertices[np.isclose(piece.vertices[:, 1], level)]
        width, middle, depth = profile(figure, level)
        assert ring[:, 0].max() > width
        assert ring[:, 0].min() < -width
        assert ring[:, 2].max() > middle + depth
        assert ring[:, 2].min() < middle - depth


@pytest.mark.parametrize("kind", ["skirt", "long skirt"])
def test_skirt_is_a_second_tube_as_long_as_its_share_of_the_leg(figure, outfit, kind):
    worn = dataclasses.replace(outfit, lower_kind=kind, leg=0.5)
    _, skirt = garment_pieces(figure, worn)
    assert skirt.surface == "lower"
    drop = figure.joints[bc.PELVIS, 1] - skirt.vertices[:, 1].min()
    assert drop == pytest.approx(0.5 * figure.leg_length)


def test_dresses_flare_more_than_coats_and_coats_more_than_shirts(figure, outfit):
    widths = []
    for kind in ("shirt", "coat", "dress"):
        worn = dataclasses.replace(outfit, upper_kind=kind, hem=0.5)
        widths.append(garment_pieces(figure, worn)[0].vertices[:, 0].max())
    assert widths[0] < widths[1] < widths[2]


@pytest.mark.parametrize(
    ("collar", "surfaces"),
    [
        ("round", []),
        ("v", []),
        ("shirt", ["upper"]),
        ("lapel", ["inner"]),
        ("high", ["upper"]),
        ("hood", ["upper", "upper"]),
    ],
)
def test_collar_pieces(figure, outfit, collar, surfaces):
    _, *pieces = garment_pieces(figure, dataclasses.replace(outfit, collar=collar))
    assert [piece.surface for piece in pieces] == surfaces
    neck = figure.joints[bc.NECK]
    for piece in pieces:
        assert np.abs(piece.vertices - neck).max() < 0.25
        assert piece.weights.sum(axis=1) == pytest.approx(np.ones(len(piece.vertices)))


def test_a_high_collar_is_higher_than_that_of_a_shirt_and_a_hood_lies_behind(figure, outfit):
    tops = {}
    for collar in ("shirt", "high"):
        _, ring = garment_pieces(figure, dataclasses.replace(outfit, collar=collar))
        tops[collar] = ring.vertices[:, 1].max() - figure.joints[bc.NECK, 1]
    assert tops == pytest.approx({"shirt": 0.025, "high": 0.055})
    _, hood, _ = garment_pieces(figure, dataclasses.replace(outfit, collar="hood"))
    assert hood.vertices[:, 2].max() < figure.joints[bc.NECK, 2]


@pytest.mark.parametrize(("phase", "count"), [(0.03, 1), (0.1, 2)])
def test_one_end_of_three_scarves_in_five_hangs_down_the_chest(figure, outfit, phase, count):
    upper = dataclasses.replace(outfit.upper, phase=phase)
    _, *scarf = garment_pieces(figure, dataclasses.replace(outfit, upper=upper, scarf=SCARF))
    assert [piece.surface for piece in scarf] == ["scarf"] * count
    for end in scarf[1:]:
        assert end.vertices[:, 2].min() > figure.joints[bc.NECK, 2] + 0.1
        assert end.vertices[:, 1].max() < figure.joints[bc.NECK, 1]


def test_thicker_cloth_is_farther_from_the_body(figure, outfit):
    thin = garment_pieces(figure, dataclasses.replace(outfit, thickness=0.005))[0].vertices
    thick = garment_pieces(figure, dataclasses.replace(outfit, thickness=0.05))[0].vertices
    top = thin[:, 1] > figure.joints[bc.PELVIS, 1]
    assert (thick - thin)[top, 0].max() == pytest.approx(0.045, abs=1e-6)
