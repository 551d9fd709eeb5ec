"""Test sets whose result is the mean of ten splits: VIPeR, PRID, GRID and iLIDS.

Each split is a data set of its own, ``VIPeR_split0`` to ``VIPeR_split9`` and so on, in the
single-shot protocol: one query and one true match for each test identity. ``protocols.ten_splits``
lists the names, ``protocols.group_of`` maps a name to its small set. The other identities of a
split are its training images.

- VIPeR: 632 identities in two cameras; 316 are tested, camera a against camera b.
- PRID: 385 identities in camera a, 749 in b, 200 in both; 100 of the 200 are tested, camera a
  against 649 images of camera b: their own and the 549 that only camera b has.
- GRID: 250 pairs and 775 images of unknown identities (pid 0); 125 are tested, "probe" against 900
  images of "gallery".
- iLIDS: 476 images of 119 identities; 60 are tested, two images of each, chosen at random.

Where conventions differ: torchreid tests VIPeR in both directions (20 results), DualNorm [1] and
MetaBIN's table [0] from camera a to b (10), as is done here. i-LIDS has no camera labels: each
image counts as a camera of its own, as in [0].

The test identities of a split come from ``splits.json`` (PRID: ``splits_single_shot.json``) in the
set's folder if it exists, as torchreid and MetaBIN write it, so that results are comparable with
theirs; for GRID from the official ``features_and_partitions.mat`` (``trainIdxAll``); otherwise from
a choice by hash that is the same on every machine.

[0] fastreid/data/datasets/DG_*.py and README in https://github.com/bismex/MetaBIN
[1] person_reID_DualNorm/evaluate in https://github.com/BJTUJia/person_reID_DualNorm
"""

import os
from pathlib import Path
from typing import Any, ClassVar

from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset

from fastreid_ext.data.datasets.small_sets import READERS, Image, SmallSet
from fastreid_ext.data.datasets.split_files import grid_partition, listed_test
from fastreid_ext.data.hash_shuffle import hash_shuffle
from fastreid_ext.data.protocols import TEN_SPLITS, ten_splits


def split_of(
    small: SmallSet, name: str, number: int
) -> tuple[list[Image], list[Image], list[Image]]:
    """Divide a small set into training, query and gallery images of a split.

    Args:
        small: images of the small set.
        name: small set: "VIPeR", "PRID", "GRID" or "iLIDS".
        number: number of the split, 0 to 9.
    """
    identities = sorted({pid for _, pid, _ in small.queries} & {pid for _, pid, _ in small.matches})
    listed = listed_test(small.folder, name, number)
    if listed is not None:
        query, gallery = _listed_images(small, listed)
    else:
        test = _test_identities(small, name, number, identities)
        query, gallery = _images_of(small, name, number, test)
    tested = {pid for _, pid, _ in query}
    candidates = dict.fromkeys([*small.queries, *small.matches])
    return [image for image in candidates if image[1] not in tested], query, gallery


def _test_identities(small: SmallSet, name: str, number: int, identities: list[int]) -> set[int]:
    training = grid_partition(small.folder, number) if name == "GRID" else None
    if training is not None:
        return set(identities) - training
    order = hash_shuffle(map(str, identities), name, "split", number)
    return set(map(int, order[: len(identities) - len(identities) // 2]))


def _images_of(
    small: SmallSet, name: str, number: int, test: set[int]
) -> tuple[list[Image], list[Image]]:
    query = [image for image in small.queries if image[1] in test]
    gallery = [image for image in small.matches if image[1] in test]
    if name == "iLIDS":  # queries and matches are the same images: take one for each
        chosen = [_two_of(query, pid, number) for pid in sorted(test)]
        query = [pair[0] for pair in chosen]
        gallery = [pair[1] for pair in chosen]
    return query, [*gallery, *small.others]


def _two_of(images: list[Image], pid: int, number: int) -> tuple[Image, Image]:
    own = {os.path.basename(image[0]): image for image in images if image[1] == pid}
    first, second = hash_shuffle(own, "iLIDS", "images", number)[:2]
    return own[first], own[second]


def _listed_images(small: SmallSet, listed: tuple[set, set]) -> tuple[list[Image], list[Image]]:
    """Select the images that a split file lists by name or, for PRID, by identity."""
    query = [image for image in small.queries if _is_listed(image, listed[0])]
    gallery = [image for image in small.matches if _is_listed(image, listed[1])]
    if len(query) != len(listed[0]):
        raise ValueError(
            f"the split file in {small.folder} lists {len(listed[0])} queries, of which "
            f"{len(query)} exist; move it away to use our own splits"
        )
    return query, [*gallery, *small.others]


def _is_listed(image: Image, side: set) -> bool:
    return os.path.basename(image[0]) in side or image[1] in side


class TenSplits(ImageDataset):
    """One split of a small set; registered subclasses set the two class attributes."""

    group: ClassVar[str] = ""
    number: ClassVar[int] = 0

    def __init__(self, root: str = "datasets", **kwargs: Any) -> None:
        train, query, gallery = split_of(READERS[self.group](Path(root)), self.group, self.number)
        name = self.dataset_name
        train = [(path, f"{name}_{pid}", f"{name}_{camid}") for path, pid, camid in train]
        super().__init__(train, query, gallery, **kwargs)


def _register() -> None:
    for group in TEN_SPLITS:
        for number, name in enumerate(ten_splits(group)):
            attributes = {
                "group": group,
                "number": number,
                "dataset_name": group.lower(),
                "__doc__": f"Split {number} of {group}; see {__name__}.",
                "__module__": __name__,
            }
            DATASET_REGISTRY.register(type(name, (TenSplits,), attributes))


_register()
