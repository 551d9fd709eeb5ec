"""Read data sets in the folder layout of Market-1501.

``<folder>/{bounding_box_train,query,bounding_box_test}/<pid>_c<camera>...``, e.g.
``0001_c1s1_000001_00.jpg``. Images of identity -1 (junk) are left out. Identity 0 is background in
Market-1501 and an ordinary identity elsewhere. Cameras count from 1 in file names and from 0 here.
"""

import re
from pathlib import Path
from typing import Any

from fastreid.data.datasets.bases import ImageDataset

from fastreid_ext.data.image_files import SUFFIXES, image_names
from fastreid_ext.identity_numbers import UNKNOWN, number_problem

SPLITS = ("bounding_box_train", "query", "bounding_box_test")
_NAME = re.compile(r"(-?\d+)_c(\d+)")


class MarketFolder(ImageDataset):
    """Base of data sets in Market-1501's layout; a subclass names folder and advice.

    ``train``, ``query`` and ``gallery`` raise FileNotFoundError if their folder is missing or
    empty, and ValueError if a file is not named as expected.

    Args:
        root: parent folder of the data set's folder ``dataset_dir``.
    """

    dataset_dir = ""
    dataset_name = ""
    # Advice for a missing data set; "{root}" becomes the folder that holds ``dataset_dir``.
    advice = ""

    def __init__(self, root: str = "datasets", **kwargs: Any) -> None:
        folder = Path(root) / self.dataset_dir
        train, query, gallery = SPLITS
        # fastreid calls these when a split is first asked for.
        super().__init__(
            lambda: self._named(self._read(folder / train)),
            lambda: self._read(folder / query),
            lambda: self._read(folder / gallery),
            **kwargs,
        )

    def _named(self, items: list[tuple[str, int, int]]) -> list[tuple[str, str, str]]:
        """Prefix pids and camids with the name of the set, to separate them from other sets."""
        name = self.dataset_name
        return [(path, f"{name}_{pid}", f"{name}_{camid}") for path, pid, camid in items]

    def _read(self, split: Path) -> list[tuple[str, int, int]]:
        """List (path, pid, camid from 0) of the images of a split, sorted by name."""
        advice = self.advice.format(root=split.parents[1])
        if not split.is_dir():
            raise FileNotFoundError(
                f"no data set {type(self).__name__}: expected the folder {split}; {advice}"
            )
        names = image_names(split)
        if not names:
            raise FileNotFoundError(
                f"expected images ({', '.join(SUFFIXES)}) in {split}, got none; {advice}"
            )
        items = []
        for name in names:
            match = _NAME.match(name)
            if match is None or not match[2].strip("0"):
                raise ValueError(
                    f"expected a name like 0001_c1s1_000001_00.jpg (identity 1, camera 1), got "
                    f"{split / name}; is {split.parent} the folder of {type(self).__name__}?"
                )
            problem = number_problem(match[1], "identity", lowest=UNKNOWN)
            problem = problem or number_problem(match[2], "camera", lowest=1)
            if problem:
                raise ValueError(f"{split / name}: expected {problem}; rename the file")
            pid = int(match[1])
            camera = int(match[2])
            if pid != -1:
                items.append((str(split / name), pid, camera - 1))
        return items
