"""A walk from the curves of normal gait: one pose per phase and speed.

Angles inside are degrees, with the meaning given in :mod:`~fastreid_ext.bodies.joint_angles`.
"""

import numpy as np
from scipy.interpolate import CubicSpline

from fastreid_ext.bodies.joint_angles import angle_table, to_axis_angle

SPEEDS = (0.4, 2.2)  # metres per second that the gait covers: a stroll to a hurried walk

# Degrees at 0, 10, ..., 100 % of the gait cycle of one leg (0 = its heel touches the ground) at 1.3
# m/s; rounded from the textbook curves of normal gait (hip and knee flexion, ankle plantar flexion,
# toes bent upwards).
_CYCLE = np.linspace(0, 1, 11)


def _curve(*degrees: float) -> CubicSpline:
    return CubicSpline(_CYCLE, degrees, bc_type="periodic")


_HIP = _curve(30, 26, 18, 7, -3, -10, -4, 13, 26, 32, 30)
_KNEE = _curve(4, 17, 15, 8, 6, 13, 38, 60, 50, 18, 4)
_ANKLE = _curve(1, 6, -3, -7, -11, -6, 17, 8, 0, -2, 1)
_TOES = _curve(-8, -2, 0, 0, -6, -22, -20, -4, -2, -8, -8)
# Degrees of the hips: walkers set their feet nearer the middle than their hip joints.
_STEP_INWARDS = -3.0


def walking(phase: float, speed: float, rng: np.random.Generator) -> np.ndarray:
    """Compute the pose of one moment of a walk, (24, 3) axis-angle in radians.

    Args:
        phase: share of the gait cycle in [0, 1); at 0 the left heel touches the ground, at 0.5 the
            right.
        speed: metres per second, within :data:`SPEEDS`.
        rng: generator of the walker's manner (arm swing, bend of the elbows, lean).
    """
    if not SPEEDS[0] <= speed <= SPEEDS[1]:
        raise ValueError(f"expected a walking speed within {SPEEDS} m/s, got {speed}")
    amount = (speed / 1.3) ** 0.6  # of the joints' excursions, 1 at a normal walk
    left_forward = np.cos(2 * np.pi * phase)  # 1 when the left leg leads
    arm_swing = 20.0 * amount * rng.uniform(0.6, 1.2)
    lowered = -rng.uniform(73, 79)
    bend = rng.uniform(8, 25)
    sway = 2.0 * np.sin(2 * np.pi * phase)
    lean = rng.uniform(0, 4) * amount
    degrees = {
        "pelvis": (lean / 2, -4.0 * amount * left_forward, -sway),
        "spine1": (lean / 2, 3.0 * amount * left_forward, sway / 2),
        "spine2": (0.0, 3.0 * amount * left_forward, sway / 2),
        "spine3": (0.0, 2.0 * amount * left_forward, 0.0),
        "head": (rng.uniform(-3, 8), -4.0 * amount * left_forward, 0.0),
    }
    for side, leg_phase in (("left", phase % 1.0), ("right", (phase + 0.5) % 1.0)):
        lean_in = sway if side == "left" else -sway
        degrees[f"{side}_hip"] = (-amount * float(_HIP(leg_phase)), -4.0, _STEP_INWARDS + lean_in)
        degrees[f"{side}_knee"] = (max(0.0, amount * float(_KNEE(leg_phase))), 0.0, 0.0)
        degrees[f"{side}_ankle"] = (amount * float(_ANKLE(leg_phase)), 0.0, 0.0)
        degrees[f"{side}_foot"] = (amount * float(_TOES(leg_phase)), 0.0, 0.0)
        forward = arm_swing * np.cos(
            2 * np.pi * (leg_phase + 0.5)
        )  # against the leg of the same side
        degrees[f"{side}_shoulder"] = (2.0 - forward, 0.0, lowered)
        degrees[f"{side}_elbow"] = (8.0, -bend - max(0.0, 0.6 * forward), 0.0)
        degrees[f"{side}_hand"] = (0.0, 0.0, -12.0)
    return to_axis_angle(angle_table(**degrees))
