"""A test set with corrupted images, each corruption given, none drawn here.

An image is read by Pillow, corrupted at its own size with ``RandomState(seed)`` in faithful mode,
and then goes the way of every test image: the order of CIL's single-modality code, so that pixels
do not depend on the size of a model's input. Corruptions are defined from 32 pixels on: an image
whose shorter side has fewer is enlarged to 32 first (bilinear, sides in proportion).
"""

import dataclasses
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from fastreid.config import CfgNode
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import Dataset, SequentialSampler

from fastreid_ext.data.corruption_index import Side
from fastreid_ext.data.dataset import read_rgb
from fastreid_ext.data.loaders import PersonLoader
from fastreid_ext.data.sources import dataset_root, open_dataset, query_and_gallery
from fastreid_ext.data.subsets import named_items
from fastreid_ext.data.transforms import build_transforms
from fastreid_ext.data.transforms.corruptions.corrupt import MINIMUM_SIDE
from fastreid_ext.data.transforms.random_corruption import Corruption

Item = tuple[str, int, int]  # path, person, camera


@dataclasses.dataclass(frozen=True)
class TestImages:
    """The images of a test set, queries first.

    Attributes:
        data_set: registered name.
        items: path, person and camera of each.
        names: path of each below the data sets' folder, as lists of subsets have it.
        num_query: the first ``num_query`` are queries.
    """

    __test__ = False

    data_set: str
    items: list[Item]
    names: list[str]
    num_query: int

    def rows(self, side: Side) -> range:
        """Return the positions of the queries, the gallery, or both."""
        first = self.num_query if side == "gallery" else 0
        return range(first, self.num_query if side == "query" else len(self.items))

    def files(self, side: Side) -> dict[str, str]:
        """Return the path of each image of a side, under its name."""
        return {self.names[row]: self.items[row][0] for row in self.rows(side)}


def test_images(cfg: CfgNode, data_set: str) -> TestImages:
    """Open a test set.

    Raises:
        FileNotFoundError: the data set is not there.
        ValueError: it has no queries or no gallery.
    """
    items, num_query = query_and_gallery(cfg, data_set)
    base = Path(getattr(open_dataset(cfg, data_set), "base", dataset_root(cfg)))
    names = {item[0]: name for name, item in named_items(items, base).items()}
    return TestImages(data_set, items, [names[path] for path, _, _ in items], num_query)


test_images.__test__ = False  # not a test, whatever pytest thinks of the name


class CorruptedImages(Dataset):
    """Images as ``PersonDataset`` gives them, and "pixels", a hash of what was corrupted.

    Args:
        items: the images.
        corruptions: one for each image, None to leave it clean.
        transform: maps an RGB PIL image to a tensor, with nothing random in it.
    """

    def __init__(
        self,
        items: Sequence[Item],
        corruptions: Sequence[Corruption | None],
        transform: Callable[[Image.Image], Any],
    ) -> None:
        if len(items) != len(corruptions):
            raise ValueError(
                f"expected a corruption (or None) for each image, got {len(corruptions)} for "
                f"{len(items)} images"
            )
        self._items = list(items)
        self._corruptions = list(corruptions)
        self._transform = transform

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Read, corrupt and transform one image."""
        path, person, camera = self._items[index]
        pixels = corrupted_pixels(np.asarray(read_rgb(path)), self._corruptions[index])
        return {
            "images": self._transform(Image.fromarray(pixels)),
            "targets": person,
            "camids": camera,
            "img_paths": path,
            "pixels": pixel_hash(pixels),
        }


def corrupted_pixels(image: NDArray[np.uint8], corruption: Corruption | None) -> NDArray[np.uint8]:
    """Return the pixels that everyone tests.

    Args:
        image: (H, W, 3) RGB in [0, 255].
        corruption: what to do; None returns ``image`` as it is.
    """
    return image if corruption is None else corruption.apply(enlarged(image), faithful=True)


def enlarged(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return (H, W, 3) with a shorter side of at least ``MINIMUM_SIDE`` pixels."""
    height, width = image.shape[:2]
    if min(height, width) >= MINIMUM_SIDE:
        return image
    scale = MINIMUM_SIDE / min(height, width)
    size = max(MINIMUM_SIDE, round(width * scale)), max(MINIMUM_SIDE, round(height * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)


def pixel_hash(image: NDArray[np.uint8]) -> int:
    """Return a hash of size and pixels below 2**32."""
    return zlib.crc32(np.ascontiguousarray(image), zlib.crc32(str(image.shape).encode()))


def corrupted_loader(
    cfg: CfgNode, items: Sequence[Item], corruptions: Sequence[Corruption | None]
) -> PersonLoader:
    """Return batches of corrupted images in order, made by TEST.NUM_WORKERS processes.

    Args:
        cfg: TEST.IMS_PER_BATCH, INPUT and MODEL.DEVICE are read.
        items: the images.
        corruptions: one for each, None to leave it clean.
    """
    dataset = CorruptedImages(items, corruptions, build_transforms(cfg, is_train=False))
    return PersonLoader(
        dataset,
        SequentialSampler(dataset),
        batch_size=cfg.TEST.IMS_PER_BATCH,
        drop_last=False,
        num_workers=cfg.TEST.NUM_WORKERS,
        device=cfg.MODEL.DEVICE,
    )
