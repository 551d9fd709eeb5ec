"""LLCM: ``LLCM/idx``, ``LLCM/test_vis/cam<n>/<4 digits>`` and ``LLCM/test_nir/cam<n>/<4 digits>``.

``idx/train_vis.txt`` and ``idx/train_nir.txt`` list training images with labels,
``idx/test_id.txt`` the test identities. ``LLCM`` is for training, ``LLCM_visible_to_infrared`` and
``LLCM_infrared_to_visible`` are tests: all images of the first modality query one drawn image for
each identity and camera of the second. What the released code calls visible to infrared, mode
[2, 1], is something else, ``LLCM_drawn_infrared_to_visible``: it draws infrared images and then
takes the drawn ones as queries of all visible images.

[0] Zhang and Wang, "Diverse Embedding Expansion Network and Low-Light Cross-Modality Benchmark",
    CVPR 2023; https://github.com/ZYK100/LLCM
"""

import re
from pathlib import Path

from fastreid.data.datasets import DATASET_REGISTRY

from fastreid_ext.data.datasets.labelled_lists import labelled_list
from fastreid_ext.data.datasets.sysu_mm01 import identities_of
from fastreid_ext.data.datasets.two_modalities import (
    Image,
    TrainingImage,
    TwoModalities,
    expect_both_sides,
    images_by_camera,
)
from fastreid_ext.data.visible_infrared import VisibleInfraredTest, expect_both_modalities

_SHORT = ("vis", "nir")  # by modality
_CAMERAS = range(1, 10)


@DATASET_REGISTRY.register()
class LLCM(TwoModalities):
    """LLCM for training; the name of a test says its direction."""

    dataset_dir = "LLCM"
    dataset_name = "llcm"

    @staticmethod
    def modality_of(path: str) -> int:
        """Return 1 for an image below a folder ``nir``, ``test_nir`` and the like, else 0."""
        folders = Path(path).parts[-5:-1]
        return int(any(re.fullmatch(r"(\w+_)?nir", part) for part in folders))

    def _training(self, folder: Path) -> list[TrainingImage]:
        """List the training images; their cameras are the modalities, the files name no others."""
        name = self.dataset_name
        sides = [labelled_list(folder, f"idx/train_{short}.txt", 0, 0) for short in _SHORT]
        for modality, side in enumerate(sides):
            wrong = [path for path, _ in side if self.modality_of(path) != modality]
            if wrong:
                raise ValueError(
                    f"{folder}/idx/train_{_SHORT[modality]}.txt: expected images of this modality, "
                    f"got {wrong[0]}; are the lists swapped?"
                )
        labels = [{label for _, label in side} for side in sides]
        expect_both_modalities(f"training lists of {folder}", labels)
        return [
            (path, f"{name}_train{label}", f"{name}_{_SHORT[modality]}")
            for modality, side in enumerate(sides)
            for path, label in side
        ]

    def _test_sides(self, folder: Path) -> list[list[Image]]:
        pids = identities_of(folder / "idx" / "test_id.txt")
        sides = [images_by_camera(folder / f"test_{name}", pids, _CAMERAS) for name in _SHORT]
        expect_both_sides(f"test images of {folder}", sides)
        return sides


@DATASET_REGISTRY.register()
class LLCM_visible_to_infrared(LLCM):
    """LLCM's test: visible images query drawn infrared ones."""

    visible_infrared_test = VisibleInfraredTest("llcm", "visible_to_infrared")


@DATASET_REGISTRY.register()
class LLCM_infrared_to_visible(LLCM):
    """LLCM's test: infrared images query drawn visible ones."""

    visible_infrared_test = VisibleInfraredTest("llcm", "infrared_to_visible")


@DATASET_REGISTRY.register()
class LLCM_drawn_infrared_to_visible(LLCM):
    """Mode [2, 1] of the released code: drawn infrared images query all visible ones."""

    visible_infrared_test = VisibleInfraredTest("llcm", "infrared_to_visible", drawn="query")
