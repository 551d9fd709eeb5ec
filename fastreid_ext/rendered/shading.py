"""Deferred shading: from the rasteriser's buffers to linear radiance, in compiled code.

Channels are red, green, blue and near infrared, so one pass serves both kinds of camera.
Letters: H x W pixels, N vertices, K feet, L pixels of the shadow map.
"""

# ruff: noqa: ANN001, ANN201, RUF046 (numba types arguments and makes floor a float)
import math
from typing import NamedTuple

import numpy as np
from numba import njit

from fastreid_ext.rendered.patterns import pattern_at, surface_at
from fastreid_ext.rendered.scene_tracer import lamp_falloff

LIGHT_MAP = 112  # pixels of the square shadow map
_WRAP = 0.12  # cosine past the edge of the light that cloth still catches


class Seen(NamedTuple):
    """Surface behind each pixel of the crop."""

    face_id: np.ndarray  # (H, W)
    barycentric: np.ndarray  # (H, W, 3)
    depth: np.ndarray  # (H, W) of the nearest body
    scene_depth: np.ndarray  # (H, W)
    occlusion: np.ndarray  # (H, W) share of the sky light that reaches the body


class Worn(NamedTuple):
    """A posed, dressed body; see :class:`~fastreid_ext.rendered.dressing.DressedBody`."""

    faces: np.ndarray
    face_zone: np.ndarray
    vertices: np.ndarray  # (N, 3) world
    normals: np.ndarray  # (N, 3)
    coordinates: np.ndarray
    rules: np.ndarray
    starts: np.ndarray  # (zones + 1,) first rule of each zone
    surfaces: np.ndarray
    salt: int


class Light(NamedTuple):
    """Light of one shot; four channels where colours are meant."""

    sun: np.ndarray  # (3,) unit vector towards it
    strength: float  # of the sun, or of the lamp
    fill: float
    overhead: np.ndarray  # (4,)
    bounce: np.ndarray  # (4,)
    headlight: bool  # the lamp is at the camera
    shadow_map: np.ndarray  # (L, L), or (1, 1) for no shadows
    shadow_frame: np.ndarray  # (4, 3), see :func:`lit`


class Backdrop(NamedTuple):
    """Frames of the view cut to the crop, and the mapping of its pixels to rays."""

    ambient: np.ndarray  # (H, W, 4)
    sunlit: np.ndarray  # (H, W, 4)
    rotation: np.ndarray  # (3, 3) rows right, down, forward
    affine: np.ndarray  # (4,) scale and offset from column to frame x, from row to frame y
    focal: float
    centre: np.ndarray  # (2,) of the frame in pixels


@njit(cache=True, fastmath=True)
def lit(light_map, frame, x, y, z):
    """Compute the share of the sun that reaches a point, in [0, 1]: four reads of the shadow map.

    ``frame`` (4, 3): rows right, down, towards-the-light, and (offset x, offset y, scale).
    """
    u = (frame[0, 0] * x + frame[0, 1] * y + frame[0, 2] * z - frame[3, 0]) * frame[3, 2]
    v = (frame[1, 0] * x + frame[1, 1] * y + frame[1, 2] * z - frame[3, 1]) * frame[3, 2]
    w = 50.0 - (frame[2, 0] * x + frame[2, 1] * y + frame[2, 2] * z)
    size = light_map.shape[0]
    if not (-1.0 < u < size + 1.0 and -1.0 < v < size + 1.0):
        return 1.0
    open_share = 1.0
    for k in range(4):
        i = int(math.floor(v - 0.5 + (k >> 1)))
        j = int(math.floor(u - 0.5 + (k & 1)))
        if 0 <= i < size and 0 <= j < size and light_map[i, j] < w - 0.035:
            open_share -= 0.25
    return open_share


@njit(cache=True, error_model="numpy", fastmath=True)
def shade_person(seen, worn, light, eye, offset, out):
    """Write radiance into ``out`` (H, W, 4) where this body is nearest; returns the pixels written.

    ``offset`` is this body's first face in ``seen.face_id``; ``eye`` is the camera's position.
    """
    towards_light = np.empty(3)
    vertices = worn.vertices
    normals = worn.normals
    coordinates = worn.coordinates
    written = 0
    n = np.empty(3)
    for row in range(seen.face_id.shape[0]):
        for column in range(seen.face_id.shape[1]):
            f = seen.face_id[row, column] - offset
            if (
                f < 0
                or f >= worn.faces.shape[0]
                or seen.depth[row, column] > seen.scene_depth[row, column]
            ):
                continue
            written += 1
            i, j, k = worn.faces[f, 0], worn.faces[f, 1], worn.faces[f, 2]
            a = seen.barycentric[row, column, 0]
            b = seen.barycentric[row, column, 1]
            c = seen.barycentric[row, column, 2]
            p = a * coordinates[i, 0] + b * coordinates[j, 0] + c * coordinates[k, 0]
            q = a * coordinates[i, 1] + b * coordinates[j, 1] + c * coordinates[k, 1]
            r = a * coordinates[i, 2] + b * coordinates[j, 2] + c * coordinates[k, 2]
            x = a * vertices[i, 0] + b * vertices[j, 0] + c * vertices[k, 0]
            y = a * vertices[i, 1] + b * vertices[j, 1] + c * vertices[k, 1]
            z = a * vertices[i, 2] + b * vertices[j, 2] + c * vertices[k, 2]
            vx = eye[0] - x
            vy = eye[1] - y
            vz = eye[2] - z
            away = 1.0 / math.sqrt(vx * vx + vy * vy + vz * vz)
            length = 1e-9
            for d in range(3):
                n[d] = a * normals[i, d] + b * normals[j, d] + c * normals[k, d]
                length += n[d] * n[d]
            towards = n[0] * vx + n[1] * vy + n[2] * vz
            n *= (1.0 if towards >= 0 else -1.0) / math.sqrt(length)
            towards = abs(towards) * away / math.sqrt(length)
            surface = worn.surfaces[surface_at(worn.rules, worn.starts, worn.face_zone[f], p, q, r)]
            share, tone = pattern_at(surface, p, q, r, worn.salt)
            if light.headlight:
                towards_light[0] = vx * away
                towards_light[1] = vy * away
                towards_light[2] = vz * away
            else:
                towards_light[:] = light.sun
            facing = n[0] * towards_light[0] + n[1] * towards_light[1] + n[2] * towards_light[2]
            direct = 0.0  # also where the surface turns away: no need to look for shadows
            if light.headlight:
                direct = light.strength * lamp_falloff(seen.depth[row, column])
            elif facing > -_WRAP:
                direct = light.strength * lit(
                    light.shadow_map,
                    light.shadow_frame,
                    x + 0.01 * n[0],
                    y + 0.01 * n[1],
                    z + 0.01 * n[2],
                )
            diffuse = direct * max(facing + _WRAP, 0.0) / (1.0 + _WRAP)
            half_x = towards_light[0] + vx * away
            half_y = towards_light[1] + vy * away
            half_z = towards_light[2] + vz * away
            half = (n[0] * half_x + n[1] * half_y + n[2] * half_z) / math.sqrt(
                half_x**2 + half_y**2 + half_z**2 + 1e-9
            )
            gloss = surface[11] * (
                0.5 * direct * max(half, 0.0) ** 18 + 0.12 * light.fill * (1 - towards) ** 3
            )
            hemisphere = 0.5 + 0.5 * n[1]
            low = 0.55 + 0.45 * min(y / 0.5, 1.0)  # the ground and the legs shade each other
            around = light.fill * seen.occlusion[row, column] * low
            for d in range(4):
                first = surface[d] if d < 3 else surface[6]
                second = surface[3 + d] if d < 3 else surface[7]
                albedo = (first * (1 - share) + second * share) * tone
                ambient = around * (
                    light.overhead[d] * hemisphere + light.bounce[d] * (1 - hemisphere)
                )
                out[row, column, d] = albedo * (ambient + diffuse) + gloss
    return written


@njit(cache=True, error_model="numpy", fastmath=True)
def shade_scene(seen, backdrop, light, eye, feet, out):
    """Write the scene's radiance into ``out`` (H, W, 4), with the shadows of bodies on it.

    Pixels that show a body are left to :func:`shade_person`; ``feet`` (K, 2) are x and z of
    feet on the ground, ``eye`` is the camera's position.
    """
    shadows = not light.headlight and light.shadow_map.shape[0] > 1
    for row in range(out.shape[0]):
        b = (
            backdrop.affine[2] * (row + 0.5) + backdrop.affine[3] - backdrop.centre[1]
        ) / backdrop.focal
        for column in range(out.shape[1]):
            t = seen.scene_depth[row, column]
            if seen.depth[row, column] <= t:
                continue
            sun = light.strength
            near = 1.0
            if t < 1e6:
                a = (
                    backdrop.affine[0] * (column + 0.5) + backdrop.affine[1] - backdrop.centre[0]
                ) / backdrop.focal
                x = eye[0] + t * (
                    backdrop.rotation[0, 0] * a
                    + backdrop.rotation[1, 0] * b
                    + backdrop.rotation[2, 0]
                )
                y = eye[1] + t * (
                    backdrop.rotation[0, 1] * a
                    + backdrop.rotation[1, 1] * b
                    + backdrop.rotation[2, 1]
                )
                z = eye[2] + t * (
                    backdrop.rotation[0, 2] * a
                    + backdrop.rotation[1, 2] * b
                    + backdrop.rotation[2, 2]
                )
                if shadows:
                    sun *= lit(light.shadow_map, light.shadow_frame, x, y, z)
                if y < 0.3:
                    for k in range(feet.shape[0]):
                        gap = (x - feet[k, 0]) ** 2 + (z - feet[k, 1]) ** 2
                        if gap < 1.0:
                            near *= (
                                1.0
                                - 0.55 / (1.0 + gap / 0.02) ** 2
                                - 0.16 / (1.0 + gap / 0.12) ** 2
                            )
            for d in range(4):
                out[row, column, d] = (
                    backdrop.ambient[row, column, d] * light.fill * near
                    + backdrop.sunlit[row, column, d] * sun
                )
