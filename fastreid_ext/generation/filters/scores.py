"""Scores of generated images: one number per filter and image, written into the row.

Letters: N images, C classes of the classifier.

All rows have the same keys of scores. A score that cannot be computed has a value below the
possible range, or its minimum: -1 for ``cctf``, ``clip`` and ``reid_similarity``, -2 for
``reid_margin``.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
from fastreid.data.datasets import DATASET_REGISTRY
from numpy.typing import NDArray

from fastreid_ext.generation.filters.records import Pixels
from fastreid_ext.generation.filters.reid import (
    NO_MARGIN,
    NO_SIMILARITY,
    IdentityKey,
    SourceFeatures,
    reid_scores,
)
from fastreid_ext.manifest import GeneratedImage

SIMILARITY = "reid_similarity"
MARGIN = "reid_margin"
CCTF = "cctf"
CLIP = "clip"
DUPLICATE = "duplicate_distance"
UNKNOWN_IDENTITY = -1.0  # probability by a classifier that was not trained on the identity
UNKNOWN = {SIMILARITY: NO_SIMILARITY, MARGIN: NO_MARGIN, CCTF: UNKNOWN_IDENTITY, CLIP: -1.0}
# Filter -> its scores, the one that ranks first.
KEYS = {"reid": (SIMILARITY, MARGIN), "cctf": (CCTF,), "clip": (CLIP,), "duplicates": (DUPLICATE,)}
_DIGITS = 5

Features = Callable[[Sequence[Pixels]], NDArray[np.float32]]


class Classifier(Protocol):
    """Classifier of images with the names of its C identities."""

    identities: Sequence[str]

    def __call__(self, images: Sequence[Pixels]) -> NDArray[np.float32]:
        """Compute (N, C) probabilities in [0, 1]."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scorers:
    """Models that score; None for a filter without one.

    Attributes:
        features: Re-ID model that maps images to features (N, D).
        source: features of the real images by the same model.
        classifier: classifier that maps images to probabilities (N, C).
        clip: model that maps images to probabilities (N,) of the wanted text.
    """

    features: Features | None = None
    source: SourceFeatures | None = None
    classifier: Classifier | None = None
    clip: Callable[[Sequence[Pixels]], NDArray[np.float32]] | None = None


def score_images(
    images: Sequence[Pixels], identities: Sequence[IdentityKey], scorers: Scorers
) -> dict[str, NDArray[np.float32]]:
    """Score images by all models there are.

    Args:
        images: N images (H, W, 3) uint8 RGB.
        identities: identity that each of the N images should show.
        scorers: models of the filters that score.

    Returns:
        Key of a score -> its (N,) values; {} without images.
    """
    scores: dict[str, NDArray[np.float32]] = {}
    if not len(images):
        return scores
    if scorers.features is not None and scorers.source is not None:
        found = reid_scores(scorers.features(images), identities, scorers.source)
        scores |= dict(zip(KEYS["reid"], found, strict=True))
    if scorers.classifier is not None:
        probabilities = scorers.classifier(images)
        classes = scorers.classifier.identities
        scores[CCTF] = identity_probabilities(probabilities, identities, classes)
    if scorers.clip is not None:
        scores[CLIP] = scorers.clip(images)
    return scores


def identity_probabilities(
    probabilities: NDArray[np.float32], identities: Sequence[IdentityKey], classes: Sequence[str]
) -> NDArray[np.float32]:
    """Select the probability of the right identity for each image, -1 if it is not a class.

    Args:
        probabilities: (N, C) probabilities in [0, 1].
        identities: identity that each of the N images should show.
        classes: names of the C classes in fastreid's training items, such as "market1501_2".

    Returns:
        (N,) probabilities.
    """
    columns = {name: number for number, name in enumerate(classes)}
    own = np.full(len(identities), UNKNOWN_IDENTITY, dtype=np.float32)
    for row, identity in enumerate(identities):
        column = columns.get(training_name(identity))
        if column is not None:
            own[row] = probabilities[row, column]
    return own


def training_name(identity: IdentityKey) -> str:
    """Build fastreid's name of an identity, as ``DATASETS.GENERATED.PERSON_IDS kept`` does."""
    data_set, number = identity
    try:
        return f"{DATASET_REGISTRY.get(data_set).dataset_name}_{number}"
    except KeyError:  # an unregistered set, on which no classifier was trained
        return f"{data_set}_{number}"


def with_scores(image: GeneratedImage, scores: Mapping[str, float]) -> GeneratedImage:
    """Copy a row with some scores added or replaced."""
    rounded = {name: round(float(score), _DIGITS) for name, score in scores.items()}
    return dataclasses.replace(image, scores=dict(sorted({**image.scores, **rounded}.items())))
