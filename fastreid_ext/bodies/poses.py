"""Poses of pedestrians: walking, standing, carrying, on the phone, looking aside, sitting.

Every function returns a pose (24, 3) of axis-angle vectors in radians in SMPL's joint order; the
body faces +z (:func:`facing` turns it). Angles inside are degrees, with the meaning given in
:mod:`~fastreid_ext.bodies.joint_angles`. All randomness comes from the generator passed in.
"""

import dataclasses

import numpy as np
from scipy.spatial.transform import Rotation

from fastreid_ext.bodies.body_model import PosedBody
from fastreid_ext.bodies.gait import SPEEDS as SPEEDS
from fastreid_ext.bodies.gait import walking as walking
from fastreid_ext.bodies.joint_angles import angle_table, to_axis_angle
from fastreid_ext.bodies.parts import joint_index

SIDES = ("left", "right")
CARRYING = ("bag", "suitcase", "backpack", "shoulder_bag", "box")
PHONE = ("texting", "calling")
STANDING = (
    "relaxed",
    "leaning",
    "hands_in_pockets",
    "hands_on_hips",
    "arms_crossed",
    "hands_behind",
)

_ARMS_OF_STANDING = {
    "relaxed": {"shoulders": (2, 0, -76), "elbows": (8, -14, 0), "hands": (0, 0, -12)},
    "leaning": {"shoulders": (4, 0, -74), "elbows": (5, -10, 0), "hands": (0, 0, -12)},
    "hands_in_pockets": {"shoulders": (22, 6, -66), "elbows": (34, -63, 0), "wrists": (-32, 4, 12)},
    "hands_on_hips": {"shoulders": (23, 3, -46), "elbows": (56, -82, 2), "wrists": (-3, -20, 44)},
    "arms_crossed": {
        "left_shoulder": (-17, -3, -86), "right_shoulder": (-24, -3, -84),
        "left_elbow": (63, -100, 0), "right_elbow": (60, -88, 0), "wrists": (-10, 0, -25),
    },
    "hands_behind": {
        "shoulders": (24, -13, -81), "left_elbow": (81, -47, 0), "right_elbow": (78, -36, 0),
        "wrists": (0, -10, 10),
    },
}  # fmt: skip


def standing(rng: np.random.Generator, variant: str | None = None) -> np.ndarray:
    """Compute the pose of a standing pedestrian.

    Args:
        rng: generator of the variant, when none is given, and of the manner.
        variant: one of :data:`STANDING`; ``leaning`` rests the weight on one leg.
    """
    variant = STANDING[rng.integers(len(STANDING))] if variant is None else variant
    _check_choice(variant, STANDING, "standing variant")
    spread = rng.uniform(-3, 2)
    turned_out = rng.uniform(-2, 6)
    degrees = {
        "hips": (-1.0, turned_out, spread), "knees": (2.0, 0.0, 0.0), "ankles": (-1.0, 0.0, 0.0),
        "spine1": (rng.uniform(-2, 3), 0.0, 0.0),
        "spine3": (rng.uniform(0, 4), rng.uniform(-4, 4), 0.0),
        "head": (rng.uniform(-4, 10), rng.uniform(-15, 15), rng.uniform(-3, 3)),
    }  # fmt: skip
    if variant == "leaning":  # hip dropped on the side of the bent knee, spine bent back above it
        degrees |= {
            "pelvis": (0, 0, -5), "left_hip": (-1, turned_out, -4),
            "right_hip": (-16, turned_out, 6),
            "right_knee": (28, 0, 0), "right_ankle": (-12, 0, 0), "spine1": (0, 0, 5),
            "spine3": (2, 0, 2),
        }  # fmt: skip
    table = angle_table(**degrees, **_ARMS_OF_STANDING[variant])
    arms = [joint_index(f"{side}_{j}") for side in SIDES for j in ("shoulder", "elbow", "wrist")]
    table[arms] += rng.normal(0, 1.5, (len(arms), 3))
    return to_axis_angle(table)


# Arm of the left side, and of the other side where the task takes both.
_TASK_ARMS = {
    "bag": {"shoulder": (2, 0, -77), "elbow": (5, -6, 0), "wrist": (0, 0, 0), "hand": (0, 0, -65)},
    "suitcase": {
        "shoulder": (32, 0, -70), "elbow": (0, -6, 0), "wrist": (-30, 0, 0), "hand": (0, 0, -65),
    },
    "backpack": {
        "shoulder": (0, 5, -72), "elbow": (18, -131, 0), "wrist": (-30, 0, -28),
        "hand": (0, 0, -50),
    },
    "shoulder_bag": {
        "shoulder": (2, 4, -72), "elbow": (19, -132, 0), "wrist": (-35, 0, -28),
        "hand": (0, 0, -50),
    },
    "box": {
        "shoulder": (-4, -7, -82), "elbow": (19, -69, 0), "wrist": (-9, -20, 10),
        "hand": (0, 0, -10),
    },
    "texting": {
        "shoulder": (-9, 0, -80), "elbow": (30, -108, 0), "wrist": (-60, 8, -15),
        "hand": (0, 0, -35),
    },
    "calling": {
        "shoulder": (-79, -9, -78), "elbow": (22, -136, 0), "wrist": (0, 12, 15),
        "hand": (0, 0, -35),
    },
}  # fmt: skip
_BOTH_ARMS = ("backpack", "box")


def carrying(
    base: np.ndarray, kind: str, rng: np.random.Generator, side: str = "right"
) -> np.ndarray:
    """Change a pose (walking or standing) so that one arm, or both, hold something.

    Args:
        base: pose (24, 3); legs, trunk and the free arm are kept.
        kind: one of :data:`CARRYING`: a bag in a hanging hand, a suitcase pulled behind, both hands
            on the straps of a backpack, one hand on the strap of a shoulder bag, a box before the
            belly.
        rng: generator of a few degrees of manner.
        side: ``left`` or ``right``, the arm that carries; both for ``backpack`` and ``box``.
    """
    _check_choice(kind, CARRYING, "kind of carrying")
    return _with_arm(base, kind, rng, side)


def phone(base: np.ndarray, kind: str, rng: np.random.Generator, side: str = "right") -> np.ndarray:
    """Add a phone to a pose: ``texting`` looks down at it, ``calling`` holds it to the ear.

    Args:
        base: pose (24, 3); legs, trunk and the free arm are kept.
        kind: use of the phone, one of :data:`PHONE`.
        rng: generator of a few degrees of manner.
        side: ``left`` or ``right``, the arm that holds the phone.
    """
    _check_choice(kind, PHONE, "kind of phone use")
    pose = _with_arm(base, kind, rng, side)
    sideways = 1.0 if side == "left" else -1.0
    down, turn = (24.0, 6.0 * sideways) if kind == "texting" else (2.0, 6.0 * sideways)
    bowed = angle_table(neck=(down / 2, 0, 0), head=(down, turn + rng.normal(0, 2), 0))
    rows = [joint_index("neck"), joint_index("head")]
    pose[rows] = to_axis_angle(bowed)[rows]
    return pose


def looking_aside(base: np.ndarray, degrees: float) -> np.ndarray:
    """Turn the head of a pose by ``degrees`` in [-70, 70]; positive looks left."""
    if not -70 <= degrees <= 70:
        raise ValueError(
            f"expected a head turn within 70 degrees, got {degrees}; turn the body with facing()"
        )
    pose = base.copy()
    turned = angle_table(neck=(0, 0.4 * degrees, 0), head=(0, 0.6 * degrees, 0))
    for name in ("neck", "head"):
        row = joint_index(name)
        turn = Rotation.from_rotvec(to_axis_angle(turned)[row])
        pose[row] = (turn * Rotation.from_rotvec(base[row])).as_rotvec()
    return pose


def sitting(rng: np.random.Generator) -> np.ndarray:
    """Compute the pose of sitting, hands on the thighs (no chair is rendered)."""
    lean = rng.uniform(-4, 8)
    spread = rng.uniform(2, 12)
    table = angle_table(
        pelvis=(-6 + lean, 0, 0), spine1=(6, 0, 0), spine2=(4, 0, 0), head=(rng.uniform(-5, 15), 0,
        0),
        hips=(-84 - lean, 0, spread), knees=(rng.uniform(80, 95), 0, 0), ankles=(0, 0, 0),
        shoulders=(-24, 0, -74), elbows=(18, -52, 0), wrists=(20, 0, 10), hands=(0, 0, -15),
    )  # fmt: skip
    return to_axis_angle(table)


def facing(pose: np.ndarray, heading_deg: float) -> np.ndarray:
    """Turn a pose about the vertical axis, in degrees: 0 faces +z, 90 faces +x."""
    turned = pose.copy()
    turn = Rotation.from_euler("y", heading_deg, degrees=True)
    turned[0] = (turn * Rotation.from_rotvec(pose[0])).as_rotvec()
    return turned


def on_ground(body: PosedBody, x: float = 0.0, z: float = 0.0) -> PosedBody:
    """Move a body so that its lowest vertex is at y = 0 and its pelvis above (x, z), in metres."""
    pelvis = body.joints[0]
    shift = np.array([x - pelvis[0], -body.vertices[:, 1].min(), z - pelvis[2]], dtype=np.float32)
    transforms = body.joint_transforms.copy()
    transforms[:, :3, 3] += shift
    return dataclasses.replace(
        body,
        vertices=body.vertices + shift,
        joints=body.joints + shift,
        joint_transforms=transforms,
    )


def _with_arm(base: np.ndarray, task: str, rng: np.random.Generator, side: str) -> np.ndarray:
    _check_choice(side, SIDES, "side")
    pose = base.copy()
    for used in SIDES if task in _BOTH_ARMS else (side,):
        degrees = {
            f"{used}_{j}": np.array(a) + rng.normal(0, 1.5, 3) for j, a in _TASK_ARMS[task].items()
        }
        rows = [joint_index(name) for name in degrees]
        pose[rows] = to_axis_angle(angle_table(**degrees))[rows]
    return pose


def _check_choice(value: str, known: tuple[str, ...], what: str) -> None:
    if value not in known:
        raise ValueError(f"unknown {what} {value!r}; known: {', '.join(known)}")
