"""Stances: the activity of a body in an image, given the bag it carries."""

import numpy as np

from fastreid_ext.bodies import poses
from fastreid_ext.bodies.pose_bank import out_of_distribution
from fastreid_ext.rendered import palettes

_STANCES = {"walking": 0.72, "standing": 0.16, "phone": 0.12}
# Bag -> (kind of carrying, side, how often the arm shows it).
_HOLD = {
    "handbag": ("bag", "right", 1.0),
    "shopping bag": ("bag", "right", 1.0),
    "suitcase": ("suitcase", "left", 1.0),
    "shoulder bag": ("shoulder_bag", "left", 0.25),
    "backpack": ("backpack", "left", 0.15),
}


def sample_stance(
    bag_kind: str, rng: np.random.Generator, unusual_poses: float = 0.0
) -> tuple[str, np.ndarray]:
    """Sample a stance's name and pose (24, 3) axis-angle, facing +z.

    ``unusual_poses`` is the chance in [0, 1] of a pose outside those of the street.
    """
    if unusual_poses and rng.random() < unusual_poses:
        return "unusual", out_of_distribution(rng)
    stance = palettes.sample_key(_STANCES, rng)
    if stance == "standing" or (stance == "phone" and rng.random() < 0.5):
        pose = poses.standing(rng, "relaxed" if bag_kind != "none" else None)
    else:
        pose = poses.walking(float(rng.random()), float(rng.uniform(0.6, 1.7)), rng)
    if stance == "phone":
        pose = poses.phone(
            pose,
            "texting" if rng.random() < 0.6 else "calling",
            rng,
            "left" if bag_kind in ("handbag", "shopping bag") else "right",
        )
    pose, carries = _with_bag(pose, bag_kind, rng)
    if carries and stance == "standing":
        stance = "carrying"
    if rng.random() < 0.2 and stance != "phone":
        pose = poses.looking_aside(pose, float(rng.uniform(-55, 55)))
    return stance, pose


def sample_walk(bag_kind: str, rng: np.random.Generator) -> np.ndarray:
    """Sample the pose (24, 3) of a walk with a bag of ``bag_kind``, facing +z."""
    pose = poses.walking(float(rng.random()), float(rng.uniform(0.6, 1.7)), rng)
    return _with_bag(pose, bag_kind, rng)[0]


def _with_bag(pose: np.ndarray, bag_kind: str, rng: np.random.Generator) -> tuple[np.ndarray, bool]:
    """Let an arm carry the bag as often as its kind shows in a pose; also tell whether it does."""
    hold, side, share = _HOLD.get(bag_kind, ("", "", 0.0))
    if rng.random() >= share:
        return pose, False
    return poses.carrying(pose, hold, rng, side), True
