"""CUHK03 in its new protocol with detected boxes, which fastreid can read but not name."""

from typing import Any

from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.cuhk03 import CUHK03


@DATASET_REGISTRY.register()
class CUHK03Detected(CUHK03):
    """767 training and 700 test persons, boxes of a detector.

    fastreid's ``CUHK03`` is the same protocol with hand-drawn ("labeled") boxes. Needs
    ``cuhk03/cuhk03_release/cuhk-03.mat`` and ``cuhk03/cuhk03_new_protocol_config_{detected,
    labeled}.mat``; the first use extracts the images (packages h5py, imageio and scipy).
    """

    def __init__(self, root: str = "datasets", **kwargs: Any) -> None:
        super().__init__(root=root, cuhk03_labeled=False, cuhk03_classic_split=False, **kwargs)
