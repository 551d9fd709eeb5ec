"""A tailor's coordinates: zones, seams, and axes that mean what the module says."""

import numpy as np
import pytest

from fastreid_ext.bodies.parts import PART_NAMES
from fastreid_ext.rendered import body_coordinates as bc
from fastreid_ext.rendered.dressing import free_body


def select(figure, zone, side=None):
    """Vertices and coordinates of a zone; side 1 is the body's left, -1 its right."""
    chosen = figure.zone == zone
    if side:
        chosen &= (figure.vertices[:, 0] >= 0) == (side > 0)
    assert chosen.any()
    return figure.vertices[chosen].T, figure.coordinates[chosen].T


def test_zones_of_parts():
    zones = bc.zones_of(np.arange(len(PART_NAMES)), PART_NAMES)
    found = dict(zip(PART_NAMES, zones, strict=True))
    assert found["eyes"] == found["face"] == bc.HEAD
    assert found["hair_cap"] == bc.HAIR
    assert found["neck"] == found["hips"] == bc.TORSO
    for side in ("left", "right"):
        assert found[f"{side}_forearm"] == found[f"{side}_upper_arm"] == bc.ARM
        assert found[f"{side}_hand"] == bc.HAND
        assert found[f"{side}_shin"] == found[f"{side}_thigh"] == bc.LEG
        assert found[f"{side}_foot"] == bc.FOOT


def test_face_zones_by_hand():
    zone = np.array([bc.TORSO, bc.TORSO, bc.ARM, bc.ARM, bc.HEAD, bc.HAIR])
    faces = np.array([[0, 1, 1], [0, 1, 2], [2, 1, 3], [2, 3, 3], [4, 5, 4], [0, 4, 5], [5, 0, 1]])
    arm = bc.SEAMS[bc.TORSO, bc.ARM]
    neck = bc.SEAMS[bc.HEAD, bc.TORSO]
    hairline = bc.SEAMS[bc.HEAD, bc.HAIR]
    expected = [bc.TORSO, arm, arm, bc.ARM, hairline, neck, neck]
    assert bc.face_zones(zone, faces).tolist() == expected


def test_face_zones_of_the_body_are_all_known(figure):
    """No face joins two zones between which no seam is listed."""
    corners = np.sort(figure.zone[figure.faces], axis=1)
    listed = {tuple(sorted(pair)) for pair in bc.SEAMS}
    joined = {(low, high) for low, _, high in corners.tolist() if low != high}
    assert joined <= listed
    zones = bc.face_zones(figure.zone, figure.faces)
    one_zone = corners[:, 0] == corners[:, 2]
    assert np.array_equal(zones[one_zone], corners[one_zone, 0])
    assert zones[~one_zone].min() > bc.FOOT
    assert set(zones.tolist()) == set(range(bc.BODY_ZONES))


def test_measure_shapes_body_and_joints():
    body, zone = free_body()
    betas = np.linspace(-1, 1, 10)
    figure = bc.measure(body, betas, zone)
    assert figure.vertices == pytest.approx(body.shaped(betas), abs=1e-5)
    assert figure.joints == pytest.approx(body.pose(betas, np.zeros((24, 3))).joints, abs=1e-5)


def test_torso_runs_down_from_the_neck(figure):
    (x, y, z), (p, q, r) = select(figure, bc.TORSO)
    assert p == pytest.approx(x - figure.joints[bc.NECK, 0])
    assert q == pytest.approx(figure.joints[bc.NECK, 1] - y)
    assert r == pytest.approx(z - figure.joints[bc.SPINE2, 2])


def test_head_runs_down_from_the_crown(figure):
    for zone in (bc.HEAD, bc.HAIR):
        (_, y, _), (_, q, _) = select(figure, zone)
        crown = figure.vertices[:, 1].max()
        assert q == pytest.approx(crown - y)
    (_, _, _), (_, face, forward) = select(figure, bc.HEAD)
    nose = face[forward.argmax()]
    assert 0.4 * figure.head_height < nose < 0.8 * figure.head_height


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize("zone", [bc.ARM, bc.HAND])
def test_arms_run_outwards_from_the_shoulder(figure, side, zone):
    (x, y, z), (p, q, r) = select(figure, zone, side)
    shoulder = figure.joints[bc.LEFT_SHOULDER if side > 0 else bc.RIGHT_SHOULDER]
    assert p == pytest.approx(z - shoulder[2])
    assert q == pytest.approx(side * (x - shoulder[0]))
    assert r == pytest.approx(y - shoulder[1])
    if zone == bc.HAND:
        assert q.min() > 0.9 * figure.arm_length


@pytest.mark.parametrize("side", [1, -1])
def test_legs_run_down_from_the_hip(figure, side):
    (x, y, z), (p, q, r) = select(figure, bc.LEG, side)
    hip = figure.joints[bc.LEFT_HIP if side > 0 else bc.RIGHT_HIP]
    assert p == pytest.approx(side * (x - hip[0]))  # away from the body's middle
    assert q == pytest.approx(hip[1] - y)
    assert r == pytest.approx(z - hip[2])


@pytest.mark.parametrize("side", [1, -1])
def test_feet_run_up_from_the_sole(figure, side):
    (_, y, z), (_, q, r) = select(figure, bc.FOOT, side)
    ankle = figure.joints[bc.LEFT_ANKLE if side > 0 else bc.RIGHT_ANKLE]
    assert q == pytest.approx(y - figure.vertices[:, 1].min())
    assert r == pytest.approx(z - ankle[2])
    assert r.max() > 2 * -r.min()  # toes are farther from the ankle than the heel


def test_lengths_of_limbs_end_at_joints(figure):
    joints = figure.joints
    right_arm = np.linalg.norm(joints[bc.RIGHT_SHOULDER] - joints[bc.RIGHT_WRIST])
    assert figure.arm_length == pytest.approx(right_arm, rel=0.01)
    assert figure.leg_length == joints[bc.LEFT_HIP, 1] - joints[bc.LEFT_ANKLE, 1]
    assert figure.torso_length == joints[bc.NECK, 1] - joints[bc.PELVIS, 1]
    for length, low, high in (
        (figure.arm_length, 0.4, 0.6),
        (figure.leg_length, 0.7, 0.95),
        (figure.torso_length, 0.45, 0.65),
        (figure.head_height, 0.2, 0.28),
    ):
        assert low < length < high
