"""CUHK03 in its new protocol, by boxes; fastreid can read both and names one.

Both need ``cuhk03/cuhk03_release/cuhk-03.mat`` and ``cuhk03/cuhk03_new_protocol_config_{detected,
labeled}.mat``; the first use extracts the images (packages h5py, imageio and scipy).
"""

from typing import Any

from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.cuhk03 import CUHK03


@DATASET_REGISTRY.register()
class CUHK03Detected(CUHK03):
    """767 training and 700 test persons, boxes of a detector: 7,365 / 1,400 / 5,332 images."""

    def __init__(self, root: str = "datasets", **kwargs: Any) -> None:
        super().__init__(root=root, cuhk03_labeled=False, cuhk03_classic_split=False, **kwargs)


@DATASET_REGISTRY.register()
class CUHK03Labeled(CUHK03):
    """The same persons, boxes drawn by hand, as fastreid's ``CUHK03``: 7,368 / 1,400 / 5,328."""

    def __init__(self, root: str = "datasets", **kwargs: Any) -> None:
        super().__init__(root=root, cuhk03_labeled=True, cuhk03_classic_split=False, **kwargs)
