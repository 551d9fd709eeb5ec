"""CUHK02, a source of the domain generalisation protocols that fastreid does not read."""

import re
from pathlib import Path
from typing import Any

from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset

_PAIRS = ("P1", "P2", "P3", "P4", "P5")
_TEST_PAIR = "P5"
_NAME = re.compile(r"(\d+)_\d+\.png", re.IGNORECASE)


@DATASET_REGISTRY.register()
class CUHK02(ImageDataset):
    """CUHK02: 1,816 identities in five camera pairs (971, 306, 107, 193, 239), four images each.

    ``cuhk02/Dataset/P<pair>/cam<1 or 2>/<pid>_<image>.png`` (``Dataset`` may be left out); the
    numbers of identities restart in each pair. As in torchreid, P1 to P4 are for training and P5 is
    the test, with camera 1 as queries and camera 2 as gallery. DATASETS.COMBINEALL trains on all
    pairs, as generalisation papers do. The set overlaps with CUHK01 and CUHK03: all show one
    campus.

    Li and Wang, "Locally Aligned Feature Transforms across Views", CVPR 2013.
    """

    dataset_dir = "cuhk02"
    dataset_name = "cuhk02"

    def __init__(self, root: str = "datasets", **kwargs: Any) -> None:
        folder = Path(root) / self.dataset_dir
        if (folder / "Dataset").is_dir():
            folder = folder / "Dataset"
        missing = [f"{pair}/{cam}" for pair in _PAIRS for cam in ("cam1", "cam2")
                   if not (folder / pair / cam).is_dir()]  # fmt: skip
        if missing:
            raise FileNotFoundError(
                f"no complete data set CUHK02: expected {Path(root) / self.dataset_dir}/Dataset/"
                f"{{P1,...,P5}}/{{cam1,cam2}}/*.png, got no {', '.join(missing)}; unpack it there"
            )
        train = [
            (path, f"{self.dataset_name}_{pair}_{pid}", f"{self.dataset_name}_{pair}_{camera}")
            for pair in _PAIRS
            if pair != _TEST_PAIR
            for camera in (1, 2)
            for path, pid in _images(folder / pair / f"cam{camera}")
        ]
        query = [(path, pid, 1) for path, pid in _images(folder / _TEST_PAIR / "cam1")]
        gallery = [(path, pid, 2) for path, pid in _images(folder / _TEST_PAIR / "cam2")]
        super().__init__(train, query, gallery, **kwargs)


def _images(folder: Path) -> list[tuple[str, int]]:
    """List (path, pid) of the images in a folder, sorted by name."""
    found = []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() != ".png":
            continue
        match = _NAME.fullmatch(path.name)
        if match is None:
            raise ValueError(
                f"expected a name like 001_0115.png (identity 1), got {path}; is it of CUHK02?"
            )
        found.append((str(path), int(match[1])))
    if not found:
        raise FileNotFoundError(f"expected .png images in {folder}, got none; unpack CUHK02 there")
    return found
