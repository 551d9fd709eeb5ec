"""Pinhole cameras: where a point of the world falls in the image.

World: metres, y up; a body stands facing +z and its left is +x. Camera: x right, y down, z forward
(the depth).
Image: x to the right and y down from the top left corner, in pixels; the centre of the first pixel
is (0.5, 0.5).
Angles in this module are degrees: azimuth 0 sees the body's front, 90 its left side, 180 its back;
elevation is positive when the camera looks down from above. Letters: N points.
"""

import dataclasses

import numpy as np

_UP = np.array([0.0, 1.0, 0.0])


def look_at(position: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Compute the world-to-camera rotation of a camera with a level horizon.

    Args:
        position: (3,) place of the camera, in metres.
        target: (3,) point that falls on the image centre, in metres.

    Returns:
        (3, 3) rotation; its rows are the camera's x, y and z axes in the world.
    """
    forward = np.asarray(target, dtype=np.float64) - np.asarray(position, dtype=np.float64)
    distance = np.linalg.norm(forward)
    right = np.cross(forward, _UP)
    if distance == 0 or np.linalg.norm(right) < 1e-6 * distance:
        raise ValueError(
            f"expected a target beside the camera's vertical line, "
            f"got position {list(position)} and target {list(target)}; move one of them sideways "
            "by a little (the horizon is undefined straight above)"
        )
    forward = forward / distance
    right = right / np.linalg.norm(right)
    return np.stack([right, np.cross(forward, right), forward])


@dataclasses.dataclass(frozen=True)
class Camera:
    """A pinhole camera with square pixels and a level horizon, centred on its target.

    Attributes:
        position: (x, y, z) place of the camera, in metres.
        target: (x, y, z) point that falls on the image centre, in metres.
        focal_px: focal length in pixels: an object of 1 m at 1 m depth is this many pixels long.
        height: height of the image in pixels.
        width: width of the image in pixels.
    """

    position: tuple[float, float, float]
    target: tuple[float, float, float]
    focal_px: float
    height: int
    width: int

    def __post_init__(self) -> None:
        if self.focal_px <= 0 or self.height <= 0 or self.width <= 0:
            raise ValueError(
                f"expected positive focal_px, height and width, got {self.focal_px}, "
                f"{self.height}, {self.width}"
            )
        look_at(self.position, self.target)

    @property
    def rotation(self) -> np.ndarray:
        """World-to-camera rotation (3, 3); see :func:`look_at`."""
        return look_at(self.position, self.target)

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """Convert world points (N, 3) to camera coordinates (N, 3), both in metres."""
        return (np.asarray(points, dtype=np.float64) - self.position) @ self.rotation.T

    def project(self, points: np.ndarray) -> np.ndarray:
        """Project world points (N, 3) to pixel x, pixel y and depth in metres, (N, 3) float32.

        A point behind the camera has a depth <= 0; its pixel is not meaningful (depths within 1 um
        of zero are moved there to avoid dividing by zero), and
        :func:`~fastreid_ext.bodies.render.rasterize` drops it.
        """
        in_camera = self.to_camera(points)
        depth = in_camera[:, 2]
        divisor = np.where(np.abs(depth) < 1e-6, 1e-6, depth)
        projected = np.empty((len(in_camera), 3), dtype=np.float32)
        projected[:, 0] = self.focal_px * in_camera[:, 0] / divisor + self.width / 2
        projected[:, 1] = self.focal_px * in_camera[:, 1] / divisor + self.height / 2
        projected[:, 2] = depth
        return projected


def from_viewpoint(
    elevation_deg: float,
    azimuth_deg: float,
    distance_m: float,
    *,
    target: tuple[float, float, float] = (0.0, 0.0, 0.0),
    focal_px: float,
    height: int,
    width: int,
) -> Camera:
    """Place a camera on a sphere around ``target``.

    Args:
        elevation_deg: elevation in degrees, in (-90, 90); positive looks down.
        azimuth_deg: azimuth in degrees; 0 sees the front (+z), 90 the body's left (+x).
        distance_m: radius of the sphere in metres, above 0.
        target: (x, y, z) centre of the sphere and of the image, in metres.
        focal_px: focal length of the camera in pixels.
        height: height of the image in pixels.
        width: width of the image in pixels.
    """
    if not -90 < elevation_deg < 90 or distance_m <= 0:
        raise ValueError(
            f"expected elevation_deg in (-90, 90) and distance_m > 0, "
            f"got {elevation_deg} and {distance_m}"
        )
    elevation = np.deg2rad(elevation_deg)
    azimuth = np.deg2rad(azimuth_deg)
    level = np.cos(elevation)
    offset = (
        np.array([level * np.sin(azimuth), np.sin(elevation), level * np.cos(azimuth)]) * distance_m
    )
    x, y, z = (np.asarray(target) + offset).tolist()
    return Camera((x, y, z), tuple(target), focal_px, height, width)
