"""RandPerson and ClonedPerson: rendered data sets whose file names hold a scene and a camera.

``000000_s00_c01_f001632.jpg`` is identity 0 in scene 0, seen by camera 1 of the scene, frame 1632.
The first release of RandPerson wrote camera before scene (``000000_c01_s00_f001632.jpg``); both
orders are read. Cameras are numbered within a scene, so the camera here is ``100 scene + camera``.
"""

import re
from pathlib import Path
from typing import Any

from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset

from fastreid_ext.data.image_files import SUFFIXES, image_names
from fastreid_ext.identity_numbers import number_problem

_NAME = re.compile(
    r"(\d+)_(?:s(?P<s>\d+)_c(?P<c>\d\d?)|c(?P<c2>\d\d?)_s(?P<s2>\d+))_f\d+\.\w+", re.IGNORECASE
)


@DATASET_REGISTRY.register()
class RandPerson(ImageDataset):
    """Published subset of RandPerson: 8,000 identities, 132,145 images; for training only.

    ``randperson_subset/*.jpg``, or ``randperson_subset/randperson_subset/*.jpg`` as it unpacks; 11
    scenes with 19 cameras.

    Wang et al., "Surpassing Real-World Source Training Data", ACM MM 2020.
    """

    dataset_dir = "randperson_subset"
    dataset_name = "randperson"

    def __init__(self, root: str = "datasets", **kwargs: Any) -> None:
        folder = Path(root) / self.dataset_dir
        inner = folder / self.dataset_dir
        items = _read(inner if inner.is_dir() else folder, "RandPerson")
        train = _named(items, self.dataset_name)
        # Nothing to combine: there are no test images.
        super().__init__(train, [], [], **{**kwargs, "combineall": False})


@DATASET_REGISTRY.register()
class ClonedPerson(ImageDataset):
    """ClonedPerson: 5,621 identities with clothes from real images; 887,766 images.

    ``clonedperson/{train,test/query,test/gallery}/*.jpg``. The authors' loader merges cameras
    that have the same number in different scenes; here they stay different.

    Wang et al., "Cloning Outfits from Real-World Images to 3D Characters", CVPR 2022.
    """

    dataset_dir = "clonedperson"
    dataset_name = "clonedperson"

    def __init__(self, root: str = "datasets", **kwargs: Any) -> None:
        folder = Path(root) / self.dataset_dir
        super().__init__(
            lambda: _named(_read(folder / "train", "ClonedPerson"), self.dataset_name),
            lambda: _read(folder / "test" / "query", "ClonedPerson"),
            lambda: _read(folder / "test" / "gallery", "ClonedPerson"),
            **kwargs,
        )


def _named(items: list[tuple[str, int, int]], name: str) -> list[tuple[str, str, str]]:
    return [(path, f"{name}_{pid}", f"{name}_{camid}") for path, pid, camid in items]


def _read(folder: Path, data_set: str) -> list[tuple[str, int, int]]:
    """List (path, pid, camid) of the images in a folder, sorted by name."""
    advice = f"unpack {data_set} there, or name the folder above it in DATASETS.ROOT"
    if not folder.is_dir():
        raise FileNotFoundError(f"no data set {data_set}: expected the folder {folder}; {advice}")
    names = image_names(folder)
    if not names:
        raise FileNotFoundError(
            f"expected images ({', '.join(SUFFIXES)}) in {folder}, got none; {advice}"
        )
    items = []
    for name in names:
        match = _NAME.fullmatch(name)
        if match is None:
            raise ValueError(
                f"expected a name like 000000_s00_c01_f001632.jpg (identity 0, scene 0, camera 1), "
                f"got {folder / name}; is {folder} the folder of {data_set}?"
            )
        problem = number_problem(match[1], "identity")
        problem = problem or number_problem(match["s"] or match["s2"], "scene")
        if problem:
            raise ValueError(f"{folder / name}: expected {problem}; rename the file")
        scene = int(match["s"] or match["s2"])
        camera = int(match["c"] or match["c2"])
        items.append((str(folder / name), int(match[1]), 100 * scene + camera))
    return items
