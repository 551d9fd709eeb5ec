"""CUHK03 in its new protocol, with detected or with labelled boxes.

Both need ``cuhk03/cuhk03_release/cuhk-03.mat`` and ``cuhk03/cuhk03_new_protocol_config_{detected,
labeled}.mat``; the first use extracts the images (packages h5py, imageio and scipy).
"""

from typing import Any

from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.cuhk03 import CUHK03


@DATASET_REGISTRY.register()
class CUHK03Detected(CUHK03):
    """CUHK03 with detected boxes: 767 training and 700 test identities; 7,365 / 1,400 / 5,332."""

    def __init__(self, root: str = "datasets", **kwargs: Any) -> None:
        super().__init__(root=root, cuhk03_labeled=False, cuhk03_classic_split=False, **kwargs)


@DATASET_REGISTRY.register()
class CUHK03Labeled(CUHK03):
    """CUHK03 with hand-made boxes, as fastreid's ``CUHK03``: 7,368 / 1,400 / 5,328 images."""

    def __init__(self, root: str = "datasets", **kwargs: Any) -> None:
        super().__init__(root=root, cuhk03_labeled=True, cuhk03_classic_split=False, **kwargs)
