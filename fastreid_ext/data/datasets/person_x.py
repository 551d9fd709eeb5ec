"""PersonX, a rendered data set with six backgrounds."""

from pathlib import Path
from typing import Any

from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset

from fastreid_ext.data.datasets.market_folder import SPLITS, MarketFolder

# Backgrounds 1 to 3 are plain colours, 4 to 6 scenes.
_SCENES = ("4", "5", "6")


@DATASET_REGISTRY.register()
class PersonX(MarketFolder):
    """The "more challenging" part of PersonX (backgrounds 4, 5 and 6; also called PersonX456).

    410 training and 856 test identities, six cameras; 9,840 / 5,136 / 30,816 images. Two layouts:

    - ``PersonX/{bounding_box_train,query,bounding_box_test}/<pid>_c<camera>...jpg``, with the
      cameras 3, 4, 8, 10, 11 and 12;
    - ``PersonX_v1/{4,5,6}/{bounding_box_train,query,bounding_box_test}``, where each pair of
      background and camera is a camera.

    Sun and Zheng, "Dissecting Person Re-identification from the Viewpoint of Viewpoint", CVPR 2019.
    """

    dataset_dir = "PersonX"
    dataset_name = "personx"
    advice = "put PersonX there, or PersonX_v1 with the folders 4, 5 and 6 beside it"

    def __init__(self, root: str = "datasets", **kwargs: Any) -> None:
        parts = Path(root) / "PersonX_v1"
        if (Path(root) / self.dataset_dir).is_dir() or not parts.is_dir():
            super().__init__(root, **kwargs)
            return
        train, query, gallery = SPLITS
        ImageDataset.__init__(
            self,
            lambda: self._named(self._of_scenes(parts, train)),
            lambda: self._of_scenes(parts, query),
            lambda: self._of_scenes(parts, gallery),
            **kwargs,
        )

    def _of_scenes(self, parts: Path, split: str) -> list[tuple[str, int, int]]:
        return [
            (path, pid, 100 * int(scene) + camera)
            for scene in _SCENES
            for path, pid, camera in self._read(parts / scene / split)
        ]
