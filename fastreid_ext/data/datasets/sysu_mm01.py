"""SYSU-MM01: ``SYSU-MM01/cam<1-6>/<4 digits>/<4 digits>.jpg`` and the identities in ``exp``.

Cameras 1, 2, 4 and 5 are visible, 3 and 6 infrared. The identities of ``train_id.txt`` and
``val_id.txt`` (395) are trained on; those of ``test_id.txt`` (96) are tested: infrared images query
ten drawn visible galleries.

[0] Wu et al., "RGB-Infrared Cross-Modality Person Re-Identification", ICCV 2017
"""

import os
from pathlib import Path
from typing import Any

from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset

from fastreid_ext.data.image_files import image_names
from fastreid_ext.data.visible_infrared import (
    INFRARED,
    VISIBLE,
    VisibleInfraredTest,
    expect_both_modalities,
)

CAMERAS = {VISIBLE: (1, 2, 4, 5), INFRARED: (3, 6)}
_FOLDER = "SYSU-MM01"
PERMUTATIONS = f"{_FOLDER}/exp/rand_perm_cam.mat"

Image = tuple[str, int, int]  # path, pid, camera from 0


@DATASET_REGISTRY.register()
class SYSUMM01(ImageDataset):
    """SYSU-MM01, tested by all-search: visible images of cameras 1, 2, 4 and 5."""

    dataset_dir = _FOLDER
    dataset_name = "sysu"
    visible_infrared_test = VisibleInfraredTest(
        "sysu", "infrared_to_visible", permutations=PERMUTATIONS
    )

    def __init__(self, root: str = "datasets", **kwargs: Any) -> None:
        folder = Path(root) / self.dataset_dir
        super().__init__(
            lambda: self._training(folder),
            lambda: self._test(folder, INFRARED),
            lambda: self._test(folder, VISIBLE),
            **kwargs,
        )

    @staticmethod
    def modality_of(path: str) -> int:
        """Return 1 for an image of an infrared camera, 0 for one of a visible camera."""
        camera = Path(path).parts[-3].removeprefix("cam")
        return INFRARED if camera in map(str, CAMERAS[INFRARED]) else VISIBLE

    def _training(self, folder: Path) -> list[tuple[str, str, str]]:
        pids = [*_identities(folder, "train_id.txt"), *_identities(folder, "val_id.txt")]
        sides = [_images(folder, pids, CAMERAS[modality]) for modality in (VISIBLE, INFRARED)]
        _expect_both(f"training images of {folder}", sides)
        name = self.dataset_name
        return [
            (path, f"{name}_{pid}", f"{name}_{camera}")
            for side in sides
            for path, pid, camera in side
        ]

    def _test(self, folder: Path, modality: int) -> list[Image]:
        pids = _identities(folder, "test_id.txt")
        sides = [_images(folder, pids, CAMERAS[side]) for side in (VISIBLE, INFRARED)]
        _expect_both(f"test images of {folder}", sides)
        return sides[modality]


@DATASET_REGISTRY.register()
class SYSUMM01Indoor(SYSUMM01):
    """SYSU-MM01, tested by indoor search: visible images of cameras 1 and 2."""

    visible_infrared_test = VisibleInfraredTest(
        "sysu", "infrared_to_visible", search="indoor", permutations=PERMUTATIONS
    )


def _expect_both(what: str, sides: list[list[Image]]) -> None:
    expect_both_modalities(what, [{pid for _, pid, _ in side} for side in sides])


def _identities(folder: Path, name: str) -> list[int]:
    return identities_of(folder / "exp" / name)


def identities_of(file: Path) -> list[int]:
    """Read identities that commas separate on the first line of a file.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: it holds something else.
    """
    if not file.is_file():
        raise FileNotFoundError(
            f"expected the list of identities {file}; unpack the data set there, or name the "
            "folder above it in DATASETS.ROOT"
        )
    text = file.read_text().partition("\n")[0]
    try:
        return sorted(int(part) for part in text.split(","))
    except ValueError as error:
        raise ValueError(
            f"{file}: expected numbers of identities with commas between them, got "
            f"{text[:60]!r}; unpack it again"
        ) from error


def _images(folder: Path, pids: list[int], cameras: tuple[int, ...]) -> list[Image]:
    return [
        (os.path.join(place, name), pid, camera - 1)
        for camera in cameras
        for pid in pids
        if (place := folder / f"cam{camera}" / f"{pid:04d}").is_dir()
        for name in image_names(place)
    ]
