"""Joint angles in degrees, as anatomy names them, and their conversion to SMPL's axis-angle.

A table of angles is (24, 3): x, y, z per joint, in degrees, meaning the rotation Rx Ry Rz relative
to the parent (z is applied first) about axes that, in T-pose, are x to the body's left, y up, z
forward. Angles of right-side joints are written as for the left side and mirrored when converted,
so equal numbers give a symmetric pose:

    hip       x < 0 lifts the thigh forward, z > 0 spreads it outwards
    knee      x > 0 bends
    ankle     x > 0 points the toes down
    shoulder  z < 0 lowers the arm (-90 hangs), z > 0 raises it;
              then y < 0 brings a level arm forward;
              then x < 0 swings a hanging arm forward
    elbow     y < 0 bends; x > 0 turns the bent forearm of a hanging arm towards the middle
    wrist     x turns the hand about the forearm, z < 0 bends it towards the palm
    hand      z < 0 curls the fingers
    pelvis, spine, neck, head   x > 0 leans forward, y > 0 turns left, z > 0 leans right
"""

import numpy as np
from scipy.spatial.transform import Rotation

from fastreid_ext.bodies.parts import JOINT_NAMES, joint_index

_SIGNS = np.array(
    [[1, -1, -1] if name.startswith("right_") else [1, 1, 1] for name in JOINT_NAMES], dtype=float
)
_MIDDLE = ("pelvis", "spine1", "spine2", "spine3", "neck", "head")
# Mirror partner of each joint.
_PARTNERS = np.array(
    [
        joint_index(
            name.replace("left_", "right_")
            if name.startswith("left_")
            else name.replace("right_", "left_")
        )
        for name in JOINT_NAMES
    ]
)

# Degrees (low, high) about x, y, z: what healthy adults reach, rounded inwards.
LIMITS = {
    "pelvis": ((-60, 60), (-180, 180), (-45, 45)),
    "spine1": ((-10, 30), (-15, 15), (-15, 15)),
    "spine2": ((-10, 30), (-15, 15), (-15, 15)),
    "spine3": ((-10, 25), (-15, 15), (-15, 15)),
    "neck": ((-25, 30), (-35, 35), (-20, 20)),
    "head": ((-25, 30), (-40, 40), (-20, 20)),
    "hip": ((-120, 30), (-40, 40), (-20, 60)),
    "knee": ((0, 140), (-5, 5), (-5, 5)),
    "ankle": ((-25, 45), (-15, 15), (-15, 15)),
    "foot": ((-45, 20), (0, 0), (0, 0)),
    "collar": ((-10, 10), (-15, 15), (-5, 25)),
    "shoulder": ((-150, 50), (-120, 30), (-88, 85)),
    "elbow": ((-60, 90), (-145, 0), (-5, 5)),
    "wrist": ((-80, 80), (-25, 25), (-60, 50)),
    "hand": ((-5, 5), (-5, 5), (-70, 10)),
}


def angle_table(**degrees: tuple[float, float, float]) -> np.ndarray:
    """Table of angles (24, 3) from joints by name; a joint not named stays at 0.

    ``hips=...`` sets both hips, likewise every plural of a paired joint (``feet`` for ``foot``).

    Args:
        degrees: (x, y, z) per joint, see the module docstring.
    """
    table = np.zeros((len(JOINT_NAMES), 3))
    for name, angles in degrees.items():
        single = "foot" if name == "feet" else name.removesuffix("s")
        pair = single in LIMITS and single not in _MIDDLE
        for joint in (f"left_{single}", f"right_{single}") if pair else (name,):
            table[joint_index(joint)] = angles
    return table


def to_axis_angle(table: np.ndarray) -> np.ndarray:
    """Pose (24, 3) of axis-angle vectors in radians from a table of angles (24, 3) in degrees."""
    return Rotation.from_euler("XYZ", table * _SIGNS, degrees=True).as_rotvec()


def from_axis_angle(pose: np.ndarray) -> np.ndarray:
    """Table of angles (24, 3) in degrees of a pose (24, 3); y comes out in [-90, 90]."""
    return Rotation.from_rotvec(pose).as_euler("XYZ", degrees=True) * _SIGNS


def mirrored(table: np.ndarray) -> np.ndarray:
    """Left and right exchanged; the middle joints turn and lean the other way."""
    swapped = table[_PARTNERS].copy()
    middle = [joint_index(name) for name in _MIDDLE]
    swapped[middle, 1:] *= -1
    return swapped


def limits_table() -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest angles, (24, 3) degrees each."""
    of_joint = [LIMITS[name.removeprefix("left_").removeprefix("right_")] for name in JOINT_NAMES]
    limits = np.array(of_joint, dtype=float)
    return limits[..., 0], limits[..., 1]


def within_limits(table: np.ndarray) -> np.ndarray:
    """Angles (24, 3) moved to the nearest value inside :data:`LIMITS`."""
    return np.clip(table, *limits_table())
