"""The meanings of the angles that the module's docstring states."""

import numpy as np
import pytest

from fastreid_ext.bodies.joint_angles import (
    LIMITS,
    angle_table,
    from_axis_angle,
    limits_table,
    mirrored,
    to_axis_angle,
    within_limits,
)
from fastreid_ext.bodies.parts import JOINT_NAMES, joint_index


def joints_of(body, pose) -> dict[str, np.ndarray]:
    return dict(zip(JOINT_NAMES, body.pose(np.zeros(10), pose).joints, strict=True))


@pytest.mark.parametrize(
    ("angles", "joint", "place"),
    [
        ({"left_hip": (-90, 0, 0)}, "left_knee", (0, 0, 1)),  # thigh forward
        ({"left_hip": (0, 0, 45)}, "left_knee", (1, -1, 0)),  # outwards
        ({"right_hip": (0, 0, 45)}, "right_knee", (-1, -1, 0)),  # mirrored
        ({"left_shoulder": (0, 0, -90)}, "left_elbow", (0, -1, 0)),  # hangs
        ({"left_shoulder": (0, 0, 90)}, "left_elbow", (0, 1, 0)),  # raised
        ({"left_shoulder": (0, -90, 0)}, "left_elbow", (0, 0, 1)),  # level, forward
        ({"right_shoulder": (0, -90, 0)}, "right_elbow", (0, 0, 1)),
        (
            {"left_shoulder": (-90, 0, -90)},
            "left_elbow",
            (0, 0, 1),
        ),  # hanging arm swung forward
        ({"left_elbow": (0, -90, 0)}, "left_wrist", (0, 0, 1)),  # bent forward
        ({"left_knee": (90, 0, 0)}, "left_ankle", (0, 0, -1)),  # shank backward
    ],
)
def test_direction_of_the_bone(body, angles, joint, place):
    at = joints_of(body, to_axis_angle(angle_table(**angles)))
    parent = {"knee": "hip", "elbow": "shoulder", "wrist": "elbow", "ankle": "knee"}
    side, name = joint.split("_")
    bone = at[joint] - at[f"{side}_{parent[name]}"]
    wanted = np.array(place) / np.linalg.norm(place)
    assert bone @ wanted > 0.99 * np.linalg.norm(bone)


@pytest.mark.parametrize(
    ("angles", "axis", "sign"),
    [((30, 0, 0), 2, 1), ((0, 0, 30), 0, -1)],
    ids=["leans forward", "leans right"],
)
def test_spine_leans(body, angles, axis, sign):
    moved = joints_of(body, to_axis_angle(angle_table(spine1=angles)))["head"]
    rest = joints_of(body, np.zeros((24, 3)))["head"]
    assert sign * (moved - rest)[axis] > 0.1


def test_positive_ankle_points_the_toes_down(body):
    at = joints_of(body, to_axis_angle(angle_table(ankles=(30, 0, 0))))
    rest = joints_of(body, np.zeros((24, 3)))
    assert at["left_foot"][1] < rest["left_foot"][1] - 0.03
    assert at["right_foot"][1] < rest["right_foot"][1] - 0.03


def test_plurals_set_both_sides():
    both = angle_table(hips=(1, 2, 3), feet=(4, 0, 0))
    assert both[joint_index("left_hip")].tolist() == both[joint_index("right_hip")].tolist()
    assert both[joint_index("right_foot")].tolist() == [4, 0, 0]
    with pytest.raises(ValueError, match="unknown joint 'nose'"):
        angle_table(nose=(0, 0, 0))


def test_conversion_goes_there_and_back(rng):
    table = rng.uniform(-80, 80, (24, 3))
    np.testing.assert_allclose(from_axis_angle(to_axis_angle(table)), table, atol=1e-8)


def test_mirrored_pose_mirrors_the_joints(body, rng):
    table = rng.uniform(-40, 40, (24, 3))
    left = joints_of(body, to_axis_angle(table))
    right = joints_of(body, to_axis_angle(mirrored(table)))
    flip = np.array([-1, 1, 1])
    for name in ("left_wrist", "left_ankle"):
        twin = right[name.replace("left", "right")]
        np.testing.assert_allclose(
            left[name] * flip, twin, atol=5e-3
        )  # the mesh is nearly symmetric
    np.testing.assert_array_equal(mirrored(mirrored(table)), table)


def test_limits_are_ordered_and_clip():
    low, high = limits_table()
    assert (low <= high).all()
    clipped = within_limits(np.full((24, 3), 500.0))
    assert (clipped == high).all()
    assert LIMITS["knee"][0][0] == 0  # a knee does not bend forward
