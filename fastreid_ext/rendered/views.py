"""Views: the still world of one camera, traced once per process and shared by all its pictures."""

import dataclasses
import functools
import math
import zlib

import numpy as np

from fastreid_ext.bodies.cameras import look_at
from fastreid_ext.rendered.domains import CameraSpec, camera_specs
from fastreid_ext.rendered.scene_tracer import trace
from fastreid_ext.rendered.scenes import build_scene

FRAME_HEIGHT = 540
FRAME_WIDTH = 720


@dataclasses.dataclass(frozen=True)
class View:
    """One camera and its empty scene.

    ``ambient`` and ``sunlit`` are (H, W, 4) float32 linear radiance (red, green, blue, NIR) for
    unit strength of each light; ``depth`` (H, W) is metres along the optical axis; ``rotation`` has
    rows right, down, forward.
    """

    domain: str
    camera: int  # from 0
    spec: CameraSpec
    position: np.ndarray
    rotation: np.ndarray
    focal: float
    sun: np.ndarray  # (3,) unit vector towards the light
    overhead: np.ndarray  # (4,) ambient light from above
    bounce: np.ndarray  # (4,) ambient light from below
    ambient: np.ndarray
    sunlit: np.ndarray
    depth: np.ndarray


def direction(azimuth_deg: float, elevation_deg: float) -> np.ndarray:
    """Compute the unit vector towards a light; azimuth 0 is behind the camera (z negative)."""
    azimuth = math.radians(azimuth_deg)
    elevation = math.radians(elevation_deg)
    flat = math.cos(elevation)
    return np.array([flat * math.sin(azimuth), math.sin(elevation), -flat * math.cos(azimuth)])


@functools.lru_cache(maxsize=12)
def view(domain: str, camera: int) -> View:
    """Trace the scene of camera ``camera`` (from 0); takes about 0.3 s, then is remembered."""
    spec = camera_specs(domain)[camera]
    rng = np.random.default_rng([zlib.crc32(domain.encode()), camera])
    kinds, boxes, surfaces, faces = build_scene(domain, camera, rng).arrays()
    position = np.array([0.0, spec.height, 0.0])
    rotation = look_at(position, np.array([0.0, 0.85, (spec.near + spec.far) / 2]))
    focal = spec.focal * FRAME_HEIGHT
    sun = direction(*spec.sun[:2])
    horizon = np.array([*(0.75 * np.array(spec.sky)), 0.25]) * spec.fill
    overhead = np.array([*spec.sky, 0.35]) * spec.fill
    bounce = np.array([*(0.3 * np.array(spec.sky)), 0.15]) * spec.fill
    ambient = np.zeros((FRAME_HEIGHT, FRAME_WIDTH, 4), np.float32)
    sunlit = np.zeros_like(ambient)
    depth = np.empty((FRAME_HEIGHT, FRAME_WIDTH), np.float32)
    trace(
        position,
        rotation,
        focal,
        kinds,
        boxes,
        surfaces,
        faces,
        np.stack([horizon, overhead]),
        sun,
        bounce,
        spec.infrared,
        ambient,
        sunlit,
        depth,
    )
    return View(
        domain=domain,
        camera=camera,
        spec=spec,
        position=position,
        rotation=rotation,
        focal=focal,
        sun=sun,
        overhead=overhead,
        bounce=bounce,
        ambient=ambient,
        sunlit=sunlit,
        depth=depth,
    )
