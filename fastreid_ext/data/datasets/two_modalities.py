"""Data sets of visible and infrared images: their sides, folders and checks."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from fastreid.data.datasets.bases import ImageDataset

from fastreid_ext.data.image_files import image_names
from fastreid_ext.data.visible_infrared import VisibleInfraredTest, expect_both_modalities

Image = tuple[str, int, int]  # path, pid, camera from 0
TrainingImage = tuple[str, str, str]  # path, names of identity and camera


class TwoModalities(ImageDataset):
    """Data set whose test, where it has one, queries images of one modality by the other's.

    Subclasses list images in ``_training(folder)`` and ``_test_sides(folder)``.
    """

    dataset_dir: ClassVar[str]
    dataset_name: ClassVar[str]
    visible_infrared_test: ClassVar[VisibleInfraredTest | None] = None

    def __init__(self, root: str = "datasets", **kwargs: Any) -> None:
        folder = Path(root) / self.dataset_dir
        super().__init__(
            lambda: self._training(folder),
            lambda: self._test_side(folder, is_query=True),
            lambda: self._test_side(folder, is_query=False),
            **kwargs,
        )

    def _training(self, folder: Path) -> list[TrainingImage]:
        """List the training images of both modalities."""
        raise NotImplementedError

    def _test_sides(self, folder: Path) -> list[list[Image]]:
        """List the visible test images, and the infrared ones."""
        raise NotImplementedError

    def _test_side(self, folder: Path, *, is_query: bool) -> list[Image]:
        test = self.visible_infrared_test
        if test is None:
            return []
        visible, infrared = self._test_sides(folder)
        is_infrared = test.direction.startswith("infrared") == is_query
        return infrared if is_infrared else visible

    def _named(self, sides: Sequence[Sequence[Image]]) -> list[TrainingImage]:
        """Name identities and cameras of training images after the data set."""
        name = self.dataset_name
        return [
            (path, f"{name}_{pid}", f"{name}_{camera}")
            for side in sides
            for path, pid, camera in side
        ]


def expect_both_sides(what: str, sides: Sequence[Sequence[Image]]) -> None:
    """Check that each identity has visible and infrared images.

    Args:
        what: name of the data set and the split, for the error.
        sides: visible images, and infrared ones.

    Raises:
        ValueError: an identity lacks a modality.
    """
    expect_both_modalities(what, [{pid for _, pid, _ in side} for side in sides])


def images_by_camera(folder: Path, pids: Sequence[int], cameras: Sequence[int]) -> list[Image]:
    """List images of ``cam<number>/<4 digits>`` by camera and identity, missing folders left out.

    Args:
        folder: folder that holds those of the cameras.
        pids: identities whose images are listed.
        cameras: numbers of the cameras to list, from 1.
    """
    return [
        (os.path.join(place, name), pid, camera - 1)
        for camera in cameras
        for pid in pids
        if (place := folder / f"cam{camera}" / f"{pid:04d}").is_dir()
        for name in image_names(place)
    ]
