"""Pairs of a reference and a target image that show one identity.

Letters: N images.
"""

import logging
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from fastreid_ext.generation.pose_guided.training_images import TrainingImage

logger = logging.getLogger(__name__)


class Pairs:
    """Samples pairs (reference, target) of positions of N images.

    Every identity is equally likely, and so is each of its images as a target. Under "identity" the
    reference is of another camera where there is one; under "frames" both are of one camera and at
    least ``min_gap`` frames apart, by the order of their file names.

    Args:
        images: N training images of all identities.
        kind: kind of the pairs, "identity" or "frames".
        min_gap: least distance of two frames.

    Raises:
        ValueError: no identity has a pair.
    """

    def __init__(self, images: Sequence[TrainingImage], kind: str, min_gap: int = 1) -> None:
        groups: dict[tuple, list[int]] = defaultdict(list)
        for place, image in enumerate(images):
            camera = (image.camera,) if kind == "frames" else ()
            groups[(*image.identity, *camera)].append(place)
        needed = min_gap + 1 if kind == "frames" else 2
        self._groups = [places for places in groups.values() if len(places) >= needed]
        self._gap = min_gap if kind == "frames" else 0
        self._cameras = np.array([image.camera for image in images])
        left_out = len(groups) - len(self._groups)
        what = "sequences" if kind == "frames" else "identities"
        if not self._groups:
            lower = ", or lower GENERATION.POSE_GUIDED.MIN_GAP" if kind == "frames" else ""
            raise ValueError(
                f"expected {what} of at least {needed} images with a body fit, got {len(groups)} "
                f"with fewer; give more fits{lower}"
            )
        if left_out:
            logger.warning("%d of %d %s have no pair and are left out", left_out, len(groups), what)

    def sample(self, rng: np.random.Generator) -> tuple[int, int]:
        """Sample a reference and a target."""
        places = self._groups[rng.integers(len(self._groups))]
        at = int(rng.integers(len(places)))
        target = places[at]
        if self._gap:
            others = [place for i, place in enumerate(places) if abs(i - at) >= self._gap]
            if not others:  # in the middle of a short sequence
                at = 0
                target = places[0]
                others = places[self._gap :]
        else:
            others = [p for p in places if self._cameras[p] != self._cameras[target]]
            others = others or [place for place in places if place != target]
        return int(others[rng.integers(len(others))]), target
