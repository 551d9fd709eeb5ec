"""From settings and photographs to the numbers that decide, and the file that keeps them."""

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

_NO_THRESHOLD = -1.0  # the least cosine
_FEW = 30  # photographs; a percentile of fewer is much chance


@dataclasses.dataclass(frozen=True, kw_only=True)
class Thresholds:
    """What decides on a drawing, given its scores.

    Attributes:
        use: filters that decide; the first ranks the drawings of an identity.
        most: drawings kept of an identity, 0 = all.
        least: drawings kept of an identity even if filters reject them, the best; 0 = none.
        reid: least similarity by data set of the person; "" for those that are not named.
        nearest: whether another person's photographs may not be nearer.
        cctf: least probability of the right person.
        clip: least probability of the wanted text.
        duplicates: least distance to a kept better drawing, in bits of 64.
    """

    use: tuple[str, ...] = ("reid",)
    most: int = 0
    least: int = 0
    reid: Mapping[str, float] = dataclasses.field(default_factory=lambda: {"": 0.6})
    nearest: bool = True
    cctf: float = 0.5
    clip: float = 0.5
    duplicates: int = 4

    def reid_of(self, data_set: str) -> float:
        """Return the least similarity for persons of a data set."""
        return self.reid.get(data_set, self.reid.get("", -1.0))


def thresholds_of(filters: CfgNode, sources: Mapping[str, SourceFeatures]) -> Thresholds:
    """Return what ``GENERATION.FILTER`` says.

    With RULE percentile each data set gets its own threshold: the PERCENTILE of the similarities of
    photographs that the model was not trained on, each to the mean of the others of its person, so
    that PERCENTILE % of those would be refused.

    Args:
        filters: ``GENERATION.FILTER``.
        sources: data set to features of its photographs; only RULE percentile needs them.

    Raises:
        ValueError: a data set has no person with two photographs, or only photographs that the
            model was trained on were looked at.
    """
    reid = {"": _NO_THRESHOLD}
    if filters.REID.RULE == "fixed":
        reid = {"": float(filters.REID.THRESHOLD)}
    if filters.REID.RULE == "percentile":
        reid = _percentiles(sources, filters.REID.PERCENTILE)
    return Thresholds(
        use=tuple(filters.USE),
        most=filters.MAX_PER_IDENTITY,
        least=filters.MIN_PER_IDENTITY,
        reid=reid,
        nearest=filters.REID.NEAREST,
        cctf=filters.CCTF.THRESHOLD,
        clip=filters.CLIP.THRESHOLD,
        duplicates=filters.DUPLICATES.MIN_DISTANCE,
    )


def write_thresholds(
    path: Path, thresholds: Thresholds, sources: Mapping[str, SourceFeatures]
) -> None:
    """Write thresholds for a person to read, with the photographs they are from."""
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_text(path, thresholds_as_json(thresholds, sources))


def thresholds_as_json(thresholds: Thresholds, sources: Mapping[str, SourceFeatures]) -> str:
    """Return what :func:`write_thresholds` writes."""
    values = dataclasses.asdict(thresholds)
    if sources:
        values["photographs"] = {
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
                f"expected photographs of {data_set} that the Re-ID model was not trained on for "
                "GENERATION.FILTER.REID.RULE percentile, got only its training photographs; run "
                "without --decide-only, with the model, or set RULE nearest or fixed"
            )
        if not len(real):
            raise ValueError(
                f"no person of {data_set} has two readable photographs, so there is no similarity "
                "to take a percentile of; set GENERATION.FILTER.REID.RULE nearest or fixed, or "
                "take reid out of GENERATION.FILTER.USE"
            )
        if len(real) < _FEW:
            logger.warning(
                "The threshold for %s comes from %d photographs only; RULE fixed may be safer",
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
