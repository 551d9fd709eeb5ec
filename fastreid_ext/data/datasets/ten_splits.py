"""Test sets whose result is the mean of ten splits: VIPeR, PRID, GRID and iLIDS.

Each split is a data set of its own, ``VIPeR_split0`` to ``VIPeR_split9`` and so on, in the
single-shot protocol: one query and one true match for each test person. ``protocols.ten_splits``
gives the names, ``protocols.group_of`` the set a name belongs to. The persons of a split that are
not tested are its training images.

- VIPeR: 632 persons in two cameras; 316 are tested, camera a against camera b.
- PRID: 385 persons in camera a, 749 in b, 200 in both; 100 of the 200 are tested, camera a against
  649 images of camera b: their own and the 549 that are only there.
- GRID: 250 pairs and 775 images of other persons (person 0); 125 are tested, "probe" against 900
  images of "gallery".
- iLIDS: 476 images of 119 persons; 60 are tested, one image against another of each, by chance.

Where conventions differ: torchreid tests VIPeR in both directions (20 results), DualNorm [1] and
MetaBIN's table [0] from camera a to b (10); so do we. i-LIDS has no camera labels: each image
counts as a camera of its own, as in [0].

Which persons a split tests: ``splits.json`` (PRID: ``splits_single_shot.json``) in the set's
folder, as torchreid and MetaBIN write them, if it is there, so that results are of the very splits
of another run; GRID's official ``features_and_partitions.mat`` (``trainIdxAll``); else a choice by
hash, the same on every machine.

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
    """Return training, query and gallery images of a split.

    Args:
        small: the images.
        name: "VIPeR", "PRID", "GRID" or "iLIDS".
        number: 0 to 9.
    """
    persons = sorted({pid for _, pid, _ in small.queries} & {pid for _, pid, _ in small.matches})
    listed = listed_test(small.folder, name, number)
    if listed is not None:
        query, gallery = _of_list(small, listed)
    else:
        test = _test_persons(small, name, number, persons)
        query, gallery = _of_persons(small, name, number, test)
    tested = {pid for _, pid, _ in query}
    candidates = dict.fromkeys([*small.queries, *small.matches])
    return [image for image in candidates if image[1] not in tested], query, gallery


def _test_persons(small: SmallSet, name: str, number: int, persons: list[int]) -> set[int]:
    if name == "GRID" and (training := grid_partition(small.folder, number)) is not None:
        return set(persons) - training
    order = hash_shuffle(map(str, persons), name, "split", number)
    return set(map(int, order[: len(persons) - len(persons) // 2]))


def _of_persons(
    small: SmallSet, name: str, number: int, test: set[int]
) -> tuple[list[Image], list[Image]]:
    query = [image for image in small.queries if image[1] in test]
    gallery = [image for image in small.matches if image[1] in test]
    if name == "iLIDS":  # both are all images of a person: one each
        chosen = [_two_of(query, pid, number) for pid in sorted(test)]
        query, gallery = ([pair[i] for pair in chosen] for i in (0, 1))
    return query, [*gallery, *small.others]


def _two_of(images: list[Image], pid: int, number: int) -> tuple[Image, Image]:
    own = {os.path.basename(image[0]): image for image in images if image[1] == pid}
    first, second = hash_shuffle(own, "iLIDS", "images", number)[:2]
    return own[first], own[second]


def _of_list(small: SmallSet, listed: tuple[set, set]) -> tuple[list[Image], list[Image]]:
    """Choose by what a split file lists: file names or, for PRID, persons."""
    query, gallery = (
        [image for image in images if {os.path.basename(image[0]), image[1]} & side]
        for side, images in zip(listed, (small.queries, small.matches), strict=True)
    )
    if len(query) != len(listed[0]):
        raise ValueError(
            f"the split file in {small.folder} lists {len(listed[0])} queries, of which "
            f"{len(query)} are there; move it away to use our own splits"
        )
    return query, [*gallery, *small.others]


class TenSplits(ImageDataset):
    """One split of a small set; the registered subclasses differ by the two class attributes."""

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
                "__doc__": f"Split {number} of {group}; see the module.",
                "__module__": __name__,
            }
            DATASET_REGISTRY.register(type(name, (TenSplits,), attributes))


_register()
