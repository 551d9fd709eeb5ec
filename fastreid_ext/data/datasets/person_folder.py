"""A folder of the user's own in Market-1501's layout."""

import os
from pathlib import Path
from typing import Any

from fastreid.data.datasets import DATASET_REGISTRY

from fastreid_ext.data.datasets.generated_persons import locate_set
from fastreid_ext.data.datasets.market_folder import SPLITS, MarketFolder


@DATASET_REGISTRY.register()
class PersonFolder(MarketFolder):
    """``DATASETS.FOLDER/{bounding_box_train,query,bounding_box_test}/<person>_c<camera>...``.

    Names as in :mod:`fastreid_ext.data.datasets.market_folder`: persons need not be contiguous, -1
    is junk and left out, cameras count from 1. A split that is not there has no images, so a set
    for training needs no queries and a set for testing no training images.

    Args:
        root: folder below which a relative ``folder`` that does not exist as it stands is looked
            for.
        folder: DATASETS.FOLDER.
    """

    dataset_name = "personfolder"
    key = "DATASETS.FOLDER"  # of the configuration, that holds the path
    advice = (
        "put images named like 0001_c1s1_000001_00.jpg (person 1, camera 1) there, or remove the "
        "folder if there are none"
    )

    def __init__(self, root: str = "datasets", *, folder: str = "", **kwargs: Any) -> None:
        if not folder:
            raise ValueError(
                f"{self.key} is empty, so PersonFolder has no images; give the folder that "
                f"holds {', '.join(SPLITS)}"
            )
        path = Path(os.path.abspath(locate_set(folder, root)))
        if not any((path / split).is_dir() for split in SPLITS):
            raise FileNotFoundError(
                f"expected at least one of the folders {', '.join(SPLITS)} in {path} "
                f"({self.key}), got none; name the folder above them, as in Market-1501"
            )
        self.base = path
        self.dataset_dir = path.name
        super().__init__(str(path.parent), **kwargs)

    def _read(self, split: Path) -> list[tuple[str, int, int]]:
        return super()._read(split) if split.is_dir() else []
