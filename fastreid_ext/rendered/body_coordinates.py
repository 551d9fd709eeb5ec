"""Place each body vertex in a tailor's terms: a zone, and coordinates in it.

They are metres across (p), along (q) and front-back (r) in that zone, of the rest pose:
HEAD and HAIR: p sideways, q down from the crown, r forward of the head's middle.
TORSO (with neck and hips): p sideways, q down from the neck joint, r forward of the spine.
ARM: p forward, q outward from the shoulder joint, r upward. HAND: the same.
LEG: p away from the body's middle, q down from the hip joint, r forward.
FOOT: q up from the sole, r forward of the ankle.
"""

import dataclasses

import numpy as np

from fastreid_ext.bodies.body_model import BodyModel

HEAD, HAIR, TORSO, ARM, HAND, LEG, FOOT = range(7)
# Faces whose corners lie in two zones have no sensible coordinates; they get a zone, and one
# surface, of their own.
SEAMS = {
    (TORSO, ARM): 7,
    (ARM, HAND): 8,
    (TORSO, LEG): 9,
    (LEG, FOOT): 10,
    (HEAD, HAIR): 11,
    (HEAD, TORSO): 12,
    (HAIR, TORSO): 12,
}
BODY_ZONES = 13
(
    PELVIS, LEFT_HIP, RIGHT_HIP, SPINE1, LEFT_KNEE, RIGHT_KNEE, SPINE2, LEFT_ANKLE, RIGHT_ANKLE,
    SPINE3, LEFT_FOOT, RIGHT_FOOT, NECK, LEFT_COLLAR, RIGHT_COLLAR, HEAD_JOINT, LEFT_SHOULDER,
    RIGHT_SHOULDER, LEFT_ELBOW, RIGHT_ELBOW, LEFT_WRIST, RIGHT_WRIST, LEFT_HAND, RIGHT_HAND,
) = range(24)  # fmt: skip

_ZONE_OF_PART = {
    "head": HEAD, "face": HEAD, "eyes": HEAD, "hair_cap": HAIR, "neck": TORSO, "torso": TORSO,
    "hips": TORSO, "upper_arm": ARM, "forearm": ARM, "hand": HAND, "thigh": LEG, "shin": LEG,
    "foot": FOOT,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Figure:
    """A body of one shape in rest pose, with its measurements."""

    vertices: np.ndarray  # (V, 3)
    faces: np.ndarray  # (F, 3)
    weights: np.ndarray  # (V, 24)
    joints: np.ndarray  # (24, 3)
    zone: np.ndarray  # (V,)
    coordinates: np.ndarray  # (V, 3)

    @property
    def torso_length(self) -> float:
        """Distance from the neck joint to the pelvis joint, in metres."""
        return float(self.joints[NECK, 1] - self.joints[PELVIS, 1])

    @property
    def arm_length(self) -> float:
        """Distance from the shoulder joint to the wrist joint, in metres."""
        return float(np.linalg.norm(self.joints[LEFT_SHOULDER] - self.joints[LEFT_WRIST]))

    @property
    def leg_length(self) -> float:
        """Distance from the hip joint to the ankle joint, in metres."""
        return float(self.joints[LEFT_HIP, 1] - self.joints[LEFT_ANKLE, 1])

    @property
    def head_height(self) -> float:
        """Distance from the crown to the chin, in metres."""
        own = self.vertices[(self.zone == HEAD) | (self.zone == HAIR), 1]
        return float(own.max() - own.min())


def zones_of(part: np.ndarray, part_names: tuple[str, ...]) -> np.ndarray:
    """Look up the zone (V,) of every vertex by its body part."""
    table = [
        _ZONE_OF_PART[name.removeprefix("left_").removeprefix("right_")] for name in part_names
    ]
    return np.array(table)[part]


def face_zones(zone: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Find the zone (F,) of every face: that of its corners, or the seam's where they differ."""
    corners = np.sort(zone[faces], axis=1)
    table = np.tile(np.arange(LEG + 2), (LEG + 2, 1)).T.copy()
    for (first, second), seam in SEAMS.items():
        table[min(first, second), max(first, second)] = seam
    return table[corners[:, 0], corners[:, 2]]


def measure(body: BodyModel, betas: np.ndarray, zone: np.ndarray) -> Figure:
    """Measure a body of the shape coefficients ``betas`` (10,)."""
    vertices = (body.template + body.shape_directions @ betas).astype(np.float64)
    joints = body.joint_regressor @ vertices
    coordinates = np.zeros_like(vertices)
    side = np.where(vertices[:, 0] >= 0, 0, 1)
    head = (zone == HEAD) | (zone == HAIR)
    middle = vertices[head].mean(axis=0)
    top = vertices[head, 1].max()
    coordinates[head] = _frame(vertices[head], (middle[0], top, middle[2]), (0, 1, 2), (1, -1, 1))
    torso = zone == TORSO
    coordinates[torso] = _frame(
        vertices[torso],
        joints[NECK] * (1, 1, 0) + joints[SPINE2] * (0, 0, 1),
        (0, 1, 2),
        (1, -1, 1),
    )
    for s, sign in ((0, 1), (1, -1)):
        arm = ((zone == ARM) | (zone == HAND)) & (side == s)
        coordinates[arm] = _frame(vertices[arm], joints[LEFT_SHOULDER + s], (2, 0, 1), (1, sign, 1))
        leg = (zone == LEG) & (side == s)
        coordinates[leg] = _frame(vertices[leg], joints[LEFT_HIP + s], (0, 1, 2), (sign, -1, 1))
        foot = (zone == FOOT) & (side == s)
        ankle = joints[LEFT_ANKLE + s]
        origin = (ankle[0], vertices[:, 1].min(), ankle[2])
        coordinates[foot] = _frame(vertices[foot], origin, (0, 1, 2), (sign, 1, 1))
    return Figure(vertices, body.faces, body.weights, joints, zone, coordinates)


def _frame(points: np.ndarray, origin: tuple, axes: tuple, signs: tuple) -> np.ndarray:
    return (points - np.asarray(origin))[:, list(axes)] * np.asarray(signs)
