"""Garment pieces sewn around a figure: hems, skirts, coat tails, collars, hoods, scarves.

All in the rest pose of :mod:`.pieces`; nothing is random, everything follows from the figure and
the outfit.
"""

import numpy as np

from fastreid_ext.rendered import body_coordinates as bc
from fastreid_ext.rendered.body_coordinates import Figure
from fastreid_ext.rendered.garments import LOWERS
from fastreid_ext.rendered.outfits import Outfit
from fastreid_ext.rendered.pieces import Piece, blob, bound, rigid, tube

_WAIST_ABOVE_PELVIS = 0.10
_COLUMNS = 28


def profile(figure: Figure, level: float) -> tuple[float, float, float]:
    """Measure half width, middle z and half depth of trunk and thighs around height ``level``."""
    trunk = figure.vertices[(figure.zone == bc.TORSO) | (figure.zone == bc.LEG)]
    ring = trunk[np.abs(trunk[:, 1] - level) < 0.05]
    if len(ring) < 4:
        return 0.15, 0.0, 0.11
    back = ring[:, 2].min()
    front = ring[:, 2].max()
    return float(np.abs(ring[:, 0]).max()), float((front + back) / 2), float((front - back) / 2)


def hanging_weights(figure: Figure, vertices: np.ndarray) -> np.ndarray:
    """Weigh cloth below the hips: it follows the pelvis above, the nearer leg further down."""
    joints = figure.joints
    hip = joints[bc.LEFT_HIP, 1]
    knee = joints[bc.LEFT_KNEE, 1]
    weights = bound(vertices, {})
    down = np.clip((hip - vertices[:, 1]) / (hip - knee), 0.0, 1.6)
    left = np.clip(vertices[:, 0] / 0.2 + 0.5, 0.0, 1.0)
    left = left * left * (3 - 2 * left)
    leg = np.clip(0.85 * down, 0.0, 0.7)
    shin = np.clip(0.35 * (down - 1.0), 0.0, 0.2)
    above = np.clip((vertices[:, 1] - hip) / 0.12, 0.0, 1.0) * 0.6
    weights[:, bc.SPINE1] = above
    weights[:, bc.PELVIS] = 1 - leg - above
    for joint, share in ((bc.LEFT_HIP, left), (bc.RIGHT_HIP, 1 - left)):
        weights[:, joint] = (leg - shin) * share
        weights[:, joint + bc.LEFT_KNEE - bc.LEFT_HIP] = shin * share
    return weights


def _hanging_tube(figure: Figure, drop: float, slack: float, flare: float, surface: str) -> Piece:
    """Hang cloth from waist to ``drop`` metres below the pelvis; ``flare`` widens it per metre."""
    pelvis = figure.joints[bc.PELVIS, 1]
    levels = np.linspace(pelvis + _WAIST_ABOVE_PELVIS, pelvis - drop, 5 + int(drop / 0.06))
    rings = []
    centres = []
    widest = np.zeros(2)
    for level in levels:
        width, middle, depth = profile(figure, level)
        widest = np.maximum(widest * 0.995, (width, depth))
        fall = max(pelvis - level, 0.0)
        rings.append(widest + slack + flare * fall)
        centres.append((0.0, level, middle))
    vertices, faces = tube(np.array(centres), np.array(rings), _COLUMNS, 2.3)
    angle = np.tile(np.linspace(0, 2 * np.pi, _COLUMNS, endpoint=False), len(levels))
    fall = np.clip((pelvis - vertices[:, 1]) / 0.5, 0.0, 1.0)
    ripple = 1 + (0.025 + 0.12 * flare) * fall * np.sin(7 * angle + 1.3 * np.sin(2 * angle))
    vertices[:, 0] *= ripple
    vertices[:, 2] *= ripple
    along = figure.joints[bc.NECK, 1] - vertices[:, 1]
    coordinates = np.stack([vertices[:, 0], along, vertices[:, 2]], axis=1)
    return Piece(vertices, faces, hanging_weights(figure, vertices), coordinates, surface)


def _neck_ring(figure: Figure, low: float, high: float, slack: float, surface: str) -> Piece:
    """Lay a ring of cloth round the neck, ``low`` to ``high`` metres above the neck joint."""
    neck = figure.joints[bc.NECK]
    levels = np.linspace(high, low, 4)
    lean = 0.12 * (levels - low)
    centres = np.stack([0 * levels, neck[1] + levels, neck[2] + 0.012 + lean], axis=1)
    widen = 1 + 2.2 * np.clip(0.01 - levels, 0, 0.06) / 0.06 * 0.25
    radii = np.stack([(0.062 + slack) * widen, (0.068 + slack) * widen], axis=1)
    vertices, faces = tube(centres, radii, 16)
    coordinates = vertices - neck
    coordinates[:, 1] *= -1
    return Piece(
        vertices, faces, bound(vertices, {bc.NECK: 0.5, bc.SPINE3: 0.5}), coordinates, surface
    )


def garment_pieces(figure: Figure, outfit: Outfit) -> list[Piece]:
    """Make the hem or skirt, collar, hood and scarf of an outfit."""
    pieces = []
    long_cut = outfit.upper_kind in ("coat", "dress")
    flare = 0.16 if outfit.upper_kind == "dress" else 0.1
    pieces.append(
        _hanging_tube(
            figure,
            outfit.hem,
            outfit.thickness + 0.004 + 0.35 * outfit.ease,
            flare if long_cut else 0.05,
            "upper",
        )
    )
    if outfit.lower_kind in LOWERS and LOWERS[outfit.lower_kind].skirt:
        length = outfit.leg * figure.leg_length
        pieces.append(_hanging_tube(figure, length, 0.004, 0.06 + 2.2 * outfit.leg_ease, "lower"))
    slack = 0.4 * outfit.thickness
    if outfit.collar in ("shirt", "lapel"):
        pieces.append(
            _neck_ring(
                figure,
                -0.05,
                0.025,
                0.012 + slack,
                "upper" if outfit.collar == "shirt" else "inner",
            )
        )
    elif outfit.collar == "high":
        pieces.append(_neck_ring(figure, -0.05, 0.055, 0.014 + slack, "upper"))
    elif outfit.collar == "hood":
        x, y, z = figure.joints[bc.NECK]
        mesh = blob((x, y - 0.035, z - 0.075), (0.115, 0.075, 0.065 + outfit.thickness), 2.4)
        pieces.append(rigid(mesh, {bc.SPINE3: 0.8, bc.NECK: 0.2}, "upper"))
        pieces.append(_neck_ring(figure, -0.06, 0.015, 0.024 + slack, "upper"))
    if outfit.scarf is not None:
        pieces.append(_neck_ring(figure, -0.05, 0.045, 0.045, "scarf"))
        # One end hangs down the chest of three in five; the phase, in [0, 0.15], stands in for a
        # random number of its own.
        if outfit.upper.phase > 0.06:
            x, y, z = figure.joints[bc.NECK]
            pieces.append(
                rigid(
                    blob((0.05, y - 0.2, z + 0.135), (0.05, 0.18, 0.02), 5.0),
                    {bc.SPINE3: 0.7, bc.SPINE2: 0.3},
                    "scarf",
                )
            )
    return pieces
