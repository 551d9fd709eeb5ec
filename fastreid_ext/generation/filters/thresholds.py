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

_FEW = 30  # photographs; a percentile of fewer is much chance


@dataclasses.dataclass(frozen=True, kw_only=True)
class Thresholds:
    """What decides on a drawing, given its scores.

    Attributes:
        use: filters that decide; the first ranks the drawings of an identity.
        most: drawings kept of an identity, 0 = all.
        reid: least similarity by data set of the person; "" for those that are not named.
        nearest: whether another person's photographs may not be nearer.
        cctf: least probability of the right person.
        clip: least probability of the wanted text.
        duplicates: least distance to a kept better drawing, in bits of 64.
    """

    use: tuple[str, ...] = ("reid",)
    most: int = 0
    reid: Mapping[str, float] = dataclasses.field(default_factory=lambda: {"": 0.6})
    nearest: bool = True
    cctf: float = 0.5
    clip: float = 0.5
    duplicates: int = 4

    def reid_of(self, data_set: str) -> float:
        """Return the least similarity for persons of a data set."""
        return self.reid.get(data_set, self.reid.get("", -1.0))


def thresholds_of(filters: CfgNode, source: SourceFeatures | None) -> Thresholds:
    """Return what ``GENERATION.FILTER`` says.

    With RULE percentile each data set gets its own threshold: the PERCENTILE of the similarities of
    its photographs, each to the mean of the others of its person, so that PERCENTILE % of the
    photographs themselves would be refused. A model knows the photographs it was trained on better
    than others of the same persons, so of new ones it refuses more: with a small one, trained for
    three minutes on 12 rendered persons, 35 % instead of 10 %.

    Args:
        filters: ``GENERATION.FILTER``.
        source: of the photographs; only RULE percentile needs it.

    Raises:
        ValueError: no data set has a person with two photographs.
    """
    reid = {"": float(filters.REID.THRESHOLD)}
    if filters.REID.RULE == "percentile":
        reid = {} if source is None else _percentiles(source, filters.REID.PERCENTILE)
    return Thresholds(
        use=tuple(filters.USE),
        most=filters.MAX_PER_IDENTITY,
        reid=reid,
        nearest=filters.REID.NEAREST,
        cctf=filters.CCTF.THRESHOLD,
        clip=filters.CLIP.THRESHOLD,
        duplicates=filters.DUPLICATES.MIN_DISTANCE,
    )


def write_thresholds(path: Path, thresholds: Thresholds, source: SourceFeatures | None) -> None:
    """Write thresholds for a person to read, with the photographs they are from."""
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_text(path, thresholds_as_json(thresholds, source))


def thresholds_as_json(thresholds: Thresholds, source: SourceFeatures | None) -> str:
    """Return what :func:`write_thresholds` writes."""
    values = dataclasses.asdict(thresholds)
    if source is not None:
        values["photographs"] = {
            data_set: _summary(source, data_set, thresholds) for data_set in source.data_sets()
        }
    return json.dumps(values, indent=2) + "\n"


def _percentiles(source: SourceFeatures, percentile: float) -> dict[str, float]:
    thresholds = {}
    for data_set in source.data_sets():
        real = source.real_similarities(data_set)
        if not len(real):
            raise ValueError(
                f"no person of {data_set} has two readable photographs, so there is no similarity "
                "to take a percentile of; set GENERATION.FILTER.REID.RULE fixed, or take reid out "
                "of GENERATION.FILTER.USE"
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
    return {
        "compared": len(real),
        "mean_similarity": round(float(real.mean()), 5),
        "share_that_would_be_kept": round(float((real >= thresholds.reid_of(data_set)).mean()), 5),
    }
