"""Body fits of a rendered set, from the ground truth in its annotations.

Letters: N images.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from fastreid_ext.bodies.body_fits import FITS_FILE, BodyFits
from fastreid_ext.rendered.dressing import free_body


def write_true_fits(folder: Path, size: tuple[int, int]) -> Path:
    """Write ``body_fits.npz`` of a rendered set from its ``annotations.jsonl``.

    Args:
        folder: folder of the rendered set.
        size: height and width of its images in pixels.
    """
    lines = (folder / "annotations.jsonl").read_text().splitlines()
    true_fits([json.loads(line) for line in lines], size).write(folder / FITS_FILE)
    return folder / FITS_FILE


def true_fits(rows: Sequence[dict[str, Any]], size: tuple[int, int]) -> BodyFits:
    """Convert rows of annotations to fits of the free body in camera axes.

    Args:
        rows: N rows of ``annotations.jsonl``.
        size: height and width of the images in pixels.
    """
    height, width = size
    cameras = [row["camera_parameters"] for row in rows]
    world_to_camera = np.array([camera["rotation"] for camera in cameras])
    positions = np.array([camera["position"] for camera in cameras])
    boxes = np.array([camera["box"] for camera in cameras])  # left, top, width, height
    frames = np.array([camera["frame"] for camera in cameras])  # height, width
    scales = np.array([width, height]) / boxes[:, 2:]  # pixels of the image per pixel of the frame
    betas = np.array([row["betas"] for row in rows])
    pelvis = np.array([row["joints"][0] for row in rows])
    in_camera = np.einsum("nij,nj->ni", world_to_camera, pelvis - positions)
    views = [row["viewpoint"] for row in rows]
    return BodyFits(
        file_names=[row["file"] for row in rows],
        betas=betas,
        poses=_poses_in_camera(rows, world_to_camera),
        translations=in_camera - _resting_pelvis(betas),
        focal_px=np.array([camera["focal_px"] for camera in cameras])[:, None] * scales,
        centre_px=(frames[:, ::-1] / 2 - boxes[:, :2]) * scales,
        image_sizes=np.tile([height, width], (len(rows), 1)),
        azimuth_deg=[view["azimuth_deg"] % 360 for view in views],
        elevation_deg=[view["elevation_deg"] for view in views],
        pose_names=[row["pose_name"] for row in rows],
    )


def _poses_in_camera(rows: Sequence[dict[str, Any]], world_to_camera: np.ndarray) -> np.ndarray:
    """Turn the global orientations (N, 24, 3) from the body's own axes to those of the camera."""
    poses = np.array([row["pose"] for row in rows])
    yaw = np.array([[row["place"]["yaw_rad"]] for row in rows])
    turned = Rotation.from_euler("y", yaw) * Rotation.from_rotvec(poses[:, 0])
    poses[:, 0] = (Rotation.from_matrix(world_to_camera) * turned).as_rotvec()
    return poses


def _resting_pelvis(betas: np.ndarray) -> np.ndarray:
    """Find where the pelvis of each shape is without a translation, (N, 3)."""
    body, _ = free_body()
    still = np.zeros((len(betas), 24, 3))
    shapes, inverse = np.unique(betas, axis=0, return_inverse=True)
    joints = body.joints_batch(shapes, still[: len(shapes)], still[: len(shapes), 0])
    return joints[inverse, 0]
