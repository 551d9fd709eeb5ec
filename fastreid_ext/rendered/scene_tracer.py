"""Trace the still scene of one camera: radiance under ambient light, under the sun, and depth.

World: metres, y up, ground at y = 0; the camera looks along its forward row. Primitives are
axis-aligned boxes, upright cylinders and ellipsoids: enough for walls, cars, benches, bins, poles,
columns, trees at surveillance resolution. Keeping ambient and sun apart lets every picture choose
its own weather for the price of a multiplication.

Letters: K primitives, H x W frame.
"""

# ruff: noqa: ANN001, ANN201, ANN202, RUF046, D417 (numba types arguments and makes floor a float)
import math

import numpy as np
from numba import njit

from fastreid_ext.rendered.noise import cell, cloudy

BOX = 0
CYLINDER = 1
ELLIPSOID = 2
TEXTURES = (
    "plain",
    "tiles",
    "asphalt",
    "bricks",
    "windows",
    "shops",
    "foliage",
    "planks",
    "bands",
    "slabs",
)
_FAR = 1e9


@njit(cache=True, inline="always")
def lamp_falloff(depth: float) -> float:
    """Compute the light of a lamp at the camera, relative to 6 m away."""
    return min(36.0 / (depth * depth), 2.2)


@njit(cache=True, fastmath=True, inline="always")
def _hit_box(o, d, row):
    near = -_FAR
    far = _FAR
    axis = 0
    for k in range(3):
        inverse = 1.0 / d[k] if abs(d[k]) > 1e-9 else 1e9
        a = (row[k] - row[3 + k] - o[k]) * inverse
        b = (row[k] + row[3 + k] - o[k]) * inverse
        if a > b:
            a, b = b, a
        if a > near:
            near = a
            axis = k
        far = min(far, b)
    return (near if near < far and near > 1e-3 else _FAR), axis


@njit(cache=True, fastmath=True, inline="always")
def _hit_round(o, d, row, upright):
    """Hit an ellipsoid, or an upright cylinder without caps, from outside."""
    a = b = q = 0.0
    for k in range(3):
        if upright and k == 1:
            continue
        x = (o[k] - row[k]) / row[3 + k]
        y = d[k] / row[3 + k]
        a += y * y
        b += x * y
        q += x * x
    root = b * b - a * (q - 1.0)
    if root <= 0.0 or a < 1e-12:
        return _FAR
    t = (-b - math.sqrt(root)) / a
    if t <= 1e-3 or (upright and abs(o[1] + t * d[1] - row[1]) > row[4]):
        return _FAR
    return t


@njit(cache=True, fastmath=True)
def nearest(o, d, kinds, boxes):
    """Find the first hit: distance along ``d``, primitive index (-1 for none) and box axis."""
    best = _FAR
    which = -1
    axis = 0
    for i in range(kinds.shape[0]):
        side = 0
        if kinds[i] == BOX:
            t, side = _hit_box(o, d, boxes[i])
        else:
            t = _hit_round(o, d, boxes[i], kinds[i] == CYLINDER)
        if t < best:
            best = t
            which = i
            axis = side
    return best, which, axis


@njit(cache=True)
def _mix(texture, scale, u, v, salt):
    """Compute the share of the second colour in [0, 1] and a brightness factor; u, v in metres."""
    dirt = 0.86 + 0.28 * cloudy(u * 0.7, v * 0.7, salt)
    a = u / scale
    b = v / scale
    i = int(math.floor(a))
    j = int(math.floor(b))
    x = a - i
    y = b - j
    tone = 0.9 + 0.2 * cell(i, j, salt)
    if texture == 1:  # tiles: thin joints, each tile its own tone
        return (1.0 if min(x, y) < 0.03 else 0.0), dirt * tone
    if texture == 2:  # asphalt
        return 0.0, dirt * (
            0.8 + 0.4 * cell(int(math.floor(u * 60)), int(math.floor(v * 60)), salt)
        )
    if texture == 3:  # bricks, running bond
        k = int(math.floor(b * 3))
        w = a + 0.5 * (k & 1)
        joint = (b * 3 - k) < 0.12 or (w - math.floor(w)) < 0.05
        return (1.0 if joint else 0.0), dirt * (0.8 + 0.4 * cell(int(math.floor(w)), k, salt))
    if texture == 4:  # windows in a facade
        glass = 0.22 < x < 0.78 and 0.3 < y < 0.8
        return (1.0 if glass else 0.0), dirt * (0.5 + 1.0 * cell(i, j, salt) if glass else 1.0)
    if texture == 5:  # shop fronts: bright panes between dark frames
        frame = x < 0.04 or y < 0.05
        goods = cloudy(u * 2.5 + 7 * i, v * 3.0, salt + 5)
        return (1.0 if frame else 0.0), (
            1.0 if frame else (0.4 + 1.3 * goods) * (0.7 + 0.6 * cell(i, j, salt))
        )
    if texture == 6:  # leaves, grass
        return cloudy(u * 6, v * 6, salt), 0.55 + 0.9 * cloudy(u * 3, v * 3, salt + 9)
    if texture == 7:  # planks
        return (1.0 if y < 0.08 else 0.0), dirt * (0.85 + 0.3 * cell(0, j, salt))
    if texture == 8:  # painted bands
        return (1.0 if y < 0.5 else 0.0), dirt
    if texture == 9:  # large slabs in alternating tone
        joint = min(x, y) < 0.02
        return (0.8 if joint else (0.25 if (i + j) & 1 else 0.0)), dirt * tone
    return 0.0, dirt


@njit(cache=True, fastmath=True)
def _closeness(p, kinds, boxes, skip):
    """Compute ambient occlusion by furniture and walls near a point; 1 = open."""
    light = 1.0
    for i in range(kinds.shape[0]):
        gap = 0.0
        for k in range(3):
            beyond = max(abs(p[k] - boxes[i, k]) - boxes[i, 3 + k], 0.0)
            gap += beyond * beyond
        if gap < 2.0 and i != skip:
            light *= 1.0 - 0.38 * math.exp(-math.sqrt(gap) / 0.35)
    return light


@njit(cache=True)
def trace(  # noqa: C901 (one loop of one kernel)
    position,
    rotation,
    focal,
    kinds,
    boxes,
    surfaces,
    faces,
    sky,
    sun,
    bounce,
    headlight,
    ambient,
    sunlit,
    depth,
):
    """Fill ``ambient``, ``sunlit`` (H, W, 4: red, green, blue, NIR) and ``depth`` (H, W, metres).

    Args:
        position: (3,) centre of the camera in metres.
        rotation: (3, 3) rotation with rows right, down, forward.
        focal: focal length in pixels.
        kinds: (K,) kind of each primitive.
        boxes: (K, 6) centre and half size of each primitive, in metres.
        surfaces: (S, 10) r, g, b, second r, g, b, NIR, second NIR, texture, scale.
        faces: (K + 1,) surface of each primitive; the last is the ground.
        sky: (2, 4) radiance at the horizon and overhead.
        sun: (3,) unit vector towards the light.
        bounce: (4,) light from below.
        headlight: the lamp sits at the camera (infrared) and fades with distance; ``sun`` is not
            used.
    """
    height, width = depth.shape
    d = np.empty(3)
    p = np.empty(3)
    n = np.empty(3)
    for row in range(height):
        for column in range(width):
            a = (column + 0.5 - width / 2) / focal
            b = (row + 0.5 - height / 2) / focal
            for k in range(3):
                d[k] = rotation[0, k] * a + rotation[1, k] * b + rotation[2, k]
            t, which, axis = nearest(position, d, kinds, boxes)
            ground = -position[1] / d[1] if d[1] < -1e-6 else _FAR
            if ground < t:
                t = ground
                which = -1
            if t >= _FAR:
                up = min(max(d[1] * 2.0, 0.0), 1.0)
                for k in range(4):
                    ambient[row, column, k] = sky[0, k] * (1 - up) + sky[1, k] * up
                    sunlit[row, column, k] = 0.0
                depth[row, column] = np.inf
                continue
            depth[row, column] = t
            n[:] = 0.0
            for k in range(3):
                p[k] = position[k] + t * d[k]
            salt = which + 2
            if which < 0:
                n[1] = 1.0
                u, v = p[0], p[2]
            elif kinds[which] == BOX:
                n[axis] = -1.0 if d[axis] > 0 else 1.0
                u = p[2] if axis == 0 else p[0]
                v = p[2] if axis == 1 else p[1]
            else:
                length = 1e-9
                for k in range(3):
                    n[k] = (p[k] - boxes[which, k]) / boxes[which, 3 + k] ** 2
                    if kinds[which] == CYLINDER and k == 1:
                        n[k] = 0.0
                    length += n[k] * n[k]
                n /= math.sqrt(length)
                u = math.atan2(n[0], n[2]) * boxes[which, 3] + p[0] * 0.3
                v = p[1]
            surface = surfaces[faces[which if which >= 0 else kinds.shape[0]]]
            share, tone = _mix(int(surface[8]), surface[9], u, v, salt)
            open_sky = _closeness(p, kinds, boxes, which) * (
                0.62 + 0.38 * min(p[1] / 0.4, 1.0) if n[1] < 0.5 else 1.0
            )
            if headlight:
                facing = -(n[0] * d[0] + n[1] * d[1] + n[2] * d[2]) / math.sqrt(
                    d[0] ** 2 + d[1] ** 2 + d[2] ** 2
                )
                facing = math.sqrt(max(facing, 0.0)) * lamp_falloff(t)
            else:
                facing = n[0] * sun[0] + n[1] * sun[1] + n[2] * sun[2]
            if facing > 0 and not headlight:
                for k in range(3):
                    p[k] += n[k] * 2e-3
                blocker, _, _ = nearest(p, sun, kinds, boxes)
                facing = facing if blocker >= _FAR else 0.0
            facing = max(facing, 0.0)
            for k in range(4):
                first, second = (surface[k], surface[3 + k]) if k < 3 else (surface[6], surface[7])
                albedo = (first * (1 - share) + second * share) * tone
                fill = (sky[1, k] * (0.5 + 0.5 * n[1]) + bounce[k] * (0.5 - 0.5 * n[1])) * open_sky
                ambient[row, column, k] = albedo * fill
                sunlit[row, column, k] = albedo * facing
