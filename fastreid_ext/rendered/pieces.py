"""Pieces: small meshes worn on top of the body (hem, hair, bag, brim), in the body's rest pose.

A piece is skinned like the body: ``weights`` (N, J) with J = 24 body joints + the hanging anchors
of ``ANCHORS``, whose transforms follow a joint's position but stay upright (a shopping bag hangs
down whatever the wrist does). Rest pose: T-pose, metres, y up, facing +z, +x to the body's left.
"""

import dataclasses

import numpy as np

JOINTS = 24
LEFT_HAND_ANCHOR = 24
RIGHT_HAND_ANCHOR = 25
GROUND_ANCHOR = 26
ANCHORS = 3


@dataclasses.dataclass(frozen=True)
class Piece:
    """A mesh with its skinning and the (across, along, depth) coordinates that patterns live in."""

    vertices: np.ndarray  # (N, 3)
    faces: np.ndarray  # (M, 3)
    weights: np.ndarray  # (N, 27)
    coordinates: np.ndarray  # (N, 3) metres: across, along, front-back
    surface: str  # which cloth of the outfit it shows


def bound(vertices: np.ndarray, shares: dict[int, float]) -> np.ndarray:
    """Make weights (N, 27) that tie every vertex to the same joints."""
    weights = np.zeros((len(vertices), JOINTS + ANCHORS))
    for joint, share in shares.items():
        weights[:, joint] = share
    return weights


def grid_faces(rows: int, columns: int, closed: bool) -> np.ndarray:
    """List the triangles of a grid of vertices; ``closed`` joins the last column to the first."""
    i, j = np.meshgrid(
        np.arange(rows - 1), np.arange(columns if closed else columns - 1), indexing="ij"
    )
    k = (j + 1) % columns
    a = i * columns + j
    b = i * columns + k
    c = (i + 1) * columns + j
    d = (i + 1) * columns + k
    return np.concatenate(
        [np.stack([a, c, b], -1).reshape(-1, 3), np.stack([b, c, d], -1).reshape(-1, 3)]
    )


def tube(
    centres: np.ndarray, radii: np.ndarray, columns: int, power: float = 2.0
) -> tuple[np.ndarray, np.ndarray]:
    """Make level rings around ``centres`` (K, 3), half axes ``radii`` (K, 2: x, z), top first.

    ``power`` 2 gives ellipses, more gives rounded rectangles.
    """
    angle = np.linspace(0, 2 * np.pi, columns, endpoint=False)
    sine = np.sin(angle)
    cosine = np.cos(angle)
    x = np.sign(sine) * np.abs(sine) ** (2 / power)
    z = np.sign(cosine) * np.abs(cosine) ** (2 / power)
    rings = np.zeros((len(centres), columns, 3))
    rings[..., 0] = radii[:, :1] * x
    rings[..., 2] = radii[:, 1:] * z
    return (rings + centres[:, None]).reshape(-1, 3), grid_faces(len(centres), columns, True)


def blob(
    centre: np.ndarray, half: tuple, power: float = 2.0, rows: int = 7
) -> tuple[np.ndarray, np.ndarray]:
    """Make a closed ellipsoid (``power`` 2) or rounded box (4 and more) of half size ``half``."""
    polar = np.linspace(0, np.pi, rows)
    height = np.sign(np.cos(polar)) * np.abs(np.cos(polar)) ** (2 / power)
    ring = np.maximum(np.abs(np.sin(polar)) ** (2 / power), 1e-3)
    centres = np.asarray(centre) + np.stack([0 * height, half[1] * height, 0 * height], axis=1)
    return tube(centres, np.stack([half[0] * ring, half[2] * ring], axis=1), 12, power)


def rigid(mesh: tuple[np.ndarray, np.ndarray], shares: dict[int, float], surface: str) -> Piece:
    """Make a piece that moves as one; its pattern runs down from its top."""
    vertices, faces = mesh
    top = vertices[:, 1].max()
    middle = vertices.mean(axis=0)
    coordinates = np.stack(
        [vertices[:, 0] - middle[0], top - vertices[:, 1], vertices[:, 2] - middle[2]], axis=1
    )
    return Piece(vertices, faces, bound(vertices, shares), coordinates, surface)
