"""Poses and viewpoints to ask a generator for.

Poses face +z: their heading is removed, so that a viewpoint alone says from where they are seen.
Letters: T frames.
"""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from fastreid_ext.bodies.gait import SPEEDS, walking
from fastreid_ext.bodies.motion_files import Motion, NotUprightError, read_motion
from fastreid_ext.bodies.pose_bank import out_of_distribution

_log = logging.getLogger(__name__)

SOURCES = ("gait", "unusual")
# Front, left, back and right, as (azimuth, elevation) in degrees.
CANONICAL_VIEWS = {"front": (0.0, 0.0), "left": (90.0, 0.0), "back": (180.0, 0.0),
                   "right": (270.0, 0.0)}  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False)
class NamedPose:
    """One pose of a bank.

    Attributes:
        name: name of the pose, unique within its bank.
        pose: (24, 3) axis-angle vectors in radians, facing +z.
    """

    name: str
    pose: np.ndarray


def pose_bank(
    sources: Sequence[str | Path], number: int, seed: int, *, z_up: bool | None = None
) -> list[NamedPose]:
    """Choose poses from built-in banks and motion files, evenly over the sources.

    Equal arguments give equal poses.

    Args:
        sources: sources of the poses: "gait" (moments of a walk), "unusual" (the bank of poses that
            pedestrians seldom take), motion files, or folders of motion files.
        number: number of poses in all.
        seed: seed of the choice.
        z_up: whether motion files have a vertical z axis; None takes the axis of their layout.

    Raises:
        ValueError: no source or no pose is asked for, or a motion file is not usable.
        FileNotFoundError: a source is neither a bank nor a file or folder with motions.

    Example:
        >>> [pose.name for pose in pose_bank(["gait", "unusual"], 3, seed=0)]
        ['gait_0000', 'gait_0001', 'unusual_0000']
    """
    if not sources or number < 1:
        raise ValueError(
            f"expected at least one source and one pose, got {list(sources)} and {number}; "
            f"sources are {', '.join(SOURCES)} and paths of motion files"
        )
    bank = []
    for i, source in enumerate(sources):
        share = number // len(sources) + (i < number % len(sources))
        rng = np.random.default_rng([seed, i])
        if source == "gait":
            poses = [walking(rng.random(), rng.uniform(*SPEEDS), rng) for _ in range(share)]
            bank += _named("gait", poses)
        elif source == "unusual":
            bank += _named("unusual", [out_of_distribution(rng) for _ in range(share)])
        else:
            bank += _captured(Path(source), share, rng, z_up)
    return bank


def without_heading(pose: np.ndarray) -> np.ndarray:
    """Turn a pose (24, 3) about the vertical so that its pelvis faces +z."""
    pelvis = Rotation.from_rotvec(pose[0])
    x, _, z = pelvis.apply([0.0, 0.0, 1.0])
    turned = pose.copy()
    turned[0] = (Rotation.from_rotvec([0, -np.arctan2(x, z), 0]) * pelvis).as_rotvec()
    return turned


def random_view(
    rng: np.random.Generator,
    elevation_deg: tuple[float, float] = (0.0, 30.0),
    azimuth_deg: tuple[float, float] = (0.0, 360.0),
) -> tuple[float, float]:
    """Sample a viewpoint, uniform in azimuth and elevation, as (azimuth, elevation) in degrees.

    Args:
        rng: generator of the random numbers.
        elevation_deg: lowest and highest elevation in degrees.
        azimuth_deg: first and last azimuth in degrees.
    """
    azimuth = float(rng.uniform(*azimuth_deg))
    return azimuth, float(rng.uniform(*elevation_deg))


def canonical_poses() -> list[tuple[NamedPose, float, float]]:
    """List the four-pose set: one neutral step seen from front, left, back and right.

    Returns:
        Pose, azimuth and elevation in degrees of each; the pose is named after the view.
    """
    pose = without_heading(walking(0.0, 1.2, np.random.default_rng(0)))
    return [(NamedPose(name, pose), *view) for name, view in CANONICAL_VIEWS.items()]


def _named(prefix: str, poses: Sequence[np.ndarray]) -> list[NamedPose]:
    return [NamedPose(f"{prefix}_{i:04d}", without_heading(pose)) for i, pose in enumerate(poses)]


def _captured(
    source: Path, number: int, rng: np.random.Generator, z_up: bool | None
) -> list[NamedPose]:
    """Choose frames of a motion file, or frames of several files of a folder, evenly."""
    if source.is_file():
        return _frames(source.stem, read_motion(source, z_up=z_up), number, rng)
    motions = _upright_motions(source, number, rng, z_up)
    bank = []
    for i, (name, motion) in enumerate(motions):
        share = number // len(motions) + (i < number % len(motions))
        bank += _frames(name, motion, share, rng)
    return bank


def _upright_motions(
    folder: Path, number: int, rng: np.random.Generator, z_up: bool | None
) -> list[tuple[str, Motion]]:
    """Choose up to ``number`` files of a folder; those of lying people are left out."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".npz", ".pkl"))
    files = [path for path in files if path.name != "shape.npz"]  # AMASS has one per subject
    if not files:
        raise FileNotFoundError(
            f"no poses at {folder}; expected one of {', '.join(SOURCES)}, a motion file, or a "
            "folder with .npz or .pkl motions"
        )
    motions = []
    for i in rng.permutation(len(files)):
        try:
            motion = read_motion(files[i], z_up=z_up)
        except NotUprightError as error:
            if len(files) == 1:
                raise
            _log.warning("left out: %s", error)
            continue
        name = str(files[i].relative_to(folder).with_suffix("")).replace("/", "_")
        motions.append((name, motion))
        if len(motions) == number:
            break
    if not motions:
        raise NotUprightError(
            f"expected upright people in {folder}, got none in {len(files)} files; see the "
            "warnings above"
        )
    return motions


def _frames(name: str, motion: Motion, number: int, rng: np.random.Generator) -> list[NamedPose]:
    if number > len(motion.poses):
        raise ValueError(
            f"expected at most {len(motion.poses)} poses of the motion {name}, got {number}; add "
            "sources or ask for fewer poses"
        )
    frames = np.sort(rng.choice(len(motion.poses), number, replace=False))
    return [NamedPose(f"{name}_{i:06d}", without_heading(motion.poses[i])) for i in frames]
