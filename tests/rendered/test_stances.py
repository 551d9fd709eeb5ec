"""Stances: how often each occurs, and which arm holds what."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fastreid_ext.bodies import poses
from fastreid_ext.rendered.stances import sample_stance

ELBOWS = {"left": 18, "right": 19}
HIPS = (1, 2)
REST = np.zeros((24, 3))


def stances(bag, count=300, unusual=0.0):
    rng = np.random.default_rng(2)
    return [sample_stance(bag, rng, unusual) for _ in range(count)]


def degrees_between(pose, other, joint):
    turn = Rotation.from_rotvec(pose[joint]).inv() * Rotation.from_rotvec(other[joint])
    return np.degrees(turn.magnitude())


def holds(pose, kind, side):
    """Whether an arm's elbow is bent as a task bends it; a task varies by 1.5 degrees per axis."""
    task = poses.phone if kind in poses.PHONE else poses.carrying
    other = task(REST, kind, np.random.default_rng(0), side)
    return degrees_between(pose, other, ELBOWS[side]) < 14


def test_shares_of_stances():
    names = [name for name, _ in stances("none", 1000)]
    for name, share in (("walking", 0.72), ("standing", 0.16), ("phone", 0.12)):
        assert names.count(name) / 1000 == pytest.approx(share, abs=0.04)


@pytest.mark.parametrize("bag", ["none", "suitcase", "backpack"])
def test_poses_are_axis_angles_of_24_joints(bag):
    for _, pose in stances(bag, 50, unusual=0.5):
        assert pose.shape == (24, 3)
        assert np.isfinite(pose).all()
        assert np.linalg.norm(pose, axis=1).max() <= np.pi + 1e-6


def test_walking_legs_swing_and_standing_legs_do_not():
    """The thighs of a standing person are never more than a leaning leg's turn apart."""
    gaps = {"walking": [], "standing": []}
    for name, pose in stances("none"):
        if name in gaps:
            gaps[name].append(np.degrees(pose[HIPS[0], 0] - pose[HIPS[1], 0]))
    assert np.abs(gaps["standing"]).max() < 20
    assert np.abs(gaps["walking"]).mean() > np.abs(gaps["standing"]).mean() + 5


@pytest.mark.parametrize(
    ("bag", "kind", "side"),
    [
        ("handbag", "bag", "right"),
        ("shopping bag", "bag", "right"),
        ("suitcase", "suitcase", "left"),
    ],
)
def test_a_bag_in_a_hand_is_always_held_by_its_arm(bag, kind, side):
    found = stances(bag, 120)
    assert all(holds(pose, kind, side) for _, pose in found)
    assert {name for name, _ in found} == {"walking", "carrying", "phone"}


def test_the_phone_is_in_the_free_hand():
    for bag, side in (("handbag", "left"), ("none", "right"), ("suitcase", "right")):
        phones = [pose for name, pose in stances(bag, 200) if name == "phone"]
        assert len(phones) > 10
        assert all(holds(pose, "texting", side) or holds(pose, "calling", side) for pose in phones)


def test_a_bag_on_the_shoulder_is_held_now_and_then():
    for bag, kind, share in (
        ("shoulder bag", "shoulder_bag", 0.25),
        ("backpack", "backpack", 0.15),
    ):
        held = [holds(pose, kind, "left") for name, pose in stances(bag, 400) if name == "walking"]
        assert np.mean(held) == pytest.approx(share, abs=0.06)
    standing = [
        name for name, _ in stances("shoulder bag", 400) if name in ("standing", "carrying")
    ]
    assert standing.count("carrying") / len(standing) == pytest.approx(0.25, abs=0.15)


def test_unusual_poses_come_with_their_chance():
    assert "unusual" not in {name for name, _ in stances("none", 100, 0.0)}
    assert {name for name, _ in stances("none", 20, 1.0)} == {"unusual"}
    names = [name for name, _ in stances("none", 400, 0.3)]
    assert names.count("unusual") / 400 == pytest.approx(0.3, abs=0.07)


def test_equal_generators_give_equal_poses():
    one = sample_stance("backpack", np.random.default_rng(7))
    other = sample_stance("backpack", np.random.default_rng(7))
    assert one[0] == other[0]
    assert np.array_equal(one[1], other[1])
