"""Thresholds of the filters: computed from settings and real images, and written to a file."""

import dataclasses
import json
import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from fastreid.config import CfgNode

from fastreid_ext.atomic import atomic_write_text
from fastreid_ext.generation.filters.reid import SourceFeatures

logger = logging.getLogger(__name__)

_NO_THRESHOLD = -1.0  # the smallest cosine
_FEW = 30  # real images; a percentile of fewer depends much on chance


@dataclasses.dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Thresholds that decide on an image, given its scores.

    Attributes:
        use: filters that decide; the first ranks the images of an identity.
        max_images: maximum images kept per identity; 0 means no limit.
        min_images: images kept per identity even if filters reject them, the best first; 0 for
            none.
        reid: smallest similarity by data set of the identity; "" for all data sets not listed.
        require_nearest: whether the nearest real images must be those of the right identity.
        cctf: smallest probability of the right identity.
        clip: smallest probability of the wanted text.
        duplicates: smallest distance to a kept better image, in bits of 64.
    """

    use: tuple[str, ...] = ("reid",)
    max_images: int = 0
    min_images: int = 0
    reid: Mapping[str, float] = dataclasses.field(default_factory=lambda: {"": 0.6})
    require_nearest: bool = True
    cctf: float = 0.5
    clip: float = 0.5
    duplicates: int = 4

    def reid_of(self, data_set: str) -> float:
        """Return the smallest similarity for identities of a data set."""
        return self.reid.get(data_set, self.reid.get("", -1.0))


def thresholds_of(filters: CfgNode, sources: Mapping[str, SourceFeatures]) -> Thresholds:
    """Compute the thresholds of ``GENERATION.FILTER``.

    With RULE percentile each data set gets its own threshold: the PERCENTILE of the similarities of
    real images that the model was not trained on, each to the mean of the others of its identity,
    so that PERCENTILE % of those would be rejected.

    Args:
        filters: node ``GENERATION.FILTER`` of the configuration.
        sources: data set -> features of its real images; needed by RULE percentile alone.

    Raises:
        ValueError: a data set has no identity with two real images, or only real images that the
            model was trained on have similarities.
    """
    reid = {"": _NO_THRESHOLD}
    if filters.REID.RULE == "fixed":
        reid = {"": float(filters.REID.THRESHOLD)}
    if filters.REID.RULE == "percentile":
        reid = _percentiles(sources, filters.REID.PERCENTILE)
    return Thresholds(
        use=tuple(filters.USE),
        max_images=filters.MAX_PER_IDENTITY,
        min_images=filters.MIN_PER_IDENTITY,
        reid=reid,
        require_nearest=filters.REID.NEAREST,
        cctf=filters.CCTF.THRESHOLD,
        clip=filters.CLIP.THRESHOLD,
        duplicates=filters.DUPLICATES.MIN_DISTANCE,
    )


def write_thresholds(
    path: Path, thresholds: Thresholds, sources: Mapping[str, SourceFeatures]
) -> None:
    """Write thresholds for people to read, with a summary of the real images behind them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_text(path, thresholds_as_json(thresholds, sources))


def thresholds_as_json(thresholds: Thresholds, sources: Mapping[str, SourceFeatures]) -> str:
    """Format thresholds and a summary of the real images as JSON."""
    values = dataclasses.asdict(thresholds)
    if sources:
        values["real_images"] = {
            data_set: _summary(source, data_set, thresholds)
            for data_set, source in sorted(sources.items())
        }
    return json.dumps(values, indent=2) + "\n"


def _percentiles(sources: Mapping[str, SourceFeatures], percentile: float) -> dict[str, float]:
    thresholds = {}
    for data_set, source in sorted(sources.items()):
        real = source.unseen_similarities(data_set)
        if real is None:
            raise ValueError(
                f"expected real images of {data_set} that the Re-ID model was not trained on for "
                "GENERATION.FILTER.REID.RULE percentile, got only its training images; run "
                "without --decide-only, with the model, or set RULE nearest or fixed"
            )
        if not len(real):
            raise ValueError(
                f"no identity of {data_set} has two readable real images, so there is no "
                "similarity to take a percentile of; set GENERATION.FILTER.REID.RULE nearest or "
                "fixed, or take reid out of GENERATION.FILTER.USE"
            )
        if len(real) < _FEW:
            logger.warning(
                "The threshold for %s comes from %d real images only; RULE fixed may be safer",
                data_set,
                len(real),
            )
        thresholds[data_set] = round(float(np.percentile(real, percentile)), 5)
    return thresholds


def _summary(source: SourceFeatures, data_set: str, thresholds: Thresholds) -> dict[str, float]:
    real = source.real_similarities(data_set)
    if not len(real):
        return {"compared": 0}
    unseen = source.unseen.get(data_set)
    return {
        "compared": len(real),
        "mean_similarity": round(float(real.mean()), 5),
        "share_that_would_be_kept": round(float((real >= thresholds.reid_of(data_set)).mean()), 5),
        **({} if unseen is None else {"unseen_compared": len(unseen)}),
    }
