"""SMPL-format bodies and their linear blend skinning [0], on the CPU, one body at a time.

Axes: y up, a body in rest pose faces +z, +x is its own left; metres and radians. Rotations are
axis-angle vectors of each joint relative to its parent, the 24 joints in SMPL's order
(:data:`~fastreid_ext.bodies.parts.JOINT_NAMES`). The rest pose is SMPL's T-pose. Letters: V
vertices, F faces, B bodies.

[0] Loper et al., "SMPL: A skinned multi-person linear model", SIGGRAPH Asia 2015, eq. 2-10
"""

import dataclasses
from functools import cached_property
from pathlib import Path

import numpy as np
from numba import njit
from scipy.spatial.transform import Rotation

from fastreid_ext.bodies.body_files import read_body_file
from fastreid_ext.bodies.parts import PARENTS, PART_NAMES, assign_parts

FREE_BODY = Path(__file__).with_name("free_body.npz")
GENDERS = ("man", "woman")
_PARENTS = np.array(PARENTS)
_LARGEST_BETA = 2.5  # beyond this the linear shape space leaves what people look like


@dataclasses.dataclass(frozen=True)
class PosedBody:
    """One body in one pose.

    Attributes:
        vertices: (V, 3) float32 vertices in metres.
        joints: (24, 3) float32 joints in metres.
        joint_transforms: (24, 4, 4) float32; transform j takes a point of the shaped body in rest
            pose to where joint j carries it (translation included), so it also moves what is
            attached to the joint.
        rest_vertices: (V, 3) float32 metres, the shaped body before posing (pose corrections not
            included).
    """

    vertices: np.ndarray
    joints: np.ndarray
    joint_transforms: np.ndarray
    rest_vertices: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class BodyModel:
    """A body in SMPL's format; made by :func:`load_body`.

    Attributes:
        template: (V, 3) float32 metres, the mean body in rest pose.
        faces: (F, 3) int32, counter-clockwise seen from outside.
        weights: (V, 24) float32 skinning weights, rows sum to 1.
        joint_regressor: (24, V) float32; times the shaped vertices it gives the joints.
        shape_directions: (V, 3, 10) float32 metres per unit of beta (one standard deviation).
        pose_directions: (V, 3, 207) float32 pose corrections, or None.
        part: (V,) int8 index into :data:`~fastreid_ext.bodies.parts.PART_NAMES`.
        gender_betas: means (2, 10) and Cholesky factors (2, 10, 10) of men's and women's betas, or
            None.
    """

    template: np.ndarray
    faces: np.ndarray
    weights: np.ndarray
    joint_regressor: np.ndarray
    shape_directions: np.ndarray
    pose_directions: np.ndarray | None
    part: np.ndarray
    gender_betas: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def parents(self) -> np.ndarray:
        """Parent of each joint, (24,); -1 for the pelvis."""
        return _PARENTS.copy()

    @cached_property
    def _joint_space(self) -> tuple[np.ndarray, np.ndarray]:
        """Joints of the template (24, 3) and their change per beta (24, 3, 10)."""
        regressor = self.joint_regressor.astype(np.float64)
        return regressor @ self.template, np.einsum("jv,vck->jck", regressor, self.shape_directions)

    @cached_property
    def _sparse_weights(self) -> tuple[np.ndarray, np.ndarray]:
        """Joints and weights, (V, K) each, strongest first; K is the most any vertex has."""
        most = max(int((self.weights > 0).sum(axis=1).max()), 1)
        joints = np.argsort(-self.weights, axis=1, kind="stable")[:, :most]
        values = np.take_along_axis(self.weights, joints, axis=1)
        return joints.astype(np.int32), np.ascontiguousarray(values, dtype=np.float32)

    def shaped(self, betas: np.ndarray) -> np.ndarray:
        """Compute the vertices (V, 3) float32 of the shape ``betas`` (10,) in rest pose."""
        return _shape(self.template, self.shape_directions, _checked(betas, (10,), "betas"))

    def pose(
        self, betas: np.ndarray, pose: np.ndarray, translation: np.ndarray = (0, 0, 0)
    ) -> PosedBody:
        """Shape, pose and move the body.

        Args:
            betas: (10,) shape coefficients, in standard deviations.
            pose: (24, 3) axis-angle in radians, relative to the parent joint; row 0 turns the whole
                body.
            translation: (3,) shift in metres, added last.

        Returns:
            The posed body.
        """
        betas = _checked(betas, (10,), "betas")
        pose = _checked(pose, (24, 3), "pose")
        translation = _checked(translation, (3,), "translation")
        joints, per_beta = self._joint_space
        joints = joints + per_beta @ betas
        rotations = rotation_matrices(pose)
        transforms = _joint_transforms(joints, rotations, translation)
        rest = _shape(self.template, self.shape_directions, betas)
        corrected = rest
        if self.pose_directions is not None:
            feature = (rotations[1:] - np.eye(3)).reshape(-1).astype(np.float32)
            corrected = rest + (self.pose_directions.reshape(-1, 207) @ feature).reshape(-1, 3)
        posed_joints = np.einsum("jab,jb->ja", transforms[:, :3, :3], joints) + transforms[:, :3, 3]
        transforms = transforms.astype(np.float32)
        vertices = _skin(corrected, transforms, *self._sparse_weights)
        return PosedBody(vertices, posed_joints.astype(np.float32), transforms, rest)

    def pose_batch(
        self, betas: np.ndarray, poses: np.ndarray, translations: np.ndarray
    ) -> list[PosedBody]:
        """Pose several bodies: betas (B, 10), poses (B, 24, 3) and translations (B, 3)."""
        if not len(betas) == len(poses) == len(translations):
            raise ValueError(
                f"expected as many betas as poses and translations, got {len(betas)}, "
                f"{len(poses)}, {len(translations)}"
            )
        return [self.pose(*body) for body in zip(betas, poses, translations, strict=True)]

    def joints_batch(
        self, betas: np.ndarray, poses: np.ndarray, translations: np.ndarray
    ) -> np.ndarray:
        """Compute the joints (B, 24, 3) of many posed bodies in metres, without their vertices.

        Args:
            betas: (B, 10) shape coefficients, in standard deviations.
            poses: (B, 24, 3) axis-angle vectors in radians.
            translations: (B, 3) shifts in metres, added last.
        """
        template, per_beta = self._joint_space
        rest = template + np.einsum("jck,bk->bjc", per_beta, betas)
        rotations = rotation_matrices(poses.reshape(-1, 3)).reshape(-1, 24, 3, 3)
        placed = rest.copy()
        turned = rotations.copy()
        for j in range(1, 24):
            parent = PARENTS[j]
            bone = rest[:, j] - rest[:, parent]
            placed[:, j] = np.einsum("bij,bj->bi", turned[:, parent], bone) + placed[:, parent]
            turned[:, j] = turned[:, parent] @ rotations[:, j]
        return placed + translations[:, None]

    def sample_betas(self, rng: np.random.Generator, gender: str | None = None) -> np.ndarray:
        """Sample the shape (10,) of a random adult, each coefficient within +-2.5.

        Args:
            rng: generator of the random numbers.
            gender: ``man`` or ``woman`` follow the spread of that gender where the body file has
                one (the shipped body); without it, or for None, coefficients are standard normal.
        """
        if gender not in (None, *GENDERS):
            raise ValueError(f"expected gender 'man', 'woman' or None, got {gender!r}")
        sample = rng.standard_normal(10)
        if gender is not None and self.gender_betas is not None:
            means, spreads = self.gender_betas
            sample = means[GENDERS.index(gender)] + spreads[GENDERS.index(gender)] @ sample
        return sample.clip(-_LARGEST_BETA, _LARGEST_BETA)


def load_body(path: str | Path | None = None) -> BodyModel:
    """The shipped free body, or the user's SMPL or SMPL-X file.

    SMPL-X is reduced to SMPL's 24 joints, which is exact as long as jaw, eyes and fingers rest
    (flat hands).

    Args:
        path: ``.npz`` or ``.pkl``; None for the shipped body (CC0; see ``free_body_LICENSE.md``).

    Returns:
        The model, checked for shapes and finite values.
    """
    arrays = read_body_file(FREE_BODY if path is None else Path(path))
    template = arrays["v_template"]
    part = arrays.get("part")
    if part is None:
        part = assign_parts(template, arrays["weights"], arrays["J_regressor"] @ template)
        part[arrays["eye_weight"] > 0.5] = PART_NAMES.index("eyes")
    gender_betas = None
    if "gender_means" in arrays:
        gender_betas = (arrays["gender_means"], arrays["gender_spreads"])
    return BodyModel(
        template=template,
        faces=arrays["f"],
        weights=arrays["weights"],
        joint_regressor=arrays["J_regressor"],
        shape_directions=arrays["shapedirs"],
        pose_directions=arrays.get("posedirs"),
        part=part,
        gender_betas=gender_betas,
    )


def rotation_matrices(axis_angles: np.ndarray) -> np.ndarray:
    """Rodrigues: rotation matrices (N, 3, 3) of axis-angle vectors (N, 3) in radians."""
    angle = np.linalg.norm(axis_angles, axis=1)[:, None, None]
    x, y, z = (axis_angles / np.maximum(angle[:, :, 0], 1e-12)).T
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=1).reshape(-1, 3, 3)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)


def axis_angles(rotations: np.ndarray) -> np.ndarray:
    """Axis-angle vectors (N, 3), angles in [0, pi], of rotation matrices (N, 3, 3)."""
    return Rotation.from_matrix(rotations).as_rotvec()


def _checked(values: np.ndarray, shape: tuple[int, ...], name: str) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if values.shape != shape:
        raise ValueError(f"expected {name} of shape {shape}, got {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(
            f"expected finite {name}, got NaN or infinity in them; check where they come from"
        )
    return values


def _joint_transforms(
    joints: np.ndarray, rotations: np.ndarray, translation: np.ndarray
) -> np.ndarray:
    """Transforms (24, 4, 4) from the rest pose to the world, from the pelvis outwards (eq. 3-4)."""
    transforms = np.zeros((len(joints), 4, 4))
    transforms[:, 3, 3] = 1
    placed = np.empty_like(joints)
    for j, parent in enumerate(PARENTS):
        if parent < 0:
            turned = rotations[j]
            placed[j] = joints[j] + translation
        else:
            turned = transforms[parent, :3, :3] @ rotations[j]
            placed[j] = transforms[parent, :3, :3] @ (joints[j] - joints[parent]) + placed[parent]
        transforms[j, :3, :3] = turned
        transforms[j, :3, 3] = placed[j] - turned @ joints[j]
    return transforms


def _shape(template: np.ndarray, directions: np.ndarray, betas: np.ndarray) -> np.ndarray:
    return template + (directions.reshape(-1, 10) @ betas.astype(np.float32)).reshape(-1, 3)


@njit(cache=True)
def _skin(rest, transforms, joints, weights):  # noqa: ANN001, ANN202
    """Blend the transforms of each vertex's few joints and apply the blend (eq. 7)."""
    out = np.empty_like(rest)
    for v in range(rest.shape[0]):
        x, y, z = rest[v, 0], rest[v, 1], rest[v, 2]
        for a in range(3):
            value = np.float32(0.0)
            for k in range(joints.shape[1]):
                if weights[v, k] > 0:
                    row = transforms[joints[v, k], a]
                    value += weights[v, k] * (row[0] * x + row[1] * y + row[2] * z + row[3])
            out[v, a] = value
    return out
