"""Cameras of person crops: a pinhole whose principal point may lie anywhere, even off the image.

A crop of a photograph, scaled to another size, is exactly such a camera: cropping moves the
principal point, scaling multiplies it and the focal lengths. Axes, pixels and angles are those of
:mod:`~fastreid_ext.bodies.cameras`. Letters: N points.
"""

import dataclasses

import numpy as np

from fastreid_ext.bodies.body_model import PosedBody
from fastreid_ext.bodies.cameras import Camera, from_viewpoint

# Framing of Re-ID crops. The ranges are ours, chosen to look like the boxes of Market-1501.
_HEIGHT_SHARES = (0.83, 0.97)
_SHIFT_SPREAD = 0.025
_CUT_CHANCE = 0.12
_CUT_HEIGHT_SHARES = (1.05, 1.3)
_DISTANCES_M = (4.0, 15.0)


@dataclasses.dataclass(frozen=True, eq=False)
class CropCamera:
    """A pinhole camera with any principal point and any ratio of its two focal lengths.

    Attributes:
        rotation: (3, 3) world-to-camera rotation; its rows are the camera's x, y and z axes.
        position: (3,) place of the camera in the world, in metres.
        focal_px: (x, y) focal lengths in pixels; they differ when a crop was squeezed to its size.
        centre_px: (x, y) pixel of the optical axis; it may lie outside the image.
        height: height of the image in pixels.
        width: width of the image in pixels.

    Raises:
        ValueError: a focal length or a side is not positive.

    Example:
        >>> crop = CropCamera(np.eye(3), np.zeros(3), (500.0, 500.0), (32.0, 64.0), 128, 64)
        >>> crop.resized(256, 128).project(np.array([[0.1, 0.0, 5.0]])).tolist()
        [[84.0, 128.0, 5.0]]
    """

    rotation: np.ndarray
    position: np.ndarray
    focal_px: tuple[float, float]
    centre_px: tuple[float, float]
    height: int
    width: int

    def __post_init__(self) -> None:
        if min(self.focal_px) <= 0 or self.height <= 0 or self.width <= 0:
            raise ValueError(
                f"expected positive focal_px (x, y), height and width, got {self.focal_px}, "
                f"{self.height}, {self.width}"
            )

    @classmethod
    def of(cls, camera: Camera) -> "CropCamera":
        """Make the crop camera of a camera's whole image."""
        return cls(
            rotation=camera.rotation,
            position=np.asarray(camera.position, dtype=np.float64),
            focal_px=(camera.focal_px, camera.focal_px),
            centre_px=(camera.width / 2, camera.height / 2),
            height=camera.height,
            width=camera.width,
        )

    def project(self, points: np.ndarray) -> np.ndarray:
        """Project world points (N, 3) to pixel x, pixel y and depth in metres, (N, 3) float32.

        Points behind the camera have a depth <= 0, as in
        :meth:`~fastreid_ext.bodies.cameras.Camera.project`.
        """
        in_camera = (np.asarray(points, dtype=np.float64) - self.position) @ self.rotation.T
        depth = in_camera[:, 2]
        divisor = np.where(np.abs(depth) < 1e-6, 1e-6, depth)
        projected = np.empty((len(in_camera), 3), dtype=np.float32)
        projected[:, 0] = self.focal_px[0] * in_camera[:, 0] / divisor + self.centre_px[0]
        projected[:, 1] = self.focal_px[1] * in_camera[:, 1] / divisor + self.centre_px[1]
        projected[:, 2] = depth
        return projected

    def resized(self, height: int, width: int) -> "CropCamera":
        """Make the camera of the same image scaled to ``height`` x ``width`` pixels."""
        across = width / self.width
        down = height / self.height
        return dataclasses.replace(
            self,
            focal_px=(self.focal_px[0] * across, self.focal_px[1] * down),
            centre_px=(self.centre_px[0] * across, self.centre_px[1] * down),
            height=height,
            width=width,
        )

    def cropped(self, left: float, top: float, width: int, height: int) -> "CropCamera":
        """Make the camera of a part of the image; the part may reach beyond the image.

        Args:
            left: left edge of the part, in pixels of this image.
            top: top edge of the part, in pixels of this image.
            width: width of the part in pixels.
            height: height of the part in pixels.
        """
        return dataclasses.replace(
            self,
            centre_px=(self.centre_px[0] - left, self.centre_px[1] - top),
            height=height,
            width=width,
        )


@dataclasses.dataclass(frozen=True)
class Placement:
    """Place and size of a person in a crop.

    Attributes:
        height_share: share of the crop's height that the body's box fills; above 1 the box is cut.
            Of a pose too wide for the crop it is the share of the width.
        shift_x: shift of the box's centre to the right, as a share of the crop's width.
        shift_y: shift of the box's centre downwards, as a share of the crop's height.
        distance_m: distance of the camera from the centre of the body, in metres; nearer cameras
            distort more.

    Raises:
        ValueError: the share or the distance is not positive.
    """

    height_share: float = 0.9
    shift_x: float = 0.0
    shift_y: float = 0.0
    distance_m: float = 6.0

    def __post_init__(self) -> None:
        if self.height_share <= 0 or self.distance_m <= 0:
            raise ValueError(
                f"expected height_share and distance_m above 0, got {self.height_share} and "
                f"{self.distance_m}"
            )

    @classmethod
    def sample(cls, rng: np.random.Generator) -> "Placement":
        """Sample a placement as detectors frame persons: loose, a little off, some with cut feet.

        The box fills 83 to 97 % of the height and is off by about 2.5 %; 12 % of the boxes begin at
        the head and end above the feet. These ranges are ours; no paper gives any.

        Args:
            rng: generator of the random numbers.
        """
        shift_x = float(rng.normal(0.0, _SHIFT_SPREAD))
        shift_y = float(rng.normal(0.0, _SHIFT_SPREAD))
        height_share = float(rng.uniform(*_HEIGHT_SHARES))
        if rng.random() < _CUT_CHANCE:
            height_share = float(rng.uniform(*_CUT_HEIGHT_SHARES))
            shift_y = (height_share - 1) / 2 + abs(shift_y)  # the head stays inside
        return cls(height_share, shift_x, shift_y, float(rng.uniform(*_DISTANCES_M)))


def camera_around(
    body: PosedBody,
    azimuth_deg: float,
    elevation_deg: float,
    height: int,
    width: int,
    placement: Placement | None = None,
) -> CropCamera:
    """Make the camera of a crop that shows a body from one direction.

    Args:
        body: posed body, anywhere in the world; azimuth is relative to the world's +z, which a pose
            faces unless it was turned.
        azimuth_deg: azimuth in degrees; 0 sees the front, 90 the body's left, 180 its back.
        elevation_deg: elevation in degrees, in (-90, 90); positive looks down.
        height: height of the crop in pixels.
        width: width of the crop in pixels.
        placement: place and size of the body in the crop; None centres it at 90 % of the height.

    Raises:
        ValueError: the camera would stand inside the body.

    Example:
        >>> from fastreid_ext.bodies.body_model import load_body
        >>> person = load_body().pose(np.zeros(10), np.zeros((24, 3)))
        >>> camera_around(person, 90, 15, 384, 192).height
        384
    """
    placement = Placement() if placement is None else placement
    low, high = _bounds(body.vertices)
    target = tuple(((low + high) / 2).astype(float).tolist())
    view = from_viewpoint(
        elevation_deg,
        azimuth_deg,
        placement.distance_m,
        target=target,
        focal_px=1.0,
        height=height,
        width=width,
    )
    camera = dataclasses.replace(CropCamera.of(view), centre_px=(0.0, 0.0))
    seen = camera.project(body.vertices)
    first, last = _bounds(seen)  # pixel x, pixel y, depth
    if first[2] <= 0.1:
        raise ValueError(
            f"expected a camera outside the body, got distance_m {placement.distance_m}; "
            "stand further away"
        )
    left, top = first[:2].astype(float)
    right, bottom = last[:2].astype(float)
    focal = placement.height_share * min(height / (bottom - top), width / (right - left))
    centre_x = (0.5 + placement.shift_x) * width - focal * (left + right) / 2
    centre_y = (0.5 + placement.shift_y) * height - focal * (top + bottom) / 2
    return dataclasses.replace(camera, focal_px=(focal, focal), centre_px=(centre_x, centre_y))


def _bounds(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the least and the greatest value of each column of (N, 3) points."""
    columns = np.ascontiguousarray(points.T)  # numpy reduces long rows much faster than columns
    return columns.min(axis=1), columns.max(axis=1)
