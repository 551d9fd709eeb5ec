"""Pairs of a reference and a target image that show one identity.

Letters: N images.
"""

import logging
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from fastreid_ext.generation.identities.tracklets import frames_of
from fastreid_ext.generation.pose_guided.training_images import TrainingImage

logger = logging.getLogger(__name__)


class Pairs:
    """Samples pairs (reference, target) of positions of N images.

    Every identity (or sequence) is equally likely, and so is each of its images as a target. Under
    "identity" the reference is of another camera where there is one; under "frames" both are of one
    sequence of a camera, and their frames are at least ``min_gap`` apart. Frames and sequences are
    those of the file names; files that have none are counted in their natural order.

    Args:
        images: N training images of all identities.
        kind: kind of the pairs, "identity" or "frames".
        min_gap: least distance of two frames.

    Raises:
        ValueError: no identity has a pair.
    """

    def __init__(self, images: Sequence[TrainingImage], kind: str, min_gap: int = 1) -> None:
        self._is_by_frame = kind == "frames"
        self._gap = min_gap
        self._cameras = np.array([image.camera for image in images])
        self._frames = np.zeros(len(images), dtype=np.int64)
        groups = self._sequences(images) if self._is_by_frame else _identities(images)
        # Images that have a partner, each with the images of its group.
        self._groups = [(targets, own) for own in groups if (targets := self._targets(own))]
        left_out = len(groups) - len(self._groups)
        what = "sequences" if self._is_by_frame else "identities"
        if not self._groups:
            raise ValueError(_no_pair(len(groups), what, min_gap))
        if left_out:
            logger.warning("%d of %d %s have no pair and are left out", left_out, len(groups), what)

    def sample(self, rng: np.random.Generator) -> tuple[int, int]:
        """Sample a reference and a target."""
        targets, own = self._groups[rng.integers(len(self._groups))]
        target = targets[rng.integers(len(targets))]
        if self._is_by_frame:
            others = own[np.abs(self._frames[own] - self._frames[target]) >= self._gap]
        else:
            others = own[self._cameras[own] != self._cameras[target]]
            others = others if len(others) else own[own != target]
        return int(others[rng.integers(len(others))]), int(target)

    def _sequences(self, images: Sequence[TrainingImage]) -> list[np.ndarray]:
        """Group the images by identity, camera and sequence, and note their frames."""
        by_camera: dict[tuple, list[int]] = defaultdict(list)
        for place, image in enumerate(images):
            by_camera[(*image.identity, image.camera)].append(place)
        groups: dict[tuple, list[int]] = defaultdict(list)
        for key, places in by_camera.items():
            found = frames_of([images[place].file.name for place in places])
            for place, (sequence, frame) in zip(places, found, strict=True):
                groups[(*key, sequence)].append(place)
                self._frames[place] = frame
        return [np.array(places) for places in groups.values()]

    def _targets(self, own: np.ndarray) -> list[int]:
        """List the images of a group that have a partner in it."""
        if not self._is_by_frame:
            return own.tolist() if len(own) > 1 else []
        frames = self._frames[own]
        furthest = np.maximum(frames - frames.min(), frames.max() - frames)
        return own[furthest >= self._gap].tolist()


def _identities(images: Sequence[TrainingImage]) -> list[np.ndarray]:
    groups: dict[tuple, list[int]] = defaultdict(list)
    for place, image in enumerate(images):
        groups[image.identity].append(place)
    return [np.array(places) for places in groups.values()]


def _no_pair(count: int, what: str, min_gap: int) -> str:
    if what == "sequences":
        return (
            f"expected sequences with two frames at least {min_gap} apart that have a body fit, "
            f"got {count} sequences without; give more fits, or lower "
            "GENERATION.POSE_GUIDED.MIN_GAP"
        )
    return (
        f"expected identities of at least 2 images with a body fit, got {count} with fewer; give "
        "more fits"
    )
