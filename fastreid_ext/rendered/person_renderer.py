"""Render one crop: pose, rasterise, cast shadows, shade, and put the body into the camera's scene.

Everything happens in the crop, at twice the image's resolution; the sensor
(:mod:`.camera_effects`) comes after.
Letters: H x W pixels of the crop.
"""

import dataclasses

import cv2
import numpy as np

from fastreid_ext.bodies.render import Buffers, rasterize, vertex_normals
from fastreid_ext.rendered import body_coordinates as bc
from fastreid_ext.rendered.dressing import DressedBody
from fastreid_ext.rendered.posing import bounds, project, stand
from fastreid_ext.rendered.shading import (
    LIGHT_MAP,
    Backdrop,
    Light,
    Seen,
    Worn,
    shade_person,
    shade_scene,
)
from fastreid_ext.rendered.shots import Shot
from fastreid_ext.rendered.views import FRAME_HEIGHT, FRAME_WIDTH, View

OVERSAMPLING = 2
_FAINT = 0.05  # a weaker sun casts no shadow worth computing
_FEET = [bc.LEFT_ANKLE, bc.RIGHT_ANKLE, bc.LEFT_FOOT, bc.RIGHT_FOOT]


@dataclasses.dataclass(frozen=True)
class Rendering:
    """Linear radiance (H, W, 4) float32 of a crop, and its ground truth."""

    radiance: np.ndarray
    box: tuple[float, float, float, float]  # left, top, width, height in frame pixels
    joints: np.ndarray  # (24, 3) world metres
    visible: float  # share of the body's silhouette that nothing in front hides, in [0, 1]


@dataclasses.dataclass(frozen=True)
class _Actor:
    dressed: DressedBody
    vertices: np.ndarray
    joints: np.ndarray


def _project(view: View, points: np.ndarray) -> np.ndarray:
    """Project world points (N, 3) to frame x, frame y and depth, (N, 3) float32."""
    return project(
        points, view.position, view.rotation, view.focal, FRAME_WIDTH / 2, FRAME_HEIGHT / 2
    )


def _box(projected: np.ndarray, shot: Shot) -> tuple[float, float, float, float]:
    low, high = (corner[:2] for corner in bounds(projected))
    tall = float(high[1] - low[1])
    height = tall * shot.box_scale
    width = height * shot.box_aspect
    x, y = (low + high) / 2 + tall * np.asarray(shot.box_shift)
    return float(x - width / 2), float(y - height / 2), width, height


def _crop(frame: np.ndarray, box: tuple, height: int, width: int, flags: int) -> np.ndarray:
    """Resample the box of a frame to (height, width); beyond the frame its border repeats."""
    across = width / box[2]
    down = height / box[3]
    matrix = np.array(
        [
            [across, 0, -box[0] * across + 0.5 * across - 0.5],
            [0, down, -box[1] * down + 0.5 * down - 0.5],
        ]
    )
    return cv2.warpAffine(
        frame, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )


def _shadow_map(actors: list[_Actor], sun: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute the depth seen from the sun (L, L) and the frame (4, 3) that ``lit`` uses."""
    right = np.cross([0.0, 1.0, 0.0], sun)
    right /= np.linalg.norm(right)
    down = np.cross(right, sun)
    axes = np.stack([right, down, sun])
    seen = [actor.vertices @ axes.T.astype(np.float32) for actor in actors]
    corners = np.array([bounds(points) for points in seen])
    low = corners[:, 0].min(axis=0)
    high = corners[:, 1].max(axis=0)
    scale = (LIGHT_MAP - 4) / float(max(high[0] - low[0], high[1] - low[1]))
    offset = low[:2] - 2 / scale
    buffers = Buffers.empty(LIGHT_MAP, LIGHT_MAP)
    for actor, points in zip(actors, seen, strict=True):
        points[:, 0] = (points[:, 0] - offset[0]) * scale
        points[:, 1] = (points[:, 1] - offset[1]) * scale
        points[:, 2] = 50.0 - points[:, 2]
        rasterize(
            points,
            actor.dressed.faces,
            LIGHT_MAP,
            LIGHT_MAP,
            buffers=buffers,
            cull_back_faces=True,
        )
    return buffers.depth, np.vstack([axes, [offset[0], offset[1], scale]])


def _occlusion(buffers: Buffers) -> np.ndarray:
    """Compute the share of sky light (H, W): spots deeper than their surroundings get less."""
    mask = buffers.mask.astype(np.float32)
    depth = np.where(buffers.mask, buffers.depth, 0).astype(np.float32)
    reach = (mask.shape[0] // 20) | 1
    around = cv2.blur(depth, (reach, reach)) / np.maximum(cv2.blur(mask, (reach, reach)), 1e-3)
    return np.clip(1.0 - 4.5 * np.maximum(depth - around, 0.0), 0.45, 1.0)


def _actors(dressed: DressedBody, others: list[DressedBody], shot: Shot) -> list[_Actor]:
    actors = [_Actor(dressed, *stand(dressed, shot.pose, shot.yaw, shot.x, shot.z))]
    if shot.companion >= 0:
        across, behind, yaw = shot.companion_place
        other = others[shot.companion]
        if shot.z + behind > 2.5:
            actors.append(
                _Actor(
                    other, *stand(other, shot.companion_pose, yaw, shot.x + across, shot.z + behind)
                )
            )
    return actors


def _rasterize(
    actors: list[_Actor], in_frame: list[np.ndarray], box: tuple, height: int, width: int
) -> tuple[Buffers, int]:
    """Rasterise all actors in the crop, and count the pixels that the first alone would cover."""
    buffers = Buffers.empty(height, width)
    offset = 0
    alone = 0
    for number, (actor, projected) in enumerate(zip(actors, in_frame, strict=True)):
        projected[:, 0] = (projected[:, 0] - box[0]) * (width / box[2])
        projected[:, 1] = (projected[:, 1] - box[1]) * (height / box[3])
        rasterize(
            projected,
            actor.dressed.faces,
            height,
            width,
            buffers=buffers,
            face_offset=offset,
            cull_back_faces=True,
        )
        if number == 0:
            alone = int(buffers.mask.sum())
        offset += len(actor.dressed.faces)
    return buffers, alone


def _light(view: View, actors: list[_Actor], shot: Shot) -> Light:
    shadow_map = np.full((1, 1), np.inf, np.float32)
    shadow_frame = np.ones((4, 3))
    if not view.spec.infrared and shot.sun > _FAINT:
        shadow_map, shadow_frame = _shadow_map(actors, view.sun)
    return Light(
        sun=view.sun,
        strength=shot.sun,
        fill=shot.fill,
        overhead=view.overhead,
        bounce=view.bounce,
        headlight=view.spec.infrared,
        shadow_map=shadow_map,
        shadow_frame=shadow_frame,
    )


def _backdrop(view: View, box: tuple, height: int, width: int) -> Backdrop:
    return Backdrop(
        ambient=_crop(view.ambient, box, height, width, cv2.INTER_LINEAR),
        sunlit=_crop(view.sunlit, box, height, width, cv2.INTER_LINEAR),
        rotation=view.rotation,
        affine=np.array([box[2] / width, box[0], box[3] / height, box[1]]),
        focal=view.focal,
        centre=np.array([FRAME_WIDTH / 2, FRAME_HEIGHT / 2]),
    )


def _worn(actor: _Actor) -> Worn:
    dressed = actor.dressed
    return Worn(
        faces=dressed.faces,
        face_zone=dressed.face_zone,
        vertices=actor.vertices,
        normals=vertex_normals(actor.vertices, dressed.faces),
        coordinates=dressed.coordinates,
        rules=dressed.rules,
        starts=dressed.rule_starts,
        surfaces=dressed.surfaces,
        salt=dressed.salt,
    )


def render(
    view: View, dressed: DressedBody, others: list[DressedBody], shot: Shot, height: int, width: int
) -> Rendering:
    """Render the radiance of a crop, (height, width) times ``OVERSAMPLING``, before the sensor."""
    tall = height * OVERSAMPLING
    wide = width * OVERSAMPLING
    actors = _actors(dressed, others, shot)
    in_frame = [_project(view, actor.vertices) for actor in actors]
    box = _box(in_frame[0], shot)
    buffers, alone = _rasterize(actors, in_frame, box, tall, wide)
    seen = Seen(
        face_id=buffers.face_id,
        barycentric=buffers.barycentric,
        depth=buffers.depth,
        scene_depth=_crop(view.depth, box, tall, wide, cv2.INTER_NEAREST),
        occlusion=_occlusion(buffers),
    )
    light = _light(view, actors, shot)
    backdrop = _backdrop(view, box, tall, wide)
    feet = np.concatenate([actor.joints[_FEET][:, [0, 2]] for actor in actors])
    radiance = np.empty((tall, wide, 4), np.float32)
    shade_scene(seen, backdrop, light, view.position, feet, radiance)
    offset = 0
    pixels = []
    for actor in actors:
        pixels.append(shade_person(seen, _worn(actor), light, view.position, offset, radiance))
        offset += len(actor.dressed.faces)
    return Rendering(radiance, box, actors[0].joints, pixels[0] / max(alone, 1))
