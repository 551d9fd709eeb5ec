"""Move a dressed body into the world: joints, hanging things, skinning, feet on the ground."""

import math

import numpy as np
from numba import njit

from fastreid_ext.bodies.body_model import rotation_matrices
from fastreid_ext.bodies.parts import PARENTS
from fastreid_ext.rendered.accessories import HAND_OF_ANCHOR
from fastreid_ext.rendered.dressing import DressedBody
from fastreid_ext.rendered.pieces import ANCHORS, GROUND_ANCHOR, JOINTS

_PARENTS = np.array(PARENTS)
_SOLE_BELOW_JOINTS = 0.035  # metres, with the shoe


@njit(cache=True)
def _transforms(joints, parents, rotations, yaw):  # noqa: ANN001, ANN202
    """Compute transforms (24, 3, 4) from rest to pose, turned by ``yaw``, and joints (24, 3)."""
    count = joints.shape[0]
    out = np.zeros((count, 3, 4))
    placed = np.zeros((count, 3))
    turn = np.zeros((3, 3))
    turn[0, 0] = turn[2, 2] = math.cos(yaw)
    turn[0, 2] = math.sin(yaw)
    turn[2, 0] = -math.sin(yaw)
    turn[1, 1] = 1.0
    for j in range(count):
        parent = parents[j]
        for a in range(3):
            for b in range(3):
                total = 0.0
                for k in range(3):
                    base = turn[a, k] if parent < 0 else out[parent, a, k]
                    total += base * rotations[j, k, b]
                out[j, a, b] = total
            placed[j, a] = 0.0 if parent < 0 else placed[parent, a]
            for k in range(3):
                base = turn[a, k] if parent < 0 else out[parent, a, k]
                placed[j, a] += base * (joints[j, k] - (0.0 if parent < 0 else joints[parent, k]))
        for a in range(3):
            out[j, a, 3] = placed[j, a]
            for k in range(3):
                out[j, a, 3] -= out[j, a, k] * joints[j, k]
    return out, placed


@njit(cache=True)
def _skin(rest, transforms, influences, shares):  # noqa: ANN001, ANN202
    out = np.empty_like(rest)
    for v in range(rest.shape[0]):
        x, y, z = rest[v, 0], rest[v, 1], rest[v, 2]
        for a in range(3):
            value = 0.0
            for k in range(influences.shape[1]):
                share = shares[v, k]
                if share > 0:
                    row = transforms[influences[v, k], a]
                    value += share * (row[0] * x + row[1] * y + row[2] * z + row[3])
            out[v, a] = value
    return out


@njit(cache=True, error_model="numpy")
def project(points, position, rotation, focal, middle_x, middle_y):  # noqa: ANN001, ANN201
    """Project world points (N, 3) to frame x, frame y and depth, (N, 3) float32."""
    out = np.empty_like(points)
    for v in range(points.shape[0]):
        x = points[v, 0] - position[0]
        y = points[v, 1] - position[1]
        z = points[v, 2] - position[2]
        depth = rotation[2, 0] * x + rotation[2, 1] * y + rotation[2, 2] * z
        scale = focal / depth
        out[v, 0] = (
            rotation[0, 0] * x + rotation[0, 1] * y + rotation[0, 2] * z
        ) * scale + middle_x
        out[v, 1] = (
            rotation[1, 0] * x + rotation[1, 1] * y + rotation[1, 2] * z
        ) * scale + middle_y
        out[v, 2] = depth
    return out


@njit(cache=True)
def bounds(points):  # noqa: ANN001, ANN201
    """Find the lowest and highest corner (2, 3) of points; numpy is slow along the short axis."""
    out = np.empty((2, 3))
    for a in range(3):
        out[0, a] = points[0, a]
        out[1, a] = points[0, a]
    for v in range(points.shape[0]):
        for a in range(3):
            out[0, a] = min(out[0, a], points[v, a])
            out[1, a] = max(out[1, a], points[v, a])
    return out


def stand(
    dressed: DressedBody, pose: np.ndarray, yaw: float, x: float, z: float
) -> tuple[np.ndarray, np.ndarray]:
    """Pose a dressed body and stand it at (x, z) on the ground.

    Args:
        dressed: body in rest pose, dressed.
        pose: (24, 3) axis-angle vectors in radians.
        yaw: turn about the vertical in radians; 0 faces +z.
        x: place of the pelvis along x, in metres.
        z: place of the pelvis along z, in metres.

    Returns:
        Vertices (N, 3) float32 and joints (24, 3) in the world, in metres.
    """
    transforms, placed = _transforms(dressed.joints, _PARENTS, rotation_matrices(pose), yaw)
    anchored = np.zeros((JOINTS + ANCHORS, 3, 4))
    anchored[:JOINTS] = transforms
    turn = np.array(
        [[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]]
    )
    ground = placed[:, 1].min() - _SOLE_BELOW_JOINTS
    for anchor, hand in HAND_OF_ANCHOR.items():
        origin = dressed.joints[hand].copy()
        target = placed[hand].copy()
        if anchor == GROUND_ANCHOR:
            origin[:] = 0.0
            target[1] = ground
        anchored[anchor, :, :3] = turn
        anchored[anchor, :, 3] = target - turn @ origin
    vertices = _skin(dressed.vertices, anchored, dressed.influences, dressed.shares)
    offset = np.array([x, -bounds(vertices)[0, 1], z])
    vertices += offset.astype(np.float32)
    return vertices, placed + offset
