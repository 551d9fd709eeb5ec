"""Deferred shading: from what the rasteriser saw to linear radiance, in compiled code.

Channels are red, green, blue and near infrared, so one pass serves both kinds of camera.
Letters: H x W pixels, N vertices,
M faces, R rules, S surfaces.
"""

# ruff: noqa: ANN001, ANN201, RUF046, D417 (numba types arguments and makes floor a float)
import math

import numpy as np
from numba import njit

from fastreid_ext.rendered.noise import cell, smooth
from fastreid_ext.rendered.scene_tracer import lamp_falloff

LIGHT_MAP = 112  # pixels of the square shadow map


@njit(cache=True)
def surface_at(rules, starts, zone, p, q, r):
    """Index of the surface at (across p, along q, depth r) of a zone: the last rule that holds."""
    found = 0
    for i in range(starts[zone], starts[zone + 1]):
        row = rules[i]
        if q < row[1] or q >= row[2] or (row[8] > 0 and r < 0) or (row[8] < 0 and r > 0):
            continue
        x = abs(p) if row[7] > 0 else p
        half = row[5]
        if row[5] != row[6]:
            half += (row[6] - row[5]) * (q - row[1]) / max(row[2] - row[1], 1e-6)
        if abs(x - row[3] - row[4] * (q - row[1])) < half:
            found = int(row[9])
    return found


@njit(cache=True, fastmath=True)
def pattern_at(surface, p, q, r, salt):
    """Share of the second colour in [0, 1] and a brightness factor; p, q, r in metres."""
    kind, period, phase, duty = int(surface[8]), surface[9], surface[10], surface[13]
    share, tone = 0.0, 1.0
    along = (q + phase) / period
    across = (p + phase) / period
    if kind == 1:
        share = 1.0 if along - math.floor(along) < duty else 0.0
    elif kind == 2:
        across *= 2.0
        share = 1.0 if across - math.floor(across) < duty * 0.6 else 0.0
    elif kind == 3:
        rows = along - math.floor(along) < duty
        columns = across - math.floor(across) < duty
        share = 0.5 * rows + 0.5 * columns
    elif kind == 4:
        share = 1.0 if q > 0.12 + phase else 0.0
    elif kind == 5:
        share = 1.0 if cell(int(math.floor(p * 45)), int(math.floor(q * 45)), salt) < 0.28 else 0.0
    elif kind == 6:
        seam = (q + phase) / 0.075
        seam -= math.floor(seam)
        tone = 0.62 + 0.5 * math.sqrt(math.sin(math.pi * seam) + 1e-6)
    weave = surface[12]
    grain = cell(int(math.floor((p + r) * 90)), int(math.floor(q * 90)), salt + 3) - 0.5
    shade = smooth((p + 0.7 * r) * 14, q * 9, salt + 5) - 0.5
    return share, tone * (1.0 + weave * grain + (0.06 + 3.4 * weave) * shade)


@njit(cache=True, fastmath=True)
def lit(light_map, frame, x, y, z):
    """Share of the sun that reaches a point, 0 to 1: four looks into the shadow map.

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
        i, j = int(math.floor(v - 0.5 + (k >> 1))), int(math.floor(u - 0.5 + (k & 1)))
        if 0 <= i < size and 0 <= j < size and light_map[i, j] < w - 0.035:
            open_share -= 0.25
    return open_share


@njit(cache=True, error_model="numpy", fastmath=True)
def shade_person(
    face_id,
    barycentric,
    depth,
    scene_depth,
    occlusion,
    offset,
    faces,
    face_zone,
    vertices,
    normals,
    coordinates,
    rules,
    starts,
    surfaces,
    salt,
    eye,
    sun,
    sun_strength,
    fill,
    overhead,
    bounce,
    headlight,
    light_map,
    light_frame,
    out,
):
    """Write radiance into ``out`` (H, W, 4) where this body is nearest; returns the pixels written.

    ``offset`` is this body's first face in ``face_id``; ``eye`` is the camera's position.
    """
    written = 0
    light = np.empty(3)
    n = np.empty(3)
    for row in range(face_id.shape[0]):
        for column in range(face_id.shape[1]):
            f = face_id[row, column] - offset
            if f < 0 or f >= faces.shape[0] or depth[row, column] > scene_depth[row, column]:
                continue
            written += 1
            i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
            a, b, c = (
                barycentric[row, column, 0],
                barycentric[row, column, 1],
                barycentric[row, column, 2],
            )
            p = a * coordinates[i, 0] + b * coordinates[j, 0] + c * coordinates[k, 0]
            q = a * coordinates[i, 1] + b * coordinates[j, 1] + c * coordinates[k, 1]
            r = a * coordinates[i, 2] + b * coordinates[j, 2] + c * coordinates[k, 2]
            x = a * vertices[i, 0] + b * vertices[j, 0] + c * vertices[k, 0]
            y = a * vertices[i, 1] + b * vertices[j, 1] + c * vertices[k, 1]
            z = a * vertices[i, 2] + b * vertices[j, 2] + c * vertices[k, 2]
            vx, vy, vz = eye[0] - x, eye[1] - y, eye[2] - z
            away = 1.0 / math.sqrt(vx * vx + vy * vy + vz * vz)
            length = 1e-9
            for d in range(3):
                n[d] = a * normals[i, d] + b * normals[j, d] + c * normals[k, d]
                length += n[d] * n[d]
            towards = n[0] * vx + n[1] * vy + n[2] * vz
            n *= (1.0 if towards >= 0 else -1.0) / math.sqrt(length)
            towards = abs(towards) * away / math.sqrt(length)
            surface = surfaces[surface_at(rules, starts, face_zone[f], p, q, r)]
            share, tone = pattern_at(surface, p, q, r, salt)
            if headlight:
                light[0], light[1], light[2] = vx * away, vy * away, vz * away
                direct = sun_strength * lamp_falloff(depth[row, column])
            else:
                light[:] = sun
                direct = sun_strength * lit(
                    light_map, light_frame, x + 0.01 * n[0], y + 0.01 * n[1], z + 0.01 * n[2]
                )
            facing = n[0] * light[0] + n[1] * light[1] + n[2] * light[2]
            diffuse = direct * max(facing + 0.12, 0.0) / 1.12
            half_x, half_y, half_z = (
                light[0] + vx * away,
                light[1] + vy * away,
                light[2] + vz * away,
            )
            half = (n[0] * half_x + n[1] * half_y + n[2] * half_z) / math.sqrt(
                half_x**2 + half_y**2 + half_z**2 + 1e-9
            )
            gloss = surface[11] * (
                0.5 * direct * max(half, 0.0) ** 18 + 0.12 * fill * (1 - towards) ** 3
            )
            hemisphere = 0.5 + 0.5 * n[1]
            low = 0.55 + 0.45 * min(y / 0.5, 1.0)  # the ground and the legs shade each other
            around = fill * occlusion[row, column] * low
            for d in range(4):
                first = surface[d] if d < 3 else surface[6]
                second = surface[3 + d] if d < 3 else surface[7]
                albedo = (first * (1 - share) + second * share) * tone
                ambient = around * (overhead[d] * hemisphere + bounce[d] * (1 - hemisphere))
                out[row, column, d] = albedo * (ambient + diffuse) + gloss
    return written


@njit(cache=True, error_model="numpy", fastmath=True)
def shade_scene(
    ambient,
    sunlit,
    scene_depth,
    person_depth,
    eye,
    rotation,
    affine,
    focal,
    centre,
    sun_strength,
    fill,
    feet,
    headlight,
    light_map,
    light_frame,
    out,
):
    """Write the scene's radiance into ``out`` (H, W, 4), with people's shadows on it.

    Args:
        ambient, sunlit, scene_depth: the view's frames cut to the crop.
        person_depth: (H, W); pixels nearer than the scene are left to :func:`shade_person`.
        affine: (4,) scale and offset from column to frame x, then from row to frame y.
        feet: (K, 2) x and z of feet on the ground.
    """
    shadows = not headlight and light_map.shape[0] > 1
    for row in range(out.shape[0]):
        b = (affine[2] * (row + 0.5) + affine[3] - centre[1]) / focal
        for column in range(out.shape[1]):
            t = scene_depth[row, column]
            if person_depth[row, column] <= t:
                continue
            sun, near = sun_strength, 1.0
            if t < 1e6:
                a = (affine[0] * (column + 0.5) + affine[1] - centre[0]) / focal
                x = eye[0] + t * (rotation[0, 0] * a + rotation[1, 0] * b + rotation[2, 0])
                y = eye[1] + t * (rotation[0, 1] * a + rotation[1, 1] * b + rotation[2, 1])
                z = eye[2] + t * (rotation[0, 2] * a + rotation[1, 2] * b + rotation[2, 2])
                if shadows:
                    sun *= lit(light_map, light_frame, x, y, z)
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
                    ambient[row, column, d] * fill * near + sunlit[row, column, d] * sun
                )
