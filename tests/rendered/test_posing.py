"""Posed bodies against forward kinematics in slow loops, and pinhole projection by hand."""

import dataclasses
import functools
import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fastreid_ext.bodies.cameras import Camera
from fastreid_ext.bodies.parts import PARENTS
from fastreid_ext.rendered import body_coordinates as bc
from fastreid_ext.rendered.dressing import dress, free_body
from fastreid_ext.rendered.identities import sample_identity
from fastreid_ext.rendered.pieces import RIGHT_HAND_ANCHOR
from fastreid_ext.rendered.posing import bounds, project, stand

REST = np.zeros((24, 3))


@functools.cache
def walker(bag):
    person = sample_identity(free_body()[0], 0, "RenderedMall", 3, 1)
    outfit = dataclasses.replace(person.outfit, headwear_kind="none")
    return dress(dataclasses.replace(person, outfit=outfit), bag, 0, "RenderedMall")


def random_pose(seed=0):
    return np.random.default_rng(seed).normal(0, 0.4, (24, 3))


def chain(joints, pose, yaw):
    """Rotation and place of every joint, one after the other."""
    turns = []
    places = []
    for j, parent in enumerate(PARENTS):
        above = Rotation.from_euler("y", yaw) if parent < 0 else turns[parent]
        start = np.zeros(3) if parent < 0 else joints[parent]
        origin = np.zeros(3) if parent < 0 else places[parent]
        places.append(origin + above.apply(joints[j] - start))
        turns.append(above * Rotation.from_rotvec(pose[j]))
    return turns, np.array(places)


def test_rest_pose_only_moves_to_its_place():
    body = walker("none")
    vertices, joints = stand(body, REST, 0.0, 1.5, 7.0)
    lowest = body.vertices[:, 1].min()
    shift = np.array([1.5, -lowest, 7.0])
    assert vertices == pytest.approx(body.vertices + shift, abs=2e-5)
    assert joints == pytest.approx(body.joints + shift, abs=1e-6)


@pytest.mark.parametrize("yaw", [0.0, 1.2, -2.8])
def test_joints_follow_forward_kinematics(yaw):
    body = walker("none")
    pose = random_pose()
    _, joints = stand(body, pose, yaw, 0.5, 6.0)
    _, places = chain(body.joints, pose, yaw)
    assert joints - joints[0] == pytest.approx(places - places[0], abs=1e-6)


def test_vertices_are_blended_between_their_joints():
    body = walker("none")
    pose = random_pose(1)
    vertices, joints = stand(body, pose, 0.7, 0.0, 0.0)
    turns, places = chain(body.joints, pose, 0.7)
    lift = joints[0, 1] - places[0, 1]
    skinned = np.flatnonzero((body.influences < 24).all(axis=1))
    for v in skinned[:: len(skinned) // 60]:
        expected = np.array([0.0, lift, 0.0])
        for joint, share in zip(body.influences[v], body.shares[v], strict=True):
            rest = body.vertices[v] - body.joints[joint]
            expected += share * (turns[joint].apply(rest) + places[joint])
        assert vertices[v] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_the_lowest_vertex_touches_the_ground_and_the_pelvis_is_in_place(seed):
    vertices, joints = stand(walker("none"), random_pose(seed), 0.3, -1.0, 8.0)
    assert vertices[:, 1].min() == pytest.approx(0, abs=1e-6)
    assert joints[0, [0, 2]] == pytest.approx([-1.0, 8.0], abs=2e-3)
    assert vertices.dtype == np.float32


@pytest.mark.parametrize(("yaw_deg", "forward"), [(0, (0, 1)), (90, (1, 0)), (180, (0, -1))])
def test_yaw_turns_the_toes(yaw_deg, forward):
    _, joints = stand(walker("none"), REST, math.radians(yaw_deg), 0.0, 0.0)
    toes = joints[[bc.LEFT_FOOT, bc.RIGHT_FOOT]].mean(axis=0)
    ankles = joints[[bc.LEFT_ANKLE, bc.RIGHT_ANKLE]].mean(axis=0)
    step = (toes - ankles)[[0, 2]]
    assert step / np.linalg.norm(step) == pytest.approx(forward, abs=0.05)


@pytest.mark.parametrize("seed", range(3))
def test_a_hanging_bag_stays_upright_below_the_hand(seed):
    body = walker("shopping bag")
    bag = np.flatnonzero((body.influences[:, 0] == RIGHT_HAND_ANCHOR) & (body.shares[:, 0] == 1))
    vertices, joints = stand(body, random_pose(seed), 0.9, 0.0, 5.0)
    rest = body.vertices[bag] - body.joints[bc.RIGHT_HAND]
    turned = Rotation.from_euler("y", 0.9).apply(rest)
    assert vertices[bag] == pytest.approx(joints[bc.RIGHT_HAND] + turned, abs=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_a_suitcase_stands_on_the_ground_behind_the_left_hand(seed):
    body = walker("suitcase")
    count = len(walker("none").vertices)
    pose = 0.3 * random_pose(seed)
    vertices, joints = stand(body, pose, 0.0, 0.0, 5.0)
    case = vertices[count:]
    assert case[:, 1].min() == pytest.approx(0, abs=0.05)
    assert case[:, 2].max() < joints[bc.LEFT_HAND, 2]
    assert np.ptp(case[:, 1]) == pytest.approx(np.ptp(body.vertices[count:, 1]), abs=1e-4)


def test_project_by_hand():
    """A camera 2 m high looks level along +z: right is -x, down is -y."""
    rotation = np.array([[-1.0, 0, 0], [0, -1.0, 0], [0, 0, 1.0]])
    points = np.array([[0, 2, 4], [1, 2, 4], [0, 0, 5], [-2, 3, 10]], np.float32)
    found = project(points, np.array([0.0, 2.0, 0.0]), rotation, 100.0, 320.0, 240.0)
    expected = [[320, 240, 4], [295, 240, 4], [320, 280, 5], [340, 230, 10]]
    assert found == pytest.approx(np.array(expected), abs=1e-4)
    assert found.dtype == np.float32


def test_project_agrees_with_the_camera_of_bodies():
    camera = Camera((0.3, 3.1, -0.2), (0.5, 0.9, 7.0), 610.0, 540, 720)
    points = np.random.default_rng(0).uniform((-2, 0, 4), (2, 2, 10), (50, 3)).astype(np.float32)
    found = project(points, np.array(camera.position), camera.rotation, 610.0, 360.0, 270.0)
    assert found == pytest.approx(camera.project(points), abs=1e-2)


def test_bounds_are_those_of_numpy():
    points = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
    assert np.array_equal(bounds(points), [points.min(axis=0), points.max(axis=0)])
