"""Score drawings: one number a filter for each image with a file, written into its row.

Letters: N images.

The keys of the scores are the same in all rows. A score that cannot be told has a value outside of
what is possible, or the least possible: -1 for ``cctf``, ``clip`` and ``reid_similarity``, -2 for
``reid_margin``.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fastreid_ext.generation.filters.classifier import own_probabilities
from fastreid_ext.generation.filters.records import Pixels
from fastreid_ext.generation.filters.reid import (
    NO_MARGIN,
    NO_SIMILARITY,
    Person,
    SourceFeatures,
    reid_scores,
)
from fastreid_ext.manifest import GeneratedImage

SIMILARITY, MARGIN, CCTF, CLIP = "reid_similarity", "reid_margin", "cctf", "clip"
DUPLICATE = "duplicate_distance"
UNKNOWN = {SIMILARITY: NO_SIMILARITY, MARGIN: NO_MARGIN, CCTF: -1.0, CLIP: -1.0}
# Filter -> its scores, the one that ranks first.
KEYS = {"reid": (SIMILARITY, MARGIN), "cctf": (CCTF,), "clip": (CLIP,), "duplicates": (DUPLICATE,)}
_DIGITS = 5

Features = Callable[[Sequence[Pixels]], NDArray[np.float32]]


class Classifier(Protocol):
    """Probabilities (N, C) of images, and the names of the C persons."""

    persons: Sequence[str]

    def __call__(self, images: Sequence[Pixels]) -> NDArray[np.float32]:
        """Return (N, C) in [0, 1]."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scorers:
    """The models that score; None where there is none.

    Attributes:
        features: Re-ID features (N, D) of images.
        source: of the photographs, by the same model.
        classifier: probabilities (N, C) of the persons.
        clip: probability (N,) of the wanted text.
    """

    features: Features | None = None
    source: SourceFeatures | None = None
    classifier: Classifier | None = None
    clip: Callable[[Sequence[Pixels]], NDArray[np.float32]] | None = None


def score_images(
    images: Sequence[Pixels], persons: Sequence[Person], scorers: Scorers
) -> dict[str, NDArray[np.float32]]:
    """Return score -> (N,) of the scorers there are.

    Args:
        images: N, (H, W, 3) RGB in [0, 255].
        persons: N, whom each should show.
        scorers: the models.
    """
    scores: dict[str, NDArray[np.float32]] = {}
    if not len(images):
        return scores
    if scorers.features is not None and scorers.source is not None:
        found = reid_scores(scorers.features(images), persons, scorers.source)
        scores |= dict(zip(KEYS["reid"], found, strict=True))
    if scorers.classifier is not None:
        probabilities = scorers.classifier(images)
        scores[CCTF] = own_probabilities(probabilities, persons, scorers.classifier.persons)
    if scorers.clip is not None:
        scores[CLIP] = scorers.clip(images)
    return scores


def with_scores(image: GeneratedImage, scores: Mapping[str, float]) -> GeneratedImage:
    """Return a row with some scores added or replaced."""
    rounded = {name: round(float(score), _DIGITS) for name, score in scores.items()}
    return dataclasses.replace(image, scores=dict(sorted({**image.scores, **rounded}.items())))
