"""Custom data set in the folder layout of Market-1501."""

import os
from pathlib import Path
from typing import Any

from fastreid.data.datasets import DATASET_REGISTRY

from fastreid_ext.data.datasets.generated_persons import locate_set
from fastreid_ext.data.datasets.market_folder import SPLITS, MarketFolder


@DATASET_REGISTRY.register()
class PersonFolder(MarketFolder):
    """Images ``<pid>_c<camera>...`` in the split folders of ``DATASETS.FOLDER``.

    Folders and file names are those of :mod:`fastreid_ext.data.datasets.market_folder`: identities
    need not be contiguous, identity -1 is junk and left out, cameras count from 1. A missing split
    has no images, so a training set needs no queries and a test set no training images.

    Args:
        root: folder in which a relative ``folder`` is looked for if the working directory has none.
        folder: path of the data set, ``DATASETS.FOLDER``.
    """

    dataset_name = "personfolder"
    key = "DATASETS.FOLDER"  # configuration key that holds the path
    advice = (
        "put images named like 0001_c1s1_000001_00.jpg (identity 1, camera 1) there, or remove the "
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
