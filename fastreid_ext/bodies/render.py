"""Rasterise triangle meshes with a z-buffer: the face each pixel sees, where on it, how far away.

Pixels: row-major, centres at .5. Depth: camera z in metres, smaller is nearer. A pixel belongs to a
triangle when its centre lies inside or on the edge; of two surfaces the nearer wins, of equal ones
the one rasterised first. Triangles with a corner at or before the near plane are dropped whole, not
cut: keep the camera outside the body.
Letters: V vertices, F faces, H height, W width, C channels.
"""

import dataclasses

import numpy as np
from numba import njit

NEAR_M = 0.05  # metres; nothing of a pedestrian image is nearer to its camera than this


@dataclasses.dataclass(frozen=True)
class Buffers:
    """Face, place on it and depth seen at each pixel.

    Attributes:
        face_id: (H, W) int32, the face's number plus the mesh's ``face_offset``; -1 where there is
            nothing.
        barycentric: (H, W, 3) float32 in [0, 1], shares of the face's corners on the surface
            (corrected for perspective), 0 where there is nothing.
        depth: (H, W) float32 metres, inf where there is nothing.
    """

    face_id: np.ndarray
    barycentric: np.ndarray
    depth: np.ndarray

    @classmethod
    def empty(cls, height: int, width: int) -> "Buffers":
        """Make the buffers of an image with nothing in it."""
        return cls(
            np.full((height, width), -1, dtype=np.int32),
            np.zeros((height, width, 3), dtype=np.float32),
            np.full((height, width), np.inf, dtype=np.float32),
        )

    @property
    def mask(self) -> np.ndarray:
        """Pixels that see a surface, (H, W) bool."""
        return self.face_id >= 0


def rasterize(
    projected: np.ndarray,
    faces: np.ndarray,
    height: int,
    width: int,
    *,
    buffers: Buffers | None = None,
    face_offset: int = 0,
    cull_back_faces: bool = False,
) -> Buffers:
    """Rasterise a mesh into new buffers, or on top of the meshes that ``buffers`` already hold.

    To composite meshes, rasterise each into the same buffers with ``face_offset`` = number of faces
    before it.

    Args:
        projected: (V, 3) pixel x, pixel y, depth in metres, from :meth:`Camera.project`.
        faces: (F, 3) integer corners, counter-clockwise seen from outside.
        height: height of the image in pixels.
        width: width of the image in pixels.
        buffers: buffers to write into, in place; None makes new ones.
        face_offset: number added to this mesh's face numbers.
        cull_back_faces: skip faces seen from behind; faster, right for closed meshes, wrong for
            cloth.

    Returns:
        ``buffers``, or new ones.
    """
    projected, faces = _as_mesh(projected, faces, "projected")
    if buffers is None:
        buffers = Buffers.empty(height, width)
    elif buffers.face_id.shape != (height, width):
        raise ValueError(
            f"expected buffers of {(height, width)} pixels, got {buffers.face_id.shape}"
        )
    _rasterize(
        projected,
        faces,
        face_offset,
        cull_back_faces,
        NEAR_M,
        buffers.face_id,
        buffers.barycentric,
        buffers.depth,
    )
    return buffers


def interpolate(
    buffers: Buffers,
    faces: np.ndarray,
    values: np.ndarray,
    *,
    face_offset: int = 0,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Interpolate values given at vertices to every pixel that sees their mesh.

    Args:
        buffers: result of :func:`rasterize` for this mesh.
        faces: (F, 3) corners of the mesh that was rasterised with the same ``face_offset``.
        values: (V, C) any real values, one row per vertex of that mesh.
        face_offset: number that :func:`rasterize` added to the mesh's faces.
        out: (H, W, C) float32 written in place at this mesh's pixels only; zeros when not given.

    Returns:
        (H, W, C) float32.
    """
    if values.ndim != 2:
        raise ValueError(
            f"expected values (V, C), got {values.shape}; use values[:, None] for one channel"
        )
    if out is None:
        out = np.zeros((*buffers.face_id.shape, values.shape[1]), dtype=np.float32)
    values = np.ascontiguousarray(values, dtype=np.float32)
    faces = np.ascontiguousarray(faces, dtype=np.int32)
    if len(faces) and faces.max() >= len(values):
        raise ValueError(
            f"expected a value for each of {faces.max() + 1} vertices, got {len(values)}"
        )
    _interpolate(buffers.face_id, buffers.barycentric, faces, values, face_offset, out)
    return out


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Compute unit outward normals, the area-weighted mean of the faces around each vertex.

    Args:
        vertices: (V, 3) places in any unit of length.
        faces: (F, 3) corners, counter-clockwise seen from outside.

    Returns:
        (V, 3) float32 normals of length 1.
    """
    vertices, faces = _as_mesh(vertices, faces, "vertices")
    return _vertex_normals(vertices, faces)


def _as_mesh(points: np.ndarray, faces: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Make both contiguous, float32 and int32, and check that compiled code stays in bounds."""
    points = np.ascontiguousarray(points, dtype=np.float32)
    faces = np.ascontiguousarray(faces, dtype=np.int32)
    if points.ndim != 2 or points.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3:
        raise ValueError(
            f"expected {name} (V, 3) and faces (F, 3), got {points.shape} and {faces.shape}"
        )
    if len(faces) and (faces.min() < 0 or faces.max() >= len(points)):
        raise ValueError(
            f"expected face corners in 0..{len(points) - 1}, got {faces.min()}..{faces.max()}; "
            "do the faces belong to this mesh?"
        )
    return points, faces


@njit(cache=True, error_model="numpy")
def _rasterize(projected, faces, face_offset, cull, near, face_id, barycentric, depth):  # noqa: ANN001, ANN202
    height, width = face_id.shape
    for f in range(faces.shape[0]):
        a = projected[faces[f, 0]]
        b = projected[faces[f, 1]]
        c = projected[faces[f, 2]]
        if not (a[2] > near and b[2] > near and c[2] > near):  # also drops NaN
            continue
        ax = float(a[0])
        ay = float(a[1])
        bx = float(b[0])
        by = float(b[1])
        cx = float(c[0])
        cy = float(c[1])
        # Image y points down, so a face seen from outside has a negative area here.
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0.0 or (cull and area > 0.0) or not np.isfinite(area):
            continue
        left = max(int(np.ceil(max(min(ax, bx, cx), 0.0) - 0.5)), 0)
        right = min(int(np.floor(min(max(ax, bx, cx), width) - 0.5)), width - 1)
        top = max(int(np.ceil(max(min(ay, by, cy), 0.0) - 0.5)), 0)
        bottom = min(int(np.floor(min(max(ay, by, cy), height) - 0.5)), height - 1)
        if right < left or bottom < top:
            continue
        scale = 1.0 / area
        # Screen-space shares of the corners are linear in the pixel: value at the first pixel and
        # two slopes.
        a_dx = (by - cy) * scale
        a_dy = (cx - bx) * scale
        b_dx = (cy - ay) * scale
        b_dy = (ax - cx) * scale
        ia = 1.0 / float(a[2])
        ib = 1.0 / float(b[2])
        ic = 1.0 / float(c[2])
        for y in range(top, bottom + 1):
            px = left + 0.5
            py = y + 0.5
            share_a = a_dx * (px - bx) + a_dy * (py - by)
            share_b = b_dx * (px - cx) + b_dy * (py - cy)
            for x in range(left, right + 1):
                share_c = 1.0 - share_a - share_b
                if share_a >= -1e-9 and share_b >= -1e-9 and share_c >= -1e-9:
                    z = np.float32(1.0 / (share_a * ia + share_b * ib + share_c * ic))
                    if z < depth[y, x]:
                        depth[y, x] = z
                        face_id[y, x] = f + face_offset
                        barycentric[y, x, 0] = max(share_a, 0.0) * ia * z
                        barycentric[y, x, 1] = max(share_b, 0.0) * ib * z
                        barycentric[y, x, 2] = max(share_c, 0.0) * ic * z
                share_a += a_dx
                share_b += b_dx


@njit(cache=True, error_model="numpy")
def _interpolate(face_id, barycentric, faces, values, face_offset, out):  # noqa: ANN001, ANN202
    height, width = face_id.shape
    channels = values.shape[1]
    for y in range(height):
        for x in range(width):
            f = face_id[y, x] - face_offset
            if face_id[y, x] < 0 or f < 0 or f >= faces.shape[0]:
                continue
            i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
            u, v, w = barycentric[y, x, 0], barycentric[y, x, 1], barycentric[y, x, 2]
            for c in range(channels):
                out[y, x, c] = u * values[i, c] + v * values[j, c] + w * values[k, c]


@njit(cache=True, error_model="numpy")
def _vertex_normals(vertices, faces):  # noqa: ANN001, ANN202
    normals = np.zeros_like(vertices)
    for f in range(faces.shape[0]):
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        ux = vertices[j, 0] - vertices[i, 0]
        uy = vertices[j, 1] - vertices[i, 1]
        uz = vertices[j, 2] - vertices[i, 2]
        vx = vertices[k, 0] - vertices[i, 0]
        vy = vertices[k, 1] - vertices[i, 1]
        vz = vertices[k, 2] - vertices[i, 2]
        nx = uy * vz - uz * vy
        ny = uz * vx - ux * vz
        nz = ux * vy - uy * vx
        for corner in (i, j, k):
            normals[corner, 0] += nx
            normals[corner, 1] += ny
            normals[corner, 2] += nz
    for v in range(normals.shape[0]):
        length = np.sqrt(normals[v, 0] ** 2 + normals[v, 1] ** 2 + normals[v, 2] ** 2)
        if length > 0.0:
            normals[v] /= length
    return normals
