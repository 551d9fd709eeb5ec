"""Poses that pedestrians seldom take: a bank by name, and random mixtures of it.

They test what a model does outside the distribution of street poses. Angles are degrees with the
meaning given in :mod:`~fastreid_ext.bodies.joint_angles`; results are poses (24, 3) of axis-angle
vectors in radians, facing +z.
"""

import numpy as np

from fastreid_ext.bodies.joint_angles import angle_table, mirrored, to_axis_angle, within_limits

_NOISE_DEG = 5.0  # standard deviation per joint and axis

_ANGLES: dict[str, dict[str, tuple[float, float, float]]] = {
    "arms_up": {
        "shoulders": (0, -15, 72), "collars": (0, 0, 20), "elbows": (0, -15, 0),
        "head": (-12, 0, 0),
    },
    "arms_wide": {"shoulders": (0, -10, 8), "elbows": (0, -8, 0), "hips": (0, 0, 12)},
    "reach_up": {
        "right_shoulder": (-10, -30, 70), "right_collar": (0, 0, 22), "right_elbow": (0, -5, 0),
        "head": (-22, -10, 6), "spine2": (0, 0, -10), "left_shoulder": (5, 0, -74),
        "left_elbow": (8, -15, 0), "ankles": (22, 0, 0), "feet": (-20, 0, 0),
    },
    "reach_forward": {
        "shoulders": (0, -80, -5), "elbows": (0, -12, 0), "spine1": (12, 0, 0),
        "spine2": (10, 0, 0), "hips": (-18, 0, 0), "head": (-10, 0, 0), "pelvis": (15, 0, 0),
    },
    "bow": {
        "pelvis": (50, 0, 0), "hips": (-58, 0, 2), "knees": (10, 0, 0), "ankles": (-2, 0, 0),
        "spine1": (14, 0, 0), "spine2": (14, 0, 0), "spine3": (8, 0, 0), "shoulders": (-70, 0, -78),
        "elbows": (5, -10, 0),
    },
    "squat": {
        "pelvis": (28, 0, 0), "hips": (-112, -18, 22), "knees": (126, 0, 0), "ankles": (-25, 0, 0),
        "spine1": (8, 0, 0), "shoulders": (0, -75, -8), "elbows": (0, -15, 0), "head": (-18, 0, 0),
    },
    "kneel": {
        "left_hip": (-88, 0, 4), "left_knee": (90, 0, 0), "right_hip": (2, 0, 2),
        "right_knee": (92, 0, 0), "right_ankle": (-12, 0, 0), "right_foot": (-35, 0, 0),
        "shoulders": (-20, 0, -72), "elbows": (30, -50, 0), "spine1": (10, 0, 0),
    },
    "kick": {
        "left_hip": (-82, 0, 6), "left_knee": (12, 0, 0), "left_ankle": (25, 0, 0),
        "right_hip": (8, 0, 0), "right_knee": (8, 0, 0), "right_ankle": (-8, 0, 0),
        "pelvis": (-12, 0, 0), "spine1": (14, 0, 0), "left_shoulder": (30, 0, -45),
        "right_shoulder": (-45, 0, -50), "elbows": (15, -35, 0),
    },
    "side_kick": {
        "left_hip": (-15, 0, 58), "left_knee": (5, 0, 0), "pelvis": (0, 0, 18),
        "right_hip": (0, 0, 18), "spine1": (0, 0, -10), "spine3": (0, 0, -8),
        "shoulders": (0, -30, -25), "elbows": (20, -80, 0),
    },
    "lunge": {
        "left_hip": (-72, 0, 2), "left_knee": (78, 0, 0), "left_ankle": (-8, 0, 0),
        "right_hip": (26, 0, 2), "right_knee": (22, 0, 0), "right_ankle": (-10, 0, 0),
        "right_foot": (-40, 0, 0), "shoulders": (10, 0, -70), "elbows": (10, -70, 0),
    },
    "jump": {
        "hips": (-48, 0, 14), "knees": (82, 0, 0), "ankles": (32, 0, 0), "shoulders": (0, -25, 45),
        "collars": (0, 0, 12), "elbows": (0, -20, 0), "head": (-10, 0, 0),
    },
    "star_jump": {
        "hips": (-4, 0, 36), "ankles": (20, 0, 0), "shoulders": (0, -5, 42), "collars": (0, 0, 12),
    },
    "arabesque": {
        "right_hip": (28, 0, 4), "right_knee": (4, 0, 0), "right_ankle": (38, 0, 0),
        "pelvis": (28, 0, 0), "left_hip": (-28, 0, 0), "spine1": (-8, 0, 0), "spine2": (-8, 0, 0),
        "left_shoulder": (0, -70, 15), "right_shoulder": (0, 10, -5), "elbows": (0, -10, 0),
        "head": (-15, 0, 0),
    },
    "passe": {
        "left_hip": (-65, 35, 40), "left_knee": (118, 0, 0), "left_ankle": (40, 0, 0),
        "right_ankle": (30, 0, 0), "right_foot": (-30, 0, 0), "shoulders": (0, -35, 62),
        "collars": (0, 0, 15), "elbows": (0, -55, 0),
    },
    "dance_sway": {
        "pelvis": (0, 10, 14), "left_hip": (-8, 10, -8), "right_hip": (-22, 12, 26),
        "right_knee": (30, 0, 0), "spine1": (0, 0, -12), "spine3": (0, 12, -8),
        "left_shoulder": (0, -20, 60), "right_shoulder": (0, -30, -30), "elbows": (20, -60, 0),
        "head": (0, 20, 8),
    },
    "disco": {
        "right_shoulder": (-10, -25, 55), "right_collar": (0, 0, 20), "left_shoulder": (25, 0, -48),
        "left_elbow": (55, -92, 0), "left_wrist": (0, -15, 30), "pelvis": (0, 0, 8),
        "left_hip": (-5, 0, 18), "right_hip": (-5, 0, 2), "head": (-8, -25, 0),
    },
    "throw": {
        "right_shoulder": (0, 22, 15), "right_elbow": (-55, -88, 0), "left_shoulder": (0, -60, 0),
        "left_elbow": (0, -20, 0), "spine1": (0, -12, 0), "spine2": (0, -12, 0),
        "pelvis": (-6, -25, 0), "left_hip": (-32, 0, 6), "left_knee": (22, 0, 0),
        "right_hip": (14, 0, 4), "right_knee": (14, 0, 0), "head": (0, 30, 0),
    },
    "run": {
        "pelvis": (12, 0, 0), "left_hip": (-68, 0, -2), "left_knee": (95, 0, 0),
        "right_hip": (22, 0, -2), "right_knee": (28, 0, 0), "right_ankle": (28, 0, 0),
        "right_foot": (-20, 0, 0), "left_shoulder": (38, 0, -70), "right_shoulder": (-42, 0, -72),
        "elbows": (18, -92, 0),
    },
    "crouch_pick_up": {
        "pelvis": (45, 0, 0), "hips": (-100, -8, 10), "knees": (80, 0, 0), "ankles": (-22, 0, 0),
        "spine1": (18, 0, 0), "spine2": (15, 0, 0), "right_shoulder": (-75, 0, -72),
        "right_elbow": (5, -8, 0), "left_shoulder": (-40, 0, -68), "left_elbow": (30, -70, 0),
    },
    "wave": {
        "right_shoulder": (0, -15, 10), "right_elbow": (-55, -92, 0), "left_shoulder": (4, 0, -75),
        "left_elbow": (8, -15, 0), "head": (0, 10, 5),
    },
}  # fmt: skip

POSE_BANK = tuple(_ANGLES)


def bank_pose(name: str) -> np.ndarray:
    """One pose of the bank, exactly as listed; names are in :data:`POSE_BANK`."""
    return to_axis_angle(bank_angles(name))


def out_of_distribution(rng: np.random.Generator) -> np.ndarray:
    """A random pose: one of the bank moved up to 40 % towards another, with noise.

    Each is mirrored or not. The angles are clipped to the limits of
    :data:`~fastreid_ext.bodies.joint_angles.LIMITS`; self-collisions are not removed.
    """
    main, other = rng.choice(len(POSE_BANK), size=2, replace=False)
    tables = [bank_angles(POSE_BANK[i]) for i in (main, other)]
    tables = [mirrored(table) if rng.random() < 0.5 else table for table in tables]
    share = rng.uniform(0.0, 0.4)
    mixed = (1 - share) * tables[0] + share * tables[1]
    return to_axis_angle(within_limits(mixed + rng.normal(0, _NOISE_DEG, mixed.shape)))


def bank_angles(name: str) -> np.ndarray:
    """Table of angles (24, 3) in degrees of one pose of the bank."""
    if name not in _ANGLES:
        raise ValueError(f"unknown pose {name!r}; known: {', '.join(POSE_BANK)}")
    return angle_table(**_ANGLES[name])
