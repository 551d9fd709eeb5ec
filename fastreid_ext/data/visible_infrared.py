"""Describe visible-infrared data sets: modality of an image, rule of the test.

A data set of both modalities has a static method ``modality_of(path)`` (0 visible, 1 infrared), and
a test set a :class:`VisibleInfraredTest` as its attribute ``visible_infrared_test``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fastreid.data.datasets import DATASET_REGISTRY

VISIBLE = 0
INFRARED = 1
MODALITIES = ("visible", "infrared")


@dataclass(frozen=True)
class VisibleInfraredTest:
    """Rule by which a test set is evaluated.

    Attributes:
        rule: published rule: "sysu", "regdb" or "llcm".
        direction: "visible_to_infrared" or "infrared_to_visible"; the first is the query's.
        search: "all" or "indoor", for rule "sysu".
        drawn: side of which an image stands for each identity and camera: "gallery", or "query" as
            in LLCM's released code; "" where all images are tested.
        permutations: path of the file of official permutations below DATASETS.ROOT; "" if the set
            has none.
    """

    rule: Literal["sysu", "regdb", "llcm"]
    direction: Literal["visible_to_infrared", "infrared_to_visible"]
    search: Literal["all", "indoor"] = "all"
    drawn: Literal["gallery", "query", ""] = "gallery"
    permutations: str = ""

    @property
    def arrow(self) -> str:
        """Direction for a table, "infrared -> visible"."""
        return self.direction.replace("_to_", " -> ")


def visible_infrared_test(name: str) -> VisibleInfraredTest | None:
    """Look up the rule of a registered test set; None for other sets."""
    known = DATASET_REGISTRY._obj_map.get(name)  # without an error for unknown names
    return getattr(known, "visible_infrared_test", None)


def expect_both_modalities(what: str, identities: Sequence[set[int]]) -> None:
    """Check that identities have images of both modalities.

    Args:
        what: name of the data set and the split, for the error.
        identities: identities of the visible images, and of the infrared ones.

    Raises:
        ValueError: an identity lacks a modality.
    """
    for modality, own, other in zip(MODALITIES, identities, identities[::-1], strict=True):
        missing = sorted(other - own)
        if missing:
            raise ValueError(
                f"{what}: expected visible and infrared images of each identity, got no {modality} "
                f"ones of {len(missing)}, e.g. {', '.join(map(str, missing[:3]))}; unpack the set "
                "again"
            )
