"""Shots: everything random about one image, sampled in one place before it is rendered."""

import dataclasses
import math

import numpy as np

from fastreid_ext.rendered.difficulty import Difficulty
from fastreid_ext.rendered.stances import sample_stance, sample_walk
from fastreid_ext.rendered.views import FRAME_WIDTH, View

FRONT_DEG = 30.0  # azimuths that count as the front, on either side


@dataclasses.dataclass(frozen=True)
class Shot:
    """One body in front of one camera; metres and radians, factors of the camera's values."""

    x: float
    z: float
    yaw: float  # 0 faces away from the camera, along +z
    stance: str
    pose: np.ndarray  # (24, 3) axis-angle
    sun: float  # strength of the direct light
    fill: float
    exposure: float
    gains: np.ndarray  # (3,)
    box_scale: float  # crop height in heights of the body
    box_aspect: float  # crop width in crop heights
    box_shift: tuple[float, float]  # of the crop's centre, in heights of the body: right, down
    sharpness: float  # picture pixels of the sensor, relative to the camera's usual
    motion: float  # radians, direction of motion blur
    motion_length: float  # native pixels
    companion: int  # index of the other pedestrian, -1 for none
    companion_place: tuple[float, float, float]  # x, z relative to the body, yaw
    companion_pose: np.ndarray

    def azimuth_deg(self) -> float:
        """Azimuth of the camera as the body sees it: 0 in front, 90 on its left, in (-180, 180]."""
        towards = math.degrees(math.atan2(-self.x, -self.z) - self.yaw)
        return -((-towards + 180.0) % 360.0 - 180.0)

    def elevation_deg(self, camera_height: float) -> float:
        """Angle in degrees at which the camera looks down on the middle of the body."""
        return math.degrees(math.atan2(camera_height - 0.9, math.hypot(self.x, self.z)))


def _lighting(view: View, level: Difficulty, rng: np.random.Generator) -> dict:
    """Sample weather and drift: a cloud may take most of the sun and leave more sky light."""
    cloud = rng.random() < 0.22 and not view.spec.infrared
    return {
        "sun": view.spec.sun[2]
        * float(rng.uniform(0.1, 0.35) if cloud else rng.uniform(0.8, 1.12)),
        "fill": float(rng.uniform(1.05, 1.3) if cloud else rng.uniform(0.88, 1.12)),
        "exposure": float(np.exp(rng.normal(0.0, level.exposure))),
        "gains": np.exp(rng.normal(0.0, level.gains, 3)),
    }


def _framing(level: Difficulty, rng: np.random.Generator) -> dict:
    """Sample a detector's box: a little loose and off; now and then it cuts head or feet off."""
    down = rng.normal(0.0, 0.018)
    if rng.random() < level.cut_share:
        down = float(rng.choice([-1.0, 1.0])) * rng.uniform(0.1, 0.2)
    return {
        "box_scale": float(rng.uniform(1.03, 1.2)),
        "box_aspect": float(rng.uniform(0.4, 0.5)),
        "box_shift": (float(rng.normal(0.0, 0.025)), float(down)),
    }


def sample_shot(
    view: View,
    bag_kind: str,
    companions: int,
    rng: np.random.Generator,
    *,
    level: Difficulty,
    unusual_poses: float = 0.0,
) -> Shot:
    """Sample a shot of a body with a bag of ``bag_kind``, and up to one of ``companions`` others.

    ``level`` says how much pictures of one camera vary; ``unusual_poses`` is the chance in [0, 1]
    of a pose outside those of the street.
    """
    spec = view.spec
    z = float(rng.uniform(spec.near, spec.far))
    reach = min(0.36 * z * FRAME_WIDTH / view.focal, 3.0)
    stance, pose = sample_stance(bag_kind, rng, unusual_poses)
    heading = math.radians(spec.heading + rng.normal(0.0, spec.spread))
    meets = companions > 0 and rng.random() < 0.22
    in_front = rng.random() < 0.3
    gap = rng.uniform(0.5, 1.3) if in_front else rng.uniform(0.7, 3.5)
    aside = float(rng.choice([-1.0, 1.0])) * rng.uniform(0.3, 0.75)
    return Shot(
        x=float(rng.uniform(-reach, reach)),
        z=z,
        yaw=math.pi - heading,
        stance=stance,
        pose=pose,
        **_lighting(view, level, rng),
        **_framing(level, rng),
        sharpness=float(rng.uniform(*level.sharpness)),
        motion=float(rng.uniform(0, math.pi)),
        motion_length=float(rng.uniform(1.5, 3.5)) if rng.random() < level.motion_share else 0.0,
        companion=int(rng.integers(companions)) if meets else -1,
        companion_place=(aside, -gap if in_front else gap, float(rng.uniform(0, 2 * math.pi))),
        companion_pose=sample_stance("none", rng)[1] if meets else pose,
    )


def turned(shot: Shot, stance: str, pose: np.ndarray, azimuth_deg: float) -> Shot:
    """Give a shot another pose, and turn the body so that the camera sees it from an azimuth.

    Args:
        shot: shot with the place of the body.
        stance: name of the pose.
        pose: (24, 3) pose that faces +z.
        azimuth_deg: azimuth in degrees; 0 sees the front, 90 the body's left, 180 its back.
    """
    towards = math.atan2(-shot.x, -shot.z)
    yaw = towards - math.radians(azimuth_deg)
    return dataclasses.replace(shot, pose=np.asarray(pose), yaw=yaw, stance=stance)


def as_front_walker(shot: Shot, bag_kind: str, rng: np.random.Generator) -> Shot:
    """Let the body of a shot walk, within :data:`FRONT_DEG` of towards the camera."""
    walk = sample_walk(bag_kind, rng)
    return turned(shot, "walking", walk, float(rng.uniform(-FRONT_DEG, FRONT_DEG)))
