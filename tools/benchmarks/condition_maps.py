"""How fast condition maps of bodies are rendered: milliseconds per frame, everything included.

A frame is posing, placing the camera as a Re-ID crop has it, projection, rasterising, normals,
depth and skeleton. The fast path is timed beside the reference maps of ``bodies/conditions.py``, in
turns, and medians are printed; then the worker pool, in wall time. A busy machine slows both paths,
so the ratio tells more than the milliseconds.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from fastreid_ext.bodies.body_model import BodyModel, PosedBody, load_body
from fastreid_ext.bodies.condition_maps import MapRequest, condition_maps, render_requests
from fastreid_ext.bodies.conditions import as_uint8, depth_map, normal_map, skeleton_map
from fastreid_ext.bodies.crop_camera import CropCamera, Placement, camera_around
from fastreid_ext.bodies.pose_sources import pose_bank, random_view
from fastreid_ext.bodies.render import rasterize

Scene = tuple[np.ndarray, np.ndarray, tuple[float, float], Placement]


def sample_scenes(count: int, seed: int) -> list[Scene]:
    """Sample shapes, poses, viewpoints and placements of ``count`` frames."""
    rng = np.random.default_rng(seed)
    bank = pose_bank(["gait", "unusual"], count, seed)
    return [
        (rng.normal(0, 1, 10), named.pose, random_view(rng), Placement.sample(rng))
        for named in bank
    ]


def placed(scene: Scene, body: BodyModel, size: tuple[int, int]) -> tuple[PosedBody, CropCamera]:
    """Pose the body of a scene and place its camera."""
    betas, pose, view, placement = scene
    posed = body.pose(betas, pose)
    return posed, camera_around(posed, *view, *size, placement)


def fast(scene: Scene, body: BodyModel, size: tuple[int, int]) -> np.ndarray:
    """Render a frame as a generator reads it: (7, H, W) uint8."""
    posed, camera = placed(scene, body, size)
    return condition_maps(posed, body, camera).stacked()


def reference(scene: Scene, body: BodyModel, size: tuple[int, int]) -> np.ndarray:
    """Render the same frame with the reference maps."""
    posed, camera = placed(scene, body, size)
    seen = rasterize(camera.project(posed.vertices), body.faces, *size)
    maps = (
        depth_map(seen)[..., None],
        normal_map(seen, posed.vertices, body.faces, camera),
        skeleton_map(posed, camera),
    )
    return np.ascontiguousarray(as_uint8(np.concatenate(maps, axis=2)).transpose(2, 0, 1))


def milliseconds(
    function: Callable[..., np.ndarray],
    scenes: Sequence[Scene],
    body: BodyModel,
    size: tuple[int, int],
) -> float:
    """Median CPU time of this thread per frame, in milliseconds."""
    times = []
    for scene in scenes:
        start = time.thread_time()
        function(scene, body, size)
        times.append(1000 * (time.thread_time() - start))
    return statistics.median(times)


def compare(
    scenes: Sequence[Scene], body: BodyModel, size: tuple[int, int], repeats: int
) -> tuple[float, float, float]:
    """Time both paths in turns: medians of the fast and the reference path, and of their ratio."""
    rows = []
    for function in (fast, reference):
        function(scenes[0], body, size)  # compiles
    for _ in range(repeats):
        quick = milliseconds(fast, scenes, body, size)
        slow = milliseconds(reference, scenes, body, size)
        rows.append((quick, slow, slow / quick))
    return tuple(np.median(rows, axis=0).tolist())


def pool_frames_per_second(
    scenes: Sequence[Scene], body_path: Path | None, size: tuple[int, int], workers: int
) -> float:
    """Frames per second of wall time that ``workers`` processes deliver, once they run."""
    body = load_body(body_path)
    requests = []
    for scene in scenes:
        _, camera = placed(scene, body, size)
        requests.append(MapRequest(scene[0], scene[1], np.zeros(3), camera))
    maps = render_requests([*requests, *requests], body_path, workers)
    for _ in range(len(requests)):
        next(maps)
    start = time.perf_counter()
    rest = sum(1 for _ in maps)
    return rest / (time.perf_counter() - start)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, nargs=2, default=(384, 192), metavar=("H", "W"))
    parser.add_argument("--frames", type=int, default=60, help="different frames (60)")
    parser.add_argument("--repeats", type=int, default=5, help="turns of both paths (5)")
    parser.add_argument("--workers", type=int, default=2, help="processes of the pool (2)")
    parser.add_argument("--body", type=Path, help="SMPL or SMPL-X file; default: the free body")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    """Time one core, then the pool."""
    cv2.setNumThreads(1)
    height, width = args.size
    body = load_body(args.body)
    scenes = sample_scenes(args.frames, seed=0)
    quick, slow, ratio = compare(scenes, body, (height, width), args.repeats)
    place = f"{height} x {width}, {len(body.template)} vertices, one core"
    print(f"{place}: {quick:.2f} ms per frame, reference {slow:.2f} ms, {ratio:.1f} times faster")
    speed = pool_frames_per_second(scenes, args.body, (height, width), args.workers)
    print(f"{args.workers} workers: {speed:.0f} frames/s")


if __name__ == "__main__":
    main(parse())
