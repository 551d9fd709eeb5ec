"""Condition maps of a body as a generator reads them: depth, normals and skeleton, uint8, fast.

The maps are those of :mod:`~fastreid_ext.bodies.conditions`, which says what their values mean,
rounded to uint8; a few pixels differ by one grey level. Faces seen from behind are skipped, so the
mesh must be closed, as bodies are. Letters: H height, W width.
"""

import collections
import concurrent.futures
import dataclasses
import functools
import itertools
import multiprocessing
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numba import njit

from fastreid_ext.bodies.body_model import BodyModel, PosedBody, load_body
from fastreid_ext.bodies.cameras import Camera
from fastreid_ext.bodies.conditions import skeleton_pixels
from fastreid_ext.bodies.crop_camera import CropCamera
from fastreid_ext.bodies.render import rasterize, vertex_normals

CONDITIONS = ("depth", "normal", "skeleton")
CHANNELS = {"depth": 1, "normal": 3, "skeleton": 3}
_CHUNK = 8  # requests that a worker is given at once
_CHUNKS_AHEAD = 3  # chunks that each worker may be ahead of the consumer


@dataclasses.dataclass(frozen=True, eq=False)
class ConditionMaps:
    """Aligned maps of one body, uint8 in [0, 255], 0 where there is no body.

    Attributes:
        depth: (H, W) depth map, 255 at the nearest surface and 26 at the furthest.
        normal: (H, W, 3) normals of the surface in camera space.
        skeleton: (H, W, 3) OpenPose-style skeleton, RGB.
    """

    depth: np.ndarray
    normal: np.ndarray
    skeleton: np.ndarray

    @property
    def mask(self) -> np.ndarray:
        """Pixels that see the body, (H, W) bool."""
        return self.depth > 0

    def stacked(self, kinds: Sequence[str] = CONDITIONS) -> np.ndarray:
        """Stack maps along the channels, (C, H, W) uint8; all three give 7 channels.

        Args:
            kinds: names from :data:`CONDITIONS`, in the order of the result's channels.

        Raises:
            ValueError: a name is unknown.
        """
        unknown = [kind for kind in kinds if kind not in CONDITIONS]
        if unknown or not kinds:
            raise ValueError(f"expected conditions of {CONDITIONS}, got {list(kinds)}")
        # cv2.split takes the channels apart ten times faster than a transposed copy of numpy.
        return np.stack([plane for kind in kinds for plane in cv2.split(getattr(self, kind))])


def condition_maps(posed: PosedBody, body: BodyModel, camera: CropCamera | Camera) -> ConditionMaps:
    """Render depth, normals and skeleton of a posed body.

    Args:
        posed: body as :meth:`BodyModel.pose` places it.
        body: model that was posed, for its faces.
        camera: camera and size of the maps.

    Example:
        >>> from fastreid_ext.bodies.crop_camera import camera_around
        >>> body = load_body()
        >>> posed = body.pose(np.zeros(10), np.zeros((24, 3)))
        >>> condition_maps(posed, body, camera_around(posed, 0, 10, 128, 64)).stacked().shape
        (7, 128, 64)
    """
    size = (camera.height, camera.width)
    seen = rasterize(camera.project(posed.vertices), body.faces, *size, cull_back_faces=True)
    to_camera = (camera.rotation * [[1], [-1], [-1]]).astype(np.float32)  # x right, y up, z near
    normals = vertex_normals(posed.vertices, body.faces) @ to_camera.T
    depth = np.zeros(size, dtype=np.uint8)
    normal = np.zeros((*size, 3), dtype=np.uint8)
    _encode(seen.face_id, seen.barycentric, seen.depth, body.faces, normals, depth, normal)
    return ConditionMaps(depth, normal, skeleton_pixels(posed, camera))


@dataclasses.dataclass(frozen=True, eq=False)
class MapRequest:
    """One body in front of one camera.

    Attributes:
        betas: (10,) shape coefficients, in standard deviations.
        pose: (24, 3) axis-angle vectors in radians; row 0 turns the whole body.
        translation: (3,) shift of the body in metres, as :meth:`BodyModel.pose` takes it.
        camera: camera and size of the maps, in the world of the pose.
    """

    betas: np.ndarray
    pose: np.ndarray
    translation: np.ndarray
    camera: CropCamera

    def render(self, body: BodyModel) -> ConditionMaps:
        """Render the maps of this request with a body model."""
        return condition_maps(body.pose(self.betas, self.pose, self.translation), body, self.camera)


def render_requests(
    requests: Iterable[MapRequest], body_path: str | Path | None = None, workers: int = 0
) -> Iterator[ConditionMaps]:
    """Render requests and yield their maps in order, in this process or in several others.

    Requests are taken from the iterable only a little ahead of what is consumed. An error of a
    worker is raised here.

    Args:
        requests: bodies and cameras, as many as you like.
        body_path: SMPL or SMPL-X file of the user; None takes the shipped body.
        workers: number of processes, each of which loads the body once; 0 renders in this process.

    Raises:
        ValueError: ``workers`` is negative, or a request has wrong shapes or NaN.
    """
    if workers < 0:
        raise ValueError(f"expected workers >= 0, got {workers}")
    if workers == 0:
        body = _body(body_path)
        for request in requests:
            yield request.render(body)
        return
    # Not fork: threads of torch and OpenCV may hold locks in this process.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    pool = concurrent.futures.ProcessPoolExecutor(workers, context, cv2.setNumThreads, (1,))
    render = functools.partial(_render_chunk, body_path)
    pending = collections.deque()
    try:
        for chunk in _chunks(requests):
            pending.append(pool.submit(render, chunk))
            if len(pending) > _CHUNKS_AHEAD * workers:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _chunks(requests: Iterable[MapRequest]) -> Iterator[list[MapRequest]]:
    requests = iter(requests)
    while chunk := list(itertools.islice(requests, _CHUNK)):
        yield chunk


@functools.lru_cache(maxsize=1)
def _body(body_path: str | Path | None) -> BodyModel:
    return load_body(body_path)


def _render_chunk(
    body_path: str | Path | None, requests: Sequence[MapRequest]
) -> list[ConditionMaps]:
    body = _body(body_path)
    return [request.render(body) for request in requests]


@njit(cache=True, error_model="numpy")
def _encode(face_id, barycentric, depth, faces, normals, depth_out, normal_out):  # noqa: ANN001, ANN202
    """Write the depth and normals of seen pixels as uint8, with the rounding of ``as_uint8``."""
    height, width = face_id.shape
    near = np.float32(np.inf)
    far = np.float32(-np.inf)
    for y in range(height):
        for x in range(width):
            if face_id[y, x] >= 0:
                near = min(near, depth[y, x])
                far = max(far, depth[y, x])
    reach = max(far - near, np.float32(1e-6))
    for y in range(height):
        for x in range(width):
            f = face_id[y, x]
            if f < 0:
                continue
            share = (depth[y, x] - near) / reach
            depth_out[y, x] = np.uint8(np.rint(255.0 * (1.0 - 0.9 * share)))
            nx = np.float32(0.0)
            ny = np.float32(0.0)
            nz = np.float32(0.0)
            for k in range(3):
                weight = barycentric[y, x, k]
                corner = faces[f, k]
                nx += weight * normals[corner, 0]
                ny += weight * normals[corner, 1]
                nz += weight * normals[corner, 2]
            length = max(np.sqrt(nx * nx + ny * ny + nz * nz), np.float32(1e-6))
            normal_out[y, x, 0] = np.uint8(np.rint(127.5 * (nx / length + 1.0)))
            normal_out[y, x, 1] = np.uint8(np.rint(127.5 * (ny / length + 1.0)))
            normal_out[y, x, 2] = np.uint8(np.rint(127.5 * (nz / length + 1.0)))
