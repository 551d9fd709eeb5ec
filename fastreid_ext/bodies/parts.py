"""Names of SMPL's 24 joints and of the body parts that garments, hair and part maps refer to.

Axes: y up, the body faces +z, +x is the body's own left; metres. Letters: V vertices.
"""

import numpy as np

JOINT_NAMES = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle",
    "right_ankle", "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar",
    "head",
    "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
    "left_hand", "right_hand",
)  # fmt: skip
PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)

PART_NAMES = (
    "head", "hair_cap", "face", "eyes", "neck", "torso", "hips",
    "left_upper_arm", "right_upper_arm", "left_forearm", "right_forearm", "left_hand", "right_hand",
    "left_thigh", "right_thigh", "left_shin", "right_shin", "left_foot", "right_foot",
)  # fmt: skip

_PART_OF_JOINT = (
    "hips", "left_thigh", "right_thigh", "torso", "left_shin", "right_shin", "torso", "left_foot",
    "right_foot", "torso", "left_foot", "right_foot", "neck", "torso", "torso", "head",
    "left_upper_arm", "right_upper_arm", "left_forearm", "right_forearm", "left_hand", "right_hand",
    "left_hand", "right_hand",
)  # fmt: skip


def part_index(name: str) -> int:
    """Index of a part in :data:`PART_NAMES`; a ValueError names the known parts."""
    if name not in PART_NAMES:
        raise ValueError(f"unknown body part {name!r}; known parts: {', '.join(PART_NAMES)}")
    return PART_NAMES.index(name)


def joint_index(name: str) -> int:
    """Find the index of a joint in :data:`JOINT_NAMES`; a ValueError names the known joints."""
    if name not in JOINT_NAMES:
        raise ValueError(f"unknown joint {name!r}; known joints: {', '.join(JOINT_NAMES)}")
    return JOINT_NAMES.index(name)


def assign_parts(template: np.ndarray, weights: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """Assign a part to every vertex of a body in T-pose, by its strongest joint and its place.

    The hips reach up to the waist (the joint ``spine1``) and down to where the thighs begin.

    Eyes are not told apart here (SMPL-format files do not mark them); the shipped body marks its
    own.

    Args:
        template: (V, 3) metres, in T-pose.
        weights: (V, 24) skinning weights, rows sum to 1.
        joints: (24, 3) joints of ``template``, in metres.

    Returns:
        (V,) int8 indices into :data:`PART_NAMES`.
    """
    strongest = weights.argmax(axis=1)
    of_joint = np.array([part_index(name) for name in _PART_OF_JOINT], dtype=np.int8)
    part = of_joint[strongest]
    below_waist = template[:, 1] < joints[joint_index("spine1"), 1]
    part[(part == part_index("torso")) & below_waist] = part_index("hips")
    part[(part == part_index("hips")) & ~below_waist] = part_index("torso")
    on_head = part == part_index("head")
    if on_head.any():
        part[on_head] = _divide_head(template[on_head])
    return part


def _divide_head(points: np.ndarray) -> np.ndarray:
    """Hair cap, face or the rest of the head (ears, jaw), by the place in the head's box."""
    low = points.min(axis=0)
    high = points.max(axis=0)
    x, y, z = ((points - low) / (high - low)).T  # 0..1: right to left, chin to crown, nape to nose
    hairline = np.interp(z, [0.0, 0.35, 0.62, 0.78, 1.0], [0.12, 0.42, 0.62, 0.80, 0.95])
    is_ear = np.abs(x - 0.5) > 0.44
    hair = (y > hairline) & ~(is_ear & (y < 0.72))
    face = ~hair & (z > 0.58)
    part = np.full(len(points), part_index("head"), dtype=np.int8)
    part[face] = part_index("face")
    part[hair] = part_index("hair_cap")
    return part
