"""Turn an A-posed body to SMPL's T-pose: arms level, palms down, legs straight, feet 7 degrees out.

Letters: V vertices. Axes: y up, facing +z, +x is the body's left; metres.
"""

import numpy as np
from scipy.spatial.transform import Rotation

from fastreid_ext.bodies.parts import JOINT_NAMES, PARENTS


def rotation_between(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Smallest rotation (3, 3) that turns direction ``source`` into direction ``target``."""
    source = source / np.linalg.norm(source)
    target = target / np.linalg.norm(target)
    axis = np.cross(source, target)
    angle = np.arctan2(np.linalg.norm(axis), source @ target)
    return Rotation.from_rotvec(axis / max(np.linalg.norm(axis), 1e-12) * angle).as_matrix()


def t_pose_rotations(joints: np.ndarray) -> np.ndarray:
    """World rotation (24, 3, 3) of every joint that turns one A-posed adult into SMPL's T-pose."""
    at = {name: joints[i] for i, name in enumerate(JOINT_NAMES)}
    rotations = dict.fromkeys(JOINT_NAMES, np.eye(3))
    for side, sign in (("left_", 1.0), ("right_", -1.0)):
        along = np.array([sign, 0.0, 0.0])
        for upper, lower in (("shoulder", "elbow"), ("elbow", "wrist"), ("wrist", "hand")):
            # Continue from the parent's rotation, so that the elbow's crease keeps facing forward.
            parent = rotations[
                side + {"shoulder": "collar", "elbow": "shoulder", "wrist": "elbow"}[upper]
            ]
            bone = parent @ (at[side + lower] - at[side + upper])
            rotations[side + upper] = rotation_between(bone, along) @ parent
        rotations[side + "hand"] = rotations[side + "wrist"]
        thigh = at[side + "knee"] - at[side + "hip"]
        shin = at[side + "ankle"] - at[side + "knee"]
        rotations[side + "hip"] = rotation_between(thigh, np.array([0.0, -1.0, 0.01]))
        rotations[side + "knee"] = rotation_between(shin, np.array([0.0, -1.0, -0.035]))
        toes = at[side + "foot"] - at[side + "ankle"]
        yaw = np.arctan2(toes[0], toes[2]) - sign * np.deg2rad(7.0)  # feet turned out by 7 degrees
        rotations[side + "ankle"] = Rotation.from_euler("y", -yaw).as_matrix()
        rotations[side + "foot"] = rotations[side + "ankle"]
    return np.stack([rotations[name] for name in JOINT_NAMES])


def to_t_pose(
    vertices: np.ndarray, joints: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """One adult's vertices (V, 3) and joints (24, 3) in T-pose, pelvis at the origin."""
    rotations = t_pose_rotations(joints)
    posed = np.zeros_like(joints)
    for j in range(1, len(PARENTS)):
        posed[j] = posed[PARENTS[j]] + rotations[PARENTS[j]] @ (joints[j] - joints[PARENTS[j]])
    offsets = posed - np.einsum("jab,jb->ja", rotations, joints)
    blended = np.einsum("vj,jab->vab", weights, rotations)
    return np.einsum("vab,vb->va", blended, vertices) + weights @ offsets, posed
