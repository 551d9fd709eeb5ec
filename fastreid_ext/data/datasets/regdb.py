"""RegDB: ``RegDB/{Visible,Thermal}`` and ``RegDB/idx/{train,test}_{visible,thermal}_<trial>.txt``.

A trial is a choice of 206 identities to train on and 206 others to test, ten images each and
modality. Ten models are trained, ``RegDB_trial1`` to ``RegDB_trial10``, and each is tested on its
own trial in both directions: ``RegDB_trial1_visible_to_infrared`` and
``RegDB_trial1_infrared_to_visible``. The mean of the ten is the result
(``protocols.PROTOCOLS["regdb"]``).

[0] Nguyen et al., "Person Recognition System Based on a Combination of Body Images from Visible
    Light and Thermal Cameras", Sensors 2017
"""

from pathlib import Path
from typing import ClassVar

from fastreid.data.datasets import DATASET_REGISTRY

from fastreid_ext.data.datasets.labelled_lists import labelled_list
from fastreid_ext.data.datasets.two_modalities import (
    Image,
    TrainingImage,
    TwoModalities,
    expect_both_sides,
)
from fastreid_ext.data.protocols import REGDB_DIRECTIONS, REGDB_TRIALS
from fastreid_ext.data.visible_infrared import VisibleInfraredTest

IDENTITIES = 206  # of each half
IMAGES = 2060  # of each half and modality
_FILES = ("visible", "thermal")  # by modality


class RegDB(TwoModalities):
    """One trial; registered subclasses set the class attributes. Plain trials have no test."""

    dataset_dir = "RegDB"
    trial: ClassVar[int] = 1

    @staticmethod
    def modality_of(path: str) -> int:
        """Return 1 for an image below ``Thermal``, 0 for one below ``Visible``."""
        return int("Thermal" in Path(path).parts[-3:])

    def _training(self, folder: Path) -> list[TrainingImage]:
        return self._named(self._split(folder, "train"))

    def _test_sides(self, folder: Path) -> list[list[Image]]:
        return self._split(folder, "test")

    def _split(self, folder: Path, split: str) -> list[list[Image]]:
        """Read the visible and the infrared images, as cameras 0 and 1.

        Test labels count on from the training ones.
        """
        first = IDENTITIES if split == "test" else 0
        sides = []
        for camera, modality in enumerate(_FILES):
            name = f"idx/{split}_{modality}_{self.trial}.txt"
            found = labelled_list(folder, name, IDENTITIES, IMAGES)
            wrong = [path for path, _ in found if self.modality_of(path) != camera]
            if wrong:
                raise ValueError(
                    f"{folder / name}: expected images of the modality {modality}, got {wrong[0]}; "
                    "are the split files swapped?"
                )
            sides.append([(path, first + label, camera) for path, label in found])
        expect_both_sides(f"trial {self.trial} of {folder}", sides)
        return sides


def _register() -> None:
    for number, name in enumerate(REGDB_TRIALS, start=1):
        common = {
            "trial": number,
            "dataset_name": f"regdb_trial{number}",
            "__doc__": f"Trial {number} of RegDB; see {__name__}.",
            "__module__": __name__,
        }
        DATASET_REGISTRY.register(type(name, (RegDB,), common))
        for direction in REGDB_DIRECTIONS:
            test = VisibleInfraredTest("regdb", direction, drawn="")
            own = {**common, "visible_infrared_test": test}
            DATASET_REGISTRY.register(type(f"{name}_{direction}", (RegDB,), own))


_register()
