"""The plan of a set: which images to generate of which identity, in which pose and view.

``plan.jsonl`` has a row for each image, ``poses.npz`` the poses that rows name. Every row follows
from the seed, the identity and its own number, so a larger plan begins with a smaller one.
"""

import dataclasses
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from fastreid.config import CfgNode

from fastreid_ext.atomic import atomic_write, atomic_write_text
from fastreid_ext.bodies.crop_camera import Placement
from fastreid_ext.bodies.pose_sources import NamedPose, pose_bank, without_heading
from fastreid_ext.generation.pose_guided.training_images import TrainingImage, training_images
from fastreid_ext.generation.pose_plan.distribution import Cells, PoseClusters, PosesAndViews
from fastreid_ext.generation.pose_plan.references import references_of
from fastreid_ext.generation.pose_plan.sampler import (
    CanonicalSampler,
    InverseDensitySampler,
    Sampler,
    UniformSampler,
)
from fastreid_ext.generation.runs.seeds import seed_of
from fastreid_ext.saved_settings import expect_same

PLAN = "plan.jsonl"
POSES = "poses.npz"
_SETTINGS = "plan.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlannedImage:
    """An image to generate.

    Attributes:
        data_set: name of the data set of the identity.
        pid: number of the identity in its data set.
        number: number of the image among those of the identity, from 0.
        reference: name of the reference image in the body fits of its set.
        pose: name of the pose in ``poses.npz``.
        azimuth_deg: azimuth of the camera in degrees, 0 in front, 90 at the body's left.
        elevation_deg: elevation of the camera in degrees, positive looks down.
        placement: height_share, shift_x, shift_y and distance_m, see ``Placement``.
    """

    data_set: str
    pid: int
    number: int
    reference: str
    pose: str
    azimuth_deg: float
    elevation_deg: float
    placement: tuple[float, float, float, float]


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """A plan and what it was made from.

    Attributes:
        images: planned images, by identity and number.
        poses: (24, 3) poses by their names.
        of_set: poses and viewpoints of the real images.
    """

    images: list[PlannedImage]
    poses: dict[str, np.ndarray]
    of_set: PosesAndViews

    @property
    def per_identity(self) -> int:
        """Number of images of each identity."""
        return len(self.images) // len({(one.data_set, one.pid) for one in self.images})

    @property
    def by_name(self) -> dict[str, list[PlannedImage]]:
        """Planned images by the name of their identity, see :func:`identity_name`."""
        by_name: dict[str, list[PlannedImage]] = defaultdict(list)
        for image in self.images:
            by_name[identity_name(image.data_set, image.pid)].append(image)
        return by_name

    @property
    def added(self) -> PosesAndViews:
        """Poses and viewpoints of the planned images."""
        return PosesAndViews(
            np.stack([self.poses[image.pose] for image in self.images]),
            np.array([image.azimuth_deg for image in self.images]),
            np.array([image.elevation_deg for image in self.images]),
        )


def make_plan(cfg: CfgNode) -> Plan:
    """Plan the images of a set, or read the plan that lies in ``OUTPUT_DIR``.

    Only identities of the training split that ``DATASETS.SUBSET`` leaves are planned, and of these
    the ones with an image that shows the person (:func:`.references.references_of`).

    Raises:
        FileNotFoundError: a data set, its body fits or a source of poses is missing.
        ValueError: the folder holds a plan of other settings, or there are too few poses or images.
    """
    output = Path(cfg.OUTPUT_DIR)
    images = training_images(cfg)
    of_set = poses_and_views(images)
    settings = _settings(cfg, images)
    if (output / _SETTINGS).is_file():
        expect_same(
            json.loads((output / _SETTINGS).read_text()),
            settings,
            found=f"expected {output} to hold the plan of these settings, got another",
            advice="repeat its settings, or choose another OUTPUT_DIR",
        )
        plan = Plan(*_read(output), of_set)
        _expect_training_identities(plan, images, output / PLAN)
        return plan
    poses, sampler = _sampler(cfg, of_set)
    planned = list(_planned(cfg, images, poses, sampler))
    by_name = {pose.name: pose.pose for pose in poses}
    output.mkdir(parents=True, exist_ok=True)
    _write(output, planned, by_name)
    atomic_write_text(output / _SETTINGS, json.dumps(settings, indent=1) + "\n")  # last
    return Plan(planned, by_name, of_set)


def poses_and_views(images: Sequence[TrainingImage]) -> PosesAndViews:
    """Read poses and viewpoints of training images."""
    rows_of: dict[int, list[int]] = defaultdict(list)
    fits = {id(image.fits): image.fits for image in images}
    for image in images:
        rows_of[id(image.fits)].append(image.row)
    first, *others = [PosesAndViews.of_fits(fits[key], rows) for key, rows in rows_of.items()]
    for other in others:
        first = first.joined(other)
    return first


def cells_of(cfg: CfgNode) -> Cells:
    """Read the cells of viewpoints from a configuration."""
    plan = cfg.GENERATION.POSE_PLAN
    return Cells(
        azimuths=plan.AZIMUTH_BINS,
        elevations=plan.ELEVATION_BINS,
        elevation_deg=tuple(plan.ELEVATION),
    )


def clusters_of(cfg: CfgNode, *parts: np.ndarray) -> PoseClusters:
    """Cluster the poses of a set together with those that are added."""
    poses = np.concatenate(parts)
    return PoseClusters(poses, cfg.GENERATION.POSE_PLAN.POSE_CLUSTERS, seed=max(cfg.SEED, 0))


def poses_to_choose(cfg: CfgNode, of_set: PosesAndViews) -> list[NamedPose]:
    """List the poses that a plan chooses from: canonical ones, those of the set, or a bank.

    Raises:
        FileNotFoundError: a source of poses is missing.
    """
    plan = cfg.GENERATION.POSE_PLAN
    if plan.SAMPLER == "canonical":
        return CanonicalSampler().poses
    if plan.POSES == "set":
        return [
            NamedPose(f"set_{row:06d}", without_heading(_upright(pose)))
            for row, pose in enumerate(of_set.poses)
        ]
    return pose_bank(list(plan.SOURCES), plan.BANK, max(cfg.SEED, 0))


def identity_name(data_set: str, pid: int) -> str:
    """Name an identity among all sets."""
    return f"{data_set}_{pid:04d}"


def _sampler(cfg: CfgNode, of_set: PosesAndViews) -> tuple[list[NamedPose], Sampler]:
    plan = cfg.GENERATION.POSE_PLAN
    poses = poses_to_choose(cfg, of_set)
    if plan.SAMPLER == "canonical":
        return poses, CanonicalSampler()
    if plan.SAMPLER == "uniform":
        views = of_set if plan.VIEWS == "set" else None
        return poses, UniformSampler(len(poses), list(plan.ELEVATION), views)
    if plan.VIEWS == "set":
        raise ValueError(
            "expected GENERATION.POSE_PLAN.VIEWS all with SAMPLER inverse_density, which chooses "
            "the views that the set lacks, got set; set SAMPLER uniform or VIEWS all"
        )
    stacked = np.stack([pose.pose for pose in poses])
    clusters = clusters_of(cfg, of_set.poses, stacked)
    return poses, InverseDensitySampler(of_set, stacked, clusters, cells_of(cfg))


def _upright(pose: np.ndarray) -> np.ndarray:
    """Remove the orientation in camera axes; the pelvis is upright."""
    upright = pose.copy()
    upright[0] = 0
    return upright


def _planned(
    cfg: CfgNode, images: Sequence[TrainingImage], poses: Sequence[NamedPose], sampler: Sampler
) -> Iterator[PlannedImage]:
    plan = cfg.GENERATION.POSE_PLAN
    references_by_identity = references_of(cfg, images)
    names = list(references_by_identity)
    count = plan.PER_IDENTITY or plan.IMAGES // len(names)
    if not count:
        raise ValueError(
            f"expected an image for each of {len(names)} identities, got "
            f"GENERATION.POSE_PLAN.IMAGES {plan.IMAGES}; raise it, or set PER_IDENTITY"
        )
    for (data_set, pid), references in references_by_identity.items():
        for number in range(count):
            rng = np.random.default_rng(seed_of(cfg.SEED, "plan", data_set, pid, number))
            wanted = sampler.sample(number, rng)
            reference = references[number % len(references)]
            placement = Placement.sample(rng) if plan.PLACEMENT else Placement()
            yield PlannedImage(
                data_set=data_set,
                pid=pid,
                number=number,
                reference=str(reference.fits.file_names[reference.row]),
                pose=poses[wanted.pose].name,
                azimuth_deg=round(wanted.azimuth_deg, 3),
                elevation_deg=round(wanted.elevation_deg, 3),
                placement=tuple(round(x, 5) for x in dataclasses.astuple(placement)),
            )


def _settings(cfg: CfgNode, images: Sequence[TrainingImage]) -> dict:
    plan = {key: x for key, x in cfg.GENERATION.POSE_PLAN.items() if key != "GENERATOR"}
    names = [str(image.fits.file_names[image.row]) for image in images]
    values = {"SEED": cfg.SEED, "DATASETS.NAMES": list(cfg.DATASETS.NAMES), "images": len(names)}
    values |= {f"GENERATION.POSE_PLAN.{key}": value for key, value in plan.items()}
    return json.loads(json.dumps(values))


def _expect_training_identities(plan: Plan, images: Sequence[TrainingImage], file: Path) -> None:
    """Check a plan that a person may have edited: test identities must never be generated."""
    known = {image.identity for image in images}
    others = sorted({(one.data_set, one.pid) for one in plan.images} - known)
    if others:
        shown = ", ".join(identity_name(*identity) for identity in others[:3])
        raise ValueError(
            f"expected training identities with a body fit in {file}, got {len(others)} others "
            f"({shown}{', ...' if len(others) > 3 else ''}); test identities must not be generated "
            "for training: remove their rows"
        )


def _write(output: Path, images: Sequence[PlannedImage], poses: dict[str, np.ndarray]) -> None:
    lines = [json.dumps(dataclasses.asdict(image)) for image in images]
    atomic_write_text(output / PLAN, "\n".join(lines) + "\n")
    with atomic_write(output / POSES) as file:
        np.savez_compressed(file, **poses)


def _read(output: Path) -> tuple[list[PlannedImage], dict[str, np.ndarray]]:
    rows = [json.loads(line) for line in (output / PLAN).read_text().splitlines()]
    images = [PlannedImage(**row | {"placement": tuple(row["placement"])}) for row in rows]
    with np.load(output / POSES, allow_pickle=False) as file:
        return images, {name: file[name] for name in file.files}
