"""Street poses: what a person could check by looking, in numbers."""

import numpy as np
import pytest

from fastreid_ext.bodies import poses
from fastreid_ext.bodies.joint_angles import (
    from_axis_angle,
    limits_table,
    to_axis_angle,
    within_limits,
)
from fastreid_ext.bodies.parts import JOINT_NAMES, joint_index, part_index
from fastreid_ext.bodies.pose_bank import POSE_BANK, bank_angles, bank_pose, out_of_distribution

NO_SHAPE = np.zeros(10)


def joints_of(body, pose) -> dict[str, np.ndarray]:
    return dict(zip(JOINT_NAMES, body.pose(NO_SHAPE, pose).joints, strict=True))


def share_inside(points: np.ndarray, triangles: np.ndarray) -> float:
    """Share of points (N, 3) inside a surface (F, 3, 3) by winding number (tolerates holes)."""
    a = triangles[None, :, 0] - points[:, None]
    b = triangles[None, :, 1] - points[:, None]
    c = triangles[None, :, 2] - points[:, None]
    la = np.linalg.norm(a, axis=2)
    lb = np.linalg.norm(b, axis=2)
    lc = np.linalg.norm(c, axis=2)
    volume = np.einsum("nfa,nfa->nf", a, np.cross(b, c))
    rest = la * lb * lc + (a * b).sum(2) * lc + (b * c).sum(2) * la + (c * a).sum(2) * lb
    return float((np.arctan2(volume, rest).sum(axis=1) / (2 * np.pi) > 0.5).mean())


def share_of_arms_inside_trunk(body, pose, betas) -> float:
    vertices = body.pose(betas, pose).vertices
    arms = [part_index(f"{s}_{p}") for s in ("left", "right") for p in ("forearm", "hand")]
    trunk = [part_index(p) for p in ("torso", "hips", "left_thigh", "right_thigh")]
    faces = body.faces[np.isin(body.part, trunk)[body.faces].all(axis=1)]
    points = vertices[np.flatnonzero(np.isin(body.part, arms))[::25]]
    return share_inside(points, vertices[faces])


class TestWalking:
    def test_left_heel_leads_at_phase_0_and_right_at_half(self, body, rng):
        for phase, ahead, behind in ((0.0, "left", "right"), (0.5, "right", "left")):
            at = joints_of(body, poses.walking(phase, 1.3, rng))
            assert at[f"{ahead}_ankle"][2] > at[f"{behind}_ankle"][2] + 0.4
            assert at[f"{ahead}_wrist"][2] < at[f"{behind}_wrist"][2]  # arms swing against the legs

    def test_faster_steps_are_longer(self, body):
        def step(speed):
            at = joints_of(body, poses.walking(0.0, speed, np.random.default_rng(0)))
            return at["left_ankle"][2] - at["right_ankle"][2]

        lengths = [step(s) for s in (0.5, 0.9, 1.3, 1.8)]
        assert lengths == sorted(lengths)
        assert 0.5 < lengths[2] < 0.95  # metres at a normal walk

    @pytest.mark.parametrize("phase", np.arange(0, 1, 0.125))
    def test_swinging_foot_clears_the_ground_and_standing_foot_carries(self, body, phase):
        posed = poses.on_ground(
            body.pose(NO_SHAPE, poses.walking(phase, 1.3, np.random.default_rng(0)))
        )
        lowest = {
            side: posed.vertices[body.part == part_index(f"{side}_foot")][:, 1].min()
            for side in ("left", "right")
        }
        assert min(lowest.values()) == pytest.approx(0, abs=1e-5)  # not a hand or a knee
        if phase in (0.25, 0.75):  # mid-swing of the right, the left leg
            assert lowest["right" if phase == 0.25 else "left"] > 0.02

    def test_one_cycle_closes(self):
        start, end = (poses.walking(p, 1.3, np.random.default_rng(0)) for p in (0.0, 1.0))
        np.testing.assert_allclose(start, end, atol=1e-9)

    def test_pelvis_height_stays_natural_through_the_cycle(self, body):
        heights = []
        for phase in np.arange(0, 1, 1 / 16):
            pose = poses.walking(phase, 1.3, np.random.default_rng(0))
            heights.append(poses.on_ground(body.pose(NO_SHAPE, pose)).joints[0, 1])
        assert np.ptp(heights) < 0.12

    def test_impossible_speed_is_refused(self, rng):
        with pytest.raises(ValueError, match="expected a walking speed within"):
            poses.walking(0.0, 9.0, rng)


def street_poses(rng) -> dict[str, np.ndarray]:
    stand = poses.standing(rng, "relaxed")
    found = {f"walking {p}": poses.walking(p, 1.4, rng) for p in (0.0, 0.3, 0.5, 0.8)}
    found |= {variant: poses.standing(rng, variant) for variant in poses.STANDING}
    found |= {kind: poses.carrying(stand, kind, rng) for kind in poses.CARRYING}
    found |= {kind: poses.phone(stand, kind, rng) for kind in poses.PHONE}
    return found | {"sitting": poses.sitting(rng)}


def test_no_arm_is_inside_the_trunk(body, rng):
    heavy = body.sample_betas(np.random.default_rng(0), "man")
    # Crossed arms and hands on or in the trunk touch it, so a little of them may lie inside.
    touching = {"hands_in_pockets": 0.25, "arms_crossed": 0.25, "hands_on_hips": 0.1}
    for name, pose in street_poses(rng).items():
        for betas in (NO_SHAPE, heavy):
            share = share_of_arms_inside_trunk(body, pose, betas)
            assert share <= touching.get(name, 0.02), f"{name}: {share:.2f} of the arms inside"


def test_every_pose_is_finite_and_repeats_under_an_equal_seed():
    first = street_poses(np.random.default_rng(3))
    again = street_poses(np.random.default_rng(3))
    for name, pose in first.items():
        assert pose.shape == (24, 3)
        assert np.isfinite(pose).all()
        np.testing.assert_array_equal(pose, again[name])


def test_carrying_changes_only_the_arm(rng):
    base = poses.walking(0.2, 1.2, rng)
    changed = np.abs(poses.carrying(base, "bag", rng, "left") - base).max(axis=1) > 1e-9
    arm = {joint_index(f"left_{j}") for j in ("shoulder", "elbow", "wrist", "hand")}
    assert set(np.flatnonzero(changed)) == arm


def test_hands_are_where_the_task_needs_them(body, rng):
    stand = poses.standing(rng, "relaxed")
    ear = joints_of(body, stand)["head"] + np.array([-0.08, 0.05, 0.0])
    calling = joints_of(body, poses.phone(stand, "calling", rng, "right"))
    assert np.linalg.norm(calling["right_hand"] - ear) < 0.15
    texting = joints_of(body, poses.phone(stand, "texting", rng, "right"))
    assert texting["right_hand"][2] > texting["spine3"][2] + 0.15  # before the chest
    assert texting["head"][2] > joints_of(body, stand)["head"][2]  # bowed over it
    suitcase = joints_of(body, poses.carrying(stand, "suitcase", rng, "left"))
    assert suitcase["left_hand"][2] < suitcase["pelvis"][2] - 0.15  # behind
    straps = joints_of(body, poses.carrying(stand, "backpack", rng))
    assert min(straps["left_hand"][1], straps["right_hand"][1]) > straps["spine2"][1]


def test_looking_left_turns_the_face_to_the_left(body, rng):
    base = poses.standing(rng, "relaxed")
    before = body.pose(NO_SHAPE, base).joint_transforms[joint_index("head"), :3, :3] @ [0, 0, 1]
    after = body.pose(NO_SHAPE, poses.looking_aside(base, 60)).joint_transforms[
        joint_index("head"), :3, :3
    ] @ [0, 0, 1]
    angle = np.degrees(np.arctan2(after[0], after[2]) - np.arctan2(before[0], before[2]))
    assert angle == pytest.approx(60, abs=4)


def test_facing_90_turns_the_body_to_its_left(body, rng):
    turned = body.pose(NO_SHAPE, poses.facing(np.zeros((24, 3)), 90))
    np.testing.assert_allclose(turned.joint_transforms[0, :3, :3] @ [0, 0, 1], [1, 0, 0], atol=1e-6)


def test_on_ground_touches_zero_and_stands_where_told(body, rng):
    posed = poses.on_ground(body.pose(NO_SHAPE, poses.sitting(rng), (3, 4, 5)), x=1.0, z=-2.0)
    assert posed.vertices[:, 1].min() == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(posed.joints[0, [0, 2]], [1, -2], atol=1e-6)
    rest_pelvis = np.append(body.joint_regressor[0] @ body.template, 1)
    np.testing.assert_allclose(
        (posed.joint_transforms[0] @ rest_pelvis)[:3], posed.joints[0], atol=1e-5
    )


class TestBank:
    @pytest.mark.parametrize("name", POSE_BANK)
    def test_each_pose_keeps_to_the_joint_limits(self, name):
        table = bank_angles(name)
        np.testing.assert_array_equal(within_limits(table), table)
        np.testing.assert_array_equal(bank_pose(name), to_axis_angle(table))

    def test_random_mixtures_keep_to_the_joint_limits(self):
        low, high = limits_table()
        for seed in range(50):
            pose = out_of_distribution(np.random.default_rng(seed))
            table = from_axis_angle(pose)
            # Beyond +-90 about y another triple names the same rotation; compare where it does not
            # matter.
            plain = np.abs(table[:, 1]) < 80
            plain[[joint_index("left_shoulder"), joint_index("right_shoulder")]] = False
            plain[[joint_index("left_elbow"), joint_index("right_elbow")]] = False
            assert (table[plain] >= low[plain] - 1e-6).all()
            assert (table[plain] <= high[plain] + 1e-6).all()

    def test_mixtures_vary_and_repeat(self):
        sampled = [out_of_distribution(np.random.default_rng(s)) for s in (0, 0, 1)]
        np.testing.assert_array_equal(sampled[0], sampled[1])
        assert np.abs(sampled[0] - sampled[2]).max() > 0.2


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda rng, base: poses.standing(rng, "flying"),
            "unknown standing variant 'flying'; known: relaxed",
        ),
        (lambda rng, base: poses.carrying(base, "dog", rng), "unknown kind of carrying 'dog'"),
        (lambda rng, base: poses.phone(base, "talking", rng), "known: texting, calling"),
        (lambda rng, base: poses.carrying(base, "bag", rng, "up"), "unknown side 'up'"),
        (lambda rng, base: poses.looking_aside(base, 120), "turn the body with facing"),
        (lambda rng, base: bank_pose("moonwalk"), "unknown pose 'moonwalk'"),
    ],
)
def test_unknown_requests_name_the_known_ones(rng, call, words):
    with pytest.raises(ValueError, match=words):
        call(rng, np.zeros((24, 3)))
