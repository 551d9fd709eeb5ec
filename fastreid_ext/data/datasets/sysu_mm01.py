"""SYSU-MM01: ``SYSU-MM01/cam<1-6>/<4 digits>/<4 digits>.jpg`` and the identities in ``exp``.

Cameras 1, 2, 4 and 5 are visible, 3 and 6 infrared. The identities of ``train_id.txt`` and
``val_id.txt`` (395) are trained on; those of ``test_id.txt`` (96) are tested: infrared images query
ten drawn visible galleries.

[0] Wu et al., "RGB-Infrared Cross-Modality Person Re-Identification", ICCV 2017
"""

from pathlib import Path

from fastreid.data.datasets import DATASET_REGISTRY

from fastreid_ext.data.datasets.two_modalities import (
    Image,
    TrainingImage,
    TwoModalities,
    expect_both_sides,
    images_by_camera,
)
from fastreid_ext.data.visible_infrared import (
    INFRARED,
    VISIBLE,
    VisibleInfraredTest,
)

CAMERAS = {VISIBLE: (1, 2, 4, 5), INFRARED: (3, 6)}
_FOLDER = "SYSU-MM01"
PERMUTATIONS = f"{_FOLDER}/exp/rand_perm_cam.mat"


@DATASET_REGISTRY.register()
class SYSUMM01(TwoModalities):
    """SYSU-MM01, tested by all-search: visible images of cameras 1, 2, 4 and 5."""

    dataset_dir = _FOLDER
    dataset_name = "sysu"
    visible_infrared_test = VisibleInfraredTest(
        "sysu", "infrared_to_visible", permutations=PERMUTATIONS
    )

    @staticmethod
    def modality_of(path: str) -> int:
        """Return 1 for an image of an infrared camera, 0 for one of a visible camera."""
        camera = Path(path).parts[-3].removeprefix("cam")
        return INFRARED if camera in map(str, CAMERAS[INFRARED]) else VISIBLE

    def _training(self, folder: Path) -> list[TrainingImage]:
        lists = folder / "exp"
        pids = identities_of(lists / "train_id.txt") + identities_of(lists / "val_id.txt")
        return self._named(_sides(f"training images of {folder}", folder, pids))

    def _test_sides(self, folder: Path) -> list[list[Image]]:
        pids = identities_of(folder / "exp" / "test_id.txt")
        return _sides(f"test images of {folder}", folder, pids)


@DATASET_REGISTRY.register()
class SYSUMM01Indoor(SYSUMM01):
    """SYSU-MM01, tested by indoor search: visible images of cameras 1 and 2."""

    visible_infrared_test = VisibleInfraredTest(
        "sysu", "infrared_to_visible", search="indoor", permutations=PERMUTATIONS
    )


def _sides(what: str, folder: Path, pids: list[int]) -> list[list[Image]]:
    sides = [images_by_camera(folder, pids, CAMERAS[modality]) for modality in (VISIBLE, INFRARED)]
    expect_both_sides(what, sides)
    return sides


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
