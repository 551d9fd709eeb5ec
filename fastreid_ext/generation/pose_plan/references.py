"""Choose the reference images of identities: those that show the person."""

import itertools
import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import cv2
import numpy as np
from fastreid.config import CfgNode

from fastreid_ext.bodies.fits_check import is_nearly_one_colour, misplaced_rows
from fastreid_ext.generation.pose_guided.training_images import TrainingImage

logger = logging.getLogger(__name__)

_EXAMPLES = 3  # images that a warning names


def references_of(
    cfg: CfgNode, images: Sequence[TrainingImage]
) -> dict[tuple[str, int], list[TrainingImage]]:
    """Choose the references of each identity, one camera after the other.

    An image is no reference if its fit puts the body outside of it, or if it is nearly of one
    colour. An identity without any reference is left out. Both are logged. Files that cannot be
    read are left to the job, which names them.

    Args:
        cfg: configuration of the plan.
        images: training images with their fits.

    Returns:
        Up to ``GENERATION.POSE_PLAN.REFERENCES`` images by data set and number of the identity, in
        the order of these.

    Raises:
        ValueError: no identity has a reference.
    """
    own: dict[tuple[str, int], list[TrainingImage]] = defaultdict(list)
    for image in images:
        own[image.identity].append(image)
    misplaced = _misplaced(images, cfg.GENERATION.POSE_GUIDED.BODY_MODEL or None)
    reasons: dict[str, str] = {}
    most = cfg.GENERATION.POSE_PLAN.REFERENCES
    chosen = {
        identity: list(itertools.islice(_showing(own[identity], misplaced, reasons), most))
        for identity in sorted(own)
    }
    found = {identity: references for identity, references in chosen.items() if references}
    without = [f"{name}_{pid:04d}" for (name, pid), references in chosen.items() if not references]
    if not found:
        raise ValueError(
            f"expected a reference image that shows the person, got none for {len(without)} "
            f"identities: {_examples(reasons)}; find the fits that are wrong with "
            "tools/pose_persons.py check-fits"
        )
    if reasons:
        logger.warning(
            "%d images show no person and are no references (%s); tools/pose_persons.py check-fits "
            "lists such images",
            len(reasons),
            _examples(reasons),
        )
    if without:
        logger.warning(
            "%d identities have no image that shows the person, and none of them is planned: %s",
            len(without),
            ", ".join(without[:_EXAMPLES]) + (", ..." if len(without) > _EXAMPLES else ""),
        )
    return found


def _misplaced(images: Sequence[TrainingImage], body_path: str | None) -> dict[int, np.ndarray]:
    """Mask the misplaced fits of each data set, by the id of its fits."""
    fits = {id(image.fits): image.fits for image in images}
    return {key: misplaced_rows(of_set, body_path) for key, of_set in fits.items()}


def _showing(
    images: Iterable[TrainingImage], misplaced: Mapping[int, np.ndarray], reasons: dict[str, str]
) -> Iterator[TrainingImage]:
    """Yield the images that show the person, one camera after the other; note why others do not."""
    for image in _by_turns(images):
        name = str(image.fits.file_names[image.row])
        if misplaced[id(image.fits)][image.row]:
            reasons[name] = "the body of its fit lies outside the image"
        elif _is_one_colour(image):
            reasons[name] = "the image is nearly of one colour"
        else:
            yield image


def _is_one_colour(image: TrainingImage) -> bool:
    pixels = cv2.imread(str(image.file), cv2.IMREAD_COLOR)
    return pixels is not None and is_nearly_one_colour(pixels)


def _by_turns(images: Iterable[TrainingImage]) -> list[TrainingImage]:
    """Order images so that the cameras take turns."""
    cameras: dict[int, list[TrainingImage]] = defaultdict(list)
    for image in images:
        cameras[image.camera].append(image)
    rounds = max(map(len, cameras.values()))
    return [own[i] for i in range(rounds) for own in cameras.values() if i < len(own)]


def _examples(reasons: Mapping[str, str]) -> str:
    some = [f"{name}: {reason}" for name, reason in itertools.islice(reasons.items(), _EXAMPLES)]
    return ", ".join(some) + (", ..." if len(reasons) > _EXAMPLES else "")
