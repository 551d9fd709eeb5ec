"""Hair, headwear and bags as pieces on a figure, in its rest pose."""

import numpy as np

from fastreid_ext.rendered import body_coordinates as bc
from fastreid_ext.rendered.body_coordinates import Figure
from fastreid_ext.rendered.identities import Identity
from fastreid_ext.rendered.pieces import (
    GROUND_ANCHOR,
    LEFT_HAND_ANCHOR,
    RIGHT_HAND_ANCHOR,
    Piece,
    blob,
    bound,
    grid_faces,
    rigid,
    tube,
)  # fmt: skip

# Hair style -> (thickness of the cap in metres, length of the fall below the crown in head heights,
# 0 = none).
HAIR = {
    "bald": (0.0, 0),
    "cropped": (0.005, 0),
    "short": (0.016, 0),
    "bun": (0.01, 0),
    "ponytail": (0.01, 0),
    "bob": (0.022, 1.05),
    "long": (0.02, 1.9),
}
_BRIM = {"cap": (0.0, 0.1), "hat": (0.075, 0.075)}


def _head_box(figure: Figure) -> tuple[np.ndarray, np.ndarray]:
    own = figure.vertices[(figure.zone == bc.HEAD) | (figure.zone == bc.HAIR)]
    return own.min(axis=0), own.max(axis=0)


def _fall(figure: Figure, length: float, thickness: float, surface: str, opening: float) -> Piece:
    """Hang a curtain round the head from ear height down; ``opening``: half angle free in front."""
    low, high = _head_box(figure)
    height = figure.head_height
    middle = (low + high) / 2
    angle = np.linspace(opening, 2 * np.pi - opening, 15)
    levels = np.linspace(high[1] - 0.32 * height, high[1] - length * height, 8)
    rows = []
    for k, level in enumerate(levels):
        below = max(low[1] + 0.03 - level, 0.0)  # past the neck it lies on the back
        narrow = 1 - 0.25 * k / 7
        x = (high[0] - middle[0] + 0.6 * thickness) * narrow * np.sin(angle)
        z = (
            middle[2]
            - 0.012
            + ((high[2] - low[2]) * 0.42 + thickness) * np.cos(angle)
            - min(0.35 * below, 0.07)
        )
        rows.append(np.stack([x, np.full_like(x, level), z], axis=1))
    vertices = np.concatenate(rows)
    weights = bound(vertices, {})
    down = np.clip((low[1] + 0.06 - vertices[:, 1]) / 0.2, 0.0, 1.0)
    weights[:, bc.HEAD_JOINT] = 1 - down
    weights[:, bc.NECK] = 0.4 * down
    weights[:, bc.SPINE3] = 0.6 * down
    coordinates = np.stack([vertices[:, 0], high[1] - vertices[:, 1], vertices[:, 2]], axis=1)
    outside = grid_faces(len(levels), len(angle), False)
    both = np.concatenate([outside, outside[:, ::-1]])  # back faces are not rendered
    return Piece(vertices, both, weights, coordinates, surface)


def hair_pieces(figure: Figure, identity: Identity) -> list[Piece]:
    """Make the hair that sticks out of the cap: bun, ponytail, or a fall of hair."""
    low, high = _head_box(figure)
    height = figure.head_height
    on_head = {bc.HEAD_JOINT: 1.0}
    if identity.outfit.headwear_kind == "headscarf":
        return [_fall(figure, 1.45, 0.03, "headwear", 0.55)]
    if identity.hair_style == "bun":
        return [
            rigid(
                blob((0, high[1] - 0.16 * height, low[2] - 0.005), (0.042, 0.042, 0.042)),
                on_head,
                "hair",
            )
        ]
    if identity.hair_style == "ponytail":
        levels = np.linspace(high[1] - 0.2 * height, high[1] - 1.35 * height, 7)
        drift = low[2] - 0.03 - 0.02 * np.sin(np.linspace(0, np.pi, 7))
        centres = np.stack([0 * levels, levels, drift], axis=1)
        radius = 0.03 * np.sqrt(np.sin(np.linspace(0.35, 2.9, 7)))
        return [
            rigid(
                tube(centres, np.stack([radius, radius], 1), 8),
                {bc.HEAD_JOINT: 0.75, bc.SPINE3: 0.25},
                "hair",
            )
        ]
    thickness, length = HAIR[identity.hair_style]
    if length:
        fringe = 1.15 if identity.hair_style == "bob" else 1.25
        return [_fall(figure, length, thickness, "hair", fringe)]
    return []


def headwear_pieces(figure: Figure, identity: Identity) -> list[Piece]:
    """Make the brim of a cap or hat; the crown is the displaced scalp."""
    kind = identity.outfit.headwear_kind
    if kind not in _BRIM:
        return []
    low, high = _head_box(figure)
    side, front = _BRIM[kind]
    middle_z = (low[2] + high[2]) / 2
    level = high[1] - 0.36 * figure.head_height
    half_x = (high[0] - low[0]) / 2
    half_z = (high[2] - low[2]) / 2
    if kind == "hat":
        centres = np.array([[0, level + 0.012, middle_z], [0, level - 0.012, middle_z]])
        radii = np.array([[half_x, half_z], [half_x + side, half_z + front]])
        mesh = tube(centres, radii, 20)
    else:
        mesh = blob((0, level + 0.008, high[2] + 0.03), (half_x * 0.9, 0.012, 0.065), 2.6)
    return [rigid(mesh, {bc.HEAD_JOINT: 1.0}, "headwear")]


def _backpack(figure: Figure) -> list[Piece]:
    spine = figure.joints[bc.SPINE3]
    back = figure.vertices[figure.zone == bc.TORSO, 2].min()
    body = blob((0, spine[1] - 0.09, back - 0.075), (0.15, 0.215, 0.085), 4.0)
    pocket = blob((0, spine[1] - 0.19, back - 0.16), (0.11, 0.09, 0.03), 4.0)
    shares = {bc.SPINE3: 0.6, bc.SPINE2: 0.4}
    return [rigid(body, shares, "bag"), rigid(pocket, shares, "bag")]


def _shoulder_bag(figure: Figure) -> list[Piece]:
    pelvis = figure.joints[bc.PELVIS]
    side = np.abs(figure.vertices[figure.zone == bc.TORSO, 0]).max()
    return [
        rigid(
            blob((side + 0.03, pelvis[1] - 0.06, pelvis[2]), (0.06, 0.12, 0.15), 5.0),
            {bc.PELVIS: 1.0},
            "bag",
        )
    ]


def _hanging(figure: Figure, half: tuple, strap: float) -> list[Piece]:
    hand = figure.joints[bc.RIGHT_HAND]
    bag = blob((hand[0], hand[1] - strap - half[1], hand[2]), half, 6.0)
    handle = blob(
        (hand[0], hand[1] - strap / 2, hand[2]), (0.008, strap / 2 + 0.02, half[2] * 0.3), 3.0
    )
    shares = {RIGHT_HAND_ANCHOR: 1.0}
    return [rigid(bag, shares, "bag"), rigid(handle, shares, "bag")]


def _suitcase() -> list[Piece]:
    """Make a suitcase on the ground behind the left hand; x and z are relative to that hand."""
    case = blob((0.03, 0.33, -0.22), (0.2, 0.27, 0.13), 6.0)
    handle = blob((0.03, 0.72, -0.16), (0.09, 0.15, 0.012), 6.0)
    wheels = blob((0.03, 0.03, -0.22), (0.18, 0.035, 0.11), 6.0)
    shares = {GROUND_ANCHOR: 1.0}
    return [
        rigid(case, shares, "bag"),
        rigid(handle, shares, "dark"),
        rigid(wheels, shares, "dark"),
    ]


def bag_pieces(figure: Figure, kind: str) -> list[Piece]:
    """Make the carried item; :mod:`.seams` puts its straps on the torso."""
    if kind == "backpack":
        return _backpack(figure)
    if kind == "shoulder bag":
        return _shoulder_bag(figure)
    if kind == "handbag":
        return _hanging(figure, (0.06, 0.11, 0.15), 0.1)
    if kind == "shopping bag":
        return _hanging(figure, (0.07, 0.18, 0.16), 0.14)
    return _suitcase() if kind == "suitcase" else []


HAND_OF_ANCHOR = {
    LEFT_HAND_ANCHOR: bc.LEFT_HAND,
    RIGHT_HAND_ANCHOR: bc.RIGHT_HAND,
    GROUND_ANCHOR: bc.LEFT_HAND,
}
