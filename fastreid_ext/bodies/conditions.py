"""Images that describe a rendered body to a generator: depth, normals, skeleton, parts, colours.

All are in camera space and aligned with the image (row-major, pixel centres at .5); where there is
no body they are 0 (the part map: -1). Values are float32 in [0, 1]; :func:`as_uint8` makes them
writable as PNG.

- Depth: 1 at the nearest surface and 0.1 at the furthest, linear in metres between.
- Normals: red is x to the image's right, green is y up, blue is z towards the camera, each (n + 1)
  / 2; a surface that faces the camera is (0.5, 0.5, 1).
- Skeleton: OpenPose's 18 points and 17 limbs in its colours (18 hues, 20 degrees apart), limbs at
  0.6 brightness; nearer limbs over farther ones, hidden ones too. The right side of the body is the
  person's own.
- Parts: the part of the face corner nearest to the pixel, an index into PART_NAMES.

Letters: V vertices, F faces, H height, W width.
"""

import colorsys

import cv2
import numpy as np

from fastreid_ext.bodies.body_model import PosedBody
from fastreid_ext.bodies.cameras import Camera
from fastreid_ext.bodies.crop_camera import CropCamera
from fastreid_ext.bodies.parts import joint_index
from fastreid_ext.bodies.render import NEAR_M, Buffers, interpolate, vertex_normals

_FURTHEST = 0.1  # so that the far side of a body differs from the background
_SUBPIXEL_BITS = 4  # cv2 places lines at 1/16 pixel

OPENPOSE_NAMES = (
    "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow",
    "left_wrist",
    "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "right_eye",
    "left_eye",
    "right_ear", "left_ear",
)  # fmt: skip
OPENPOSE_COLOURS = tuple(colorsys.hsv_to_rgb(i / 18, 1.0, 1.0) for i in range(18))
_LIMBS = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12),
    (12, 13),
    (1, 0), (0, 14), (14, 16), (0, 15), (15, 17),
)  # fmt: skip
# Places of the face in metres from the head joint, in T-pose, of the mean free body.
_FACE_POINTS = {
    "nose": (0.0, 0.025, 0.125),
    "right_eye": (-0.030, 0.055, 0.095),
    "left_eye": (0.030, 0.055, 0.095),
    "right_ear": (-0.075, 0.045, 0.005),
    "left_ear": (0.075, 0.045, 0.005),
}


def depth_map(
    buffers: Buffers, near_m: float | None = None, far_m: float | None = None
) -> np.ndarray:
    """Compute the depth map (H, W) in [0, 1]; see the module docstring.

    Args:
        buffers: buffers filled by :func:`~fastreid_ext.bodies.render.rasterize`.
        near_m: metres that become 1; None takes the nearest surface seen.
        far_m: metres that become 0.1; None takes the furthest surface seen. Depths outside are
            clipped.
    """
    result = np.zeros(buffers.depth.shape, dtype=np.float32)
    seen = buffers.mask
    if not seen.any():
        return result
    depth = buffers.depth[seen]
    near = float(depth.min()) if near_m is None else near_m
    far = float(depth.max()) if far_m is None else far_m
    if far < near:
        raise ValueError(f"expected near_m <= far_m, got {near} and {far}")
    share = (depth - near) / max(far - near, 1e-6)
    result[seen] = (1 - (1 - _FURTHEST) * share).clip(_FURTHEST, 1)
    return result


def normal_map(
    buffers: Buffers, vertices: np.ndarray, faces: np.ndarray, camera: Camera | CropCamera
) -> np.ndarray:
    """Compute smooth camera-space normals (H, W, 3) in [0, 1]; see the module docstring.

    Args:
        buffers: result of rasterising ``faces`` of ``vertices`` seen by ``camera``.
        vertices: (V, 3) places in the world, in metres.
        faces: (F, 3) corners of the mesh's faces.
        camera: camera that the mesh was rasterised with.
    """
    in_camera = vertex_normals(vertices, faces) @ camera.rotation.T  # x right, y down, z forward
    normals = interpolate(buffers, faces, in_camera * (1, -1, -1))
    length = np.linalg.norm(normals, axis=2, keepdims=True)
    encoded = (normals / np.maximum(length, 1e-6) + 1) / 2
    return np.where(buffers.mask[..., None], encoded, 0).astype(np.float32)


def part_map(buffers: Buffers, faces: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Find the body part that each pixel sees.

    Args:
        buffers: result of rasterising ``faces`` with face offset 0; other meshes' pixels count as
            nothing.
        faces: (F, 3) corners of the body's faces.
        part: (V,) parts of the :class:`~fastreid_ext.bodies.body_model.BodyModel`.

    Returns:
        (H, W) int8 index into PART_NAMES, -1 where no part is seen.
    """
    result = np.full(buffers.face_id.shape, -1, dtype=np.int8)
    seen = buffers.mask & (buffers.face_id < len(faces))
    corner = buffers.barycentric[seen].argmax(axis=1)
    result[seen] = part[faces[buffers.face_id[seen], corner]]
    return result


def colour_map(buffers: Buffers, faces: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Interpolate vertex colours (V, 3) in [0, 1], unshaded, to each pixel (H, W, 3)."""
    return interpolate(buffers, faces, colours)


def openpose_points(body: PosedBody) -> np.ndarray:
    """Compute OpenPose's 18 points (18, 3) of a posed body in the world, in metres.

    Their order is :data:`OPENPOSE_NAMES`. The face's five points sit at fixed offsets from the
    head joint; the neck is midway between the shoulders.
    """
    shoulders = [joint_index("left_shoulder"), joint_index("right_shoulder")]
    head = joint_index("head")
    turned = body.joint_transforms[head, :3, :3]
    points = []
    for name in OPENPOSE_NAMES:
        if name in _FACE_POINTS:
            points.append(body.joints[head] + turned @ np.array(_FACE_POINTS[name]))
        elif name == "neck":
            points.append(body.joints[shoulders].mean(axis=0))
        else:
            points.append(body.joints[joint_index(name)])
    return np.stack(points)


def skeleton_map(
    body: PosedBody, camera: Camera | CropCamera, thickness_px: int | None = None
) -> np.ndarray:
    """Render an OpenPose-style skeleton (H, W, 3) float32 in [0, 1], RGB.

    Arguments are those of :func:`skeleton_pixels`.
    """
    return skeleton_pixels(body, camera, thickness_px).astype(np.float32) / 255


def skeleton_pixels(
    body: PosedBody, camera: Camera | CropCamera, thickness_px: int | None = None
) -> np.ndarray:
    """Render an OpenPose-style skeleton (H, W, 3) uint8, RGB; see the module docstring.

    Args:
        body: posed body whose joints are shown.
        camera: camera and image size; points at or before its near plane are left out.
        thickness_px: thickness of limbs in pixels; None takes 1/64 of the height, at least 1.
    """
    thickness = max(1, camera.height // 64) if thickness_px is None else thickness_px
    points = camera.project(openpose_points(body))
    image = np.zeros((camera.height, camera.width, 3), dtype=np.uint8)
    seen = points[:, 2] > NEAR_M
    fixed = np.zeros((len(points), 2), dtype=int)
    reach = 16 * max(camera.height, camera.width)  # far outside the image, within cv2's integers
    # cv2 puts pixel centres at whole numbers, we at .5.
    pixels = np.clip(points[seen, :2] - 0.5, -reach, reach)
    fixed[seen] = np.round(pixels * 2**_SUBPIXEL_BITS).astype(int)
    by_depth = sorted(range(len(_LIMBS)), key=lambda i: -points[list(_LIMBS[i]), 2].sum())
    for i in by_depth:
        a, b = _LIMBS[i]
        if seen[a] and seen[b]:
            colour = [round(255 * 0.6 * c) for c in OPENPOSE_COLOURS[i]]
            cv2.line(
                image,
                fixed[a].tolist(),
                fixed[b].tolist(),
                colour,
                thickness,
                cv2.LINE_AA,
                _SUBPIXEL_BITS,
            )
    for i in np.flatnonzero(seen):
        colour = [round(255 * c) for c in OPENPOSE_COLOURS[i]]
        radius = max(1, round(0.7 * thickness * 2**_SUBPIXEL_BITS))
        cv2.circle(image, fixed[i].tolist(), radius, colour, -1, cv2.LINE_AA, _SUBPIXEL_BITS)
    return image


def as_uint8(values: np.ndarray) -> np.ndarray:
    """Convert a map in [0, 1] to uint8 in [0, 255]."""
    return (values * 255).round().astype(np.uint8)
