"""Measure the generated sets: whose images they are, and how well pose and view were met."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from fastreid.config import CfgNode

from fastreid_ext.bodies.body_fits import BodyFits
from fastreid_ext.bodies.body_model import load_body
from fastreid_ext.deploy.feature_extractor import FeatureExtractor
from fastreid_ext.generation.pose_guided.training_images import folder_of_set, training_images
from fastreid_ext.generation.pose_plan.plan import Plan
from fastreid_ext.generation.sampling.identity_images import index_of
from fastreid_ext.generation.sampling.posed_images import request_of
from fastreid_ext.manifest import read_set
from projects.DiffID.miniature.identity_preservation import Preservation, pids_of, preservation
from projects.DiffID.miniature.pose_probe import (
    SIZE,
    PoseErrors,
    PoseProbe,
    Seen,
    errors,
    load_or_train,
    points_of,
    read_images,
)


@dataclasses.dataclass(frozen=True)
class Measured:
    """Measurements of a set of images.

    Attributes:
        name: key of the set.
        images: number of its images.
        identity: similarity to the identity that is to be shown; None for test images, whose
            identities have no training images.
        pose: errors of pose and viewpoint.
        chance: errors if the wishes were those of other images of the set.
    """

    name: str
    images: int
    identity: Preservation | None
    pose: PoseErrors
    chance: PoseErrors


class Measures:
    """The judge and the probe, and what they are compared with.

    Args:
        judge: recipe and weights of the Re-ID model of other persons.
        others: configuration whose training images, with fits, teach the probe.
        biased: configuration of the biased set.
        probe: file of the probe's weights, made if it is not there.
        probe_steps: number of steps in which the probe is trained.
    """

    def __init__(
        self,
        judge: tuple[CfgNode, Path],
        others: CfgNode,
        biased: CfgNode,
        probe: Path,
        *,
        probe_steps: int = 1200,
    ) -> None:
        self._judge = FeatureExtractor(*judge, device="cpu")
        self._body = load_body()
        self._folder = folder_of_set(biased, biased.DATASETS.NAMES[0])
        self._fits = BodyFits.read(self._folder)
        self._probe = _trained_probe(others, probe, probe_steps)
        real = [image.file for image in training_images(biased)]
        self._real = sorted(real)
        self._real_pids = pids_of([str(file) for file in self._real])
        self._real_features = self._judge(self._real)

    def of_real(self) -> list[Measured]:
        """Measure the real training images, and the test images, which have no bias."""
        names = [name for name in self._fits.file_names if not name.startswith("bounding_box_tr")]
        training = [str(file.relative_to(self._folder)) for file in self._real]
        identity = preservation(
            self._real_features,
            self._real_pids,
            self._real_features,
            self._real_pids,
            is_real=True,
        )
        return [
            self._measured("real", self._real, identity, self._seen(training)),
            self._measured("test", [self._folder / x for x in names], None, self._seen(names)),
        ]

    def of_set(self, key: str, root: Path, plan: Plan, *, has_points: bool = True) -> Measured:
        """Measure a set that was made by a plan.

        Args:
            key: name of the set.
            root: folder of the set.
            plan: plan of its images; an image is found by its number.
            has_points: whether the bodies stand in the image where the plan says.
        """
        files, pids, numbers = files_of(root)
        planned = {(image.pid, image.number): image for image in plan.images}
        wanted = [planned[key] for key in zip(pids.tolist(), numbers, strict=True)]
        azimuths = np.array([image.azimuth_deg for image in wanted])
        points = None
        if has_points:
            requests = [
                request_of(one, self._betas(one.reference), plan.poses[one.pose], self._body, SIZE)
                for one in wanted
            ]
            points = np.stack([points_of(request, self._body) for request in requests])
        features = self._judge(files)
        identity = preservation(features, pids, self._real_features, self._real_pids, is_real=False)
        return self._measured(key, files, identity, Seen(azimuths, points))

    def _betas(self, reference: str) -> np.ndarray:
        return self._fits.betas[self._fits.index(reference)]

    def _seen(self, names: Sequence[str]) -> Seen:
        return seen_in(self._fits, [self._fits.index(name) for name in names])

    def _measured(
        self, name: str, files: Sequence[Path], identity: Preservation | None, seen: Seen
    ) -> Measured:
        images = read_images(files)
        pose = errors(self._probe, images, seen)
        chance = errors(self._probe, images, seen.shuffled())
        return Measured(name, len(files), identity, pose, chance)


def _trained_probe(others: CfgNode, path: Path, steps: int) -> PoseProbe:
    images = training_images(others)
    if path.is_file():  # without reading thousands of images
        images = images[:1]
    parts = [seen_in(image.fits, [image.row]) for image in images]
    seen = Seen(
        np.concatenate([part.azimuth_deg for part in parts]),
        np.concatenate([part.points for part in parts]),
    )
    pixels = read_images([image.file for image in images])
    return load_or_train(path, pixels, seen, steps=steps)


def seen_in(fits: BodyFits, rows: Sequence[int]) -> Seen:
    """Read poses and viewpoints of images from their fits."""
    body = load_body()
    points = [points_of(fits.request(row), body) for row in rows]
    azimuths = [fits.viewpoint(row)[0] for row in rows]
    return Seen(np.array(azimuths), np.stack(points))


def files_of(root: Path) -> tuple[list[Path], np.ndarray, list[int]]:
    """List files, identities and numbers of the images of a set, by identity and number."""
    _, rows = read_set(root)
    rows = sorted(rows, key=lambda row: (row.image.person_id, row.image.file_name))
    pids = np.array([row.image.person_id for row in rows])
    return [row.path for row in rows], pids, [number_of(row.path) for row in rows]


def number_of(path: Path) -> int:
    """Read the number of an image among those of its identity from its file's name."""
    first = path.stem.partition("_")[0]
    return int(first) if first.isdigit() else index_of(path.name)
