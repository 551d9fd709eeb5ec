"""A test set with corrupted images, each corruption given, none drawn here.

An image is decoded to the pixels that Pillow gives, corrupted at its own size with
``RandomState(seed)`` in reference mode, and then goes the way of every test image: the order of
CIL's single-modality code, so that pixels do not depend on the size of a model's input. Corruptions
are defined from 32 pixels on: an image whose shorter side has fewer is enlarged to 32 first
(bilinear, sides in proportion).
"""

import dataclasses
import hashlib
import itertools
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from fastreid.config import CfgNode
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import BatchSampler, Dataset

from fastreid_ext.corruptions.cpu import enlarged
from fastreid_ext.corruptions.record import Corruption
from fastreid_ext.data.build import image_reader
from fastreid_ext.data.dataset import read_rgb
from fastreid_ext.data.loaders import Batch, PersonLoader
from fastreid_ext.data.named_items import named_items
from fastreid_ext.data.sources import dataset_root, open_dataset, query_and_gallery
from fastreid_ext.data.transforms import build_transforms
from fastreid_ext.evaluation.corruption.index import CorruptionIndex, Side

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


@dataclasses.dataclass(frozen=True)
class Part:
    """One evaluation of the test set: clean, a draw of the index, or a cell of the grid.

    Attributes:
        draw: its number, or None.
        cell: corruption and severity, or None.
    """

    draw: int | None = None
    cell: tuple[str, int] | None = None

    @property
    def name(self) -> str:
        """Return "clean", "draw_3" or "grid_fog_5"."""
        if self.cell:
            return "grid_{}_{}".format(*self.cell)
        return "clean" if self.draw is None else f"draw_{self.draw}"

    def corruption(self, index: CorruptionIndex, image: str) -> Corruption | None:
        """Return what is done to an image, None for nothing."""
        if self.cell:
            return index.in_grid(index.row_of[image], *self.cell)
        return None if self.draw is None else index.drawn(index.row_of[image], self.draw)


class CorruptedImages(Dataset):
    """Images as ``PersonDataset`` gives them, and "pixels", a hash of what was corrupted.

    Its indices are a part and the position of an image.

    Args:
        images: the test set.
        index: of that set.
        transform: maps an RGB PIL image to a tensor, with nothing random in it.
        read: maps a path to an RGB PIL image or its (H, W, 3) uint8 pixels.
    """

    def __init__(
        self,
        images: TestImages,
        index: CorruptionIndex,
        transform: Callable[[Image.Image], Any],
        read: Callable[[str], Any] = read_rgb,
    ) -> None:
        self._images = images
        self._index = index
        self._transform = transform
        self._read = read

    def __getitem__(self, place: tuple[Part, int]) -> dict[str, Any]:
        """Read, corrupt and transform one image."""
        part, position = place
        path, person, camera = self._images.items[position]
        corruption = part.corruption(self._index, self._images.names[position])
        pixels = corrupted_pixels(np.asarray(self._read(path)), corruption)
        return {
            "images": self._transform(Image.fromarray(pixels)),
            "targets": person,
            "camids": camera,
            "img_paths": path,
            "pixels": pixel_hash(pixels),
        }


class Jobs(BatchSampler):
    """Batches of one job after the other, none of two jobs.

    Args:
        jobs: part and positions of the images, for each job.
        batch_size: images in a batch, but the last of a job.
    """

    def __init__(self, jobs: Sequence[tuple[Part, range]], batch_size: int) -> None:
        self._jobs = list(jobs)
        self._batch_size = batch_size

    def __len__(self) -> int:
        """Return the number of batches."""
        return sum(self.batches_of(positions) for _, positions in self._jobs)

    def __iter__(self) -> Iterator[list[tuple[Part, int]]]:
        """Yield the indices of each batch."""
        for part, positions in self._jobs:
            for start in range(0, len(positions), self._batch_size):
                yield [(part, i) for i in positions[start : start + self._batch_size]]

    def batches_of(self, positions: range) -> int:
        """Return the number of batches of a job."""
        return -(-len(positions) // self._batch_size)


def corrupted_pixels(image: NDArray[np.uint8], corruption: Corruption | None) -> NDArray[np.uint8]:
    """Return the pixels that everyone tests.

    Args:
        image: (H, W, 3) RGB in [0, 255].
        corruption: what to do; None returns ``image`` as it is.
    """
    return image if corruption is None else corruption.apply(enlarged(image), reference=True)


def pixel_hash(image: NDArray[np.uint8]) -> int:
    """Return a hash of size and pixels below 2**32."""
    return zlib.crc32(np.ascontiguousarray(image), zlib.crc32(str(image.shape).encode()))


def pixel_probe(names: Sequence[str]) -> str:
    """Return a hash of a fixed image under each corruption, at severity 3.

    Where two machines, or two versions of the code, have the same, they make the same pixels of
    most images. Also compiles or loads all kernels in this process, before others are started.
    """
    image = np.random.RandomState(0).randint(0, 256, (64, 32, 3)).astype(np.uint8)
    made = (pixel_hash(corrupted_pixels(image, Corruption(name, 3, 0))) for name in names)
    return hashlib.sha256(" ".join(map(str, made)).encode()).hexdigest()[:16]


def corrupted_batches(
    cfg: CfgNode, images: TestImages, index: CorruptionIndex, jobs: Sequence[tuple[Part, range]]
) -> Iterator[Iterator[Batch]]:
    """Yield for each job its batches, in order, made by TEST.NUM_WORKERS processes.

    The processes are started once and work ahead, also on the next job. The batches of a job must
    be taken before the next job is asked for.

    Args:
        cfg: TEST.IMS_PER_BATCH, INPUT, DATALOADER.PACKED_CACHE and MODEL.DEVICE are read.
        images: the test set.
        index: of that set.
        jobs: part and positions of the images, for each job.
    """
    sampler = Jobs(jobs, cfg.TEST.IMS_PER_BATCH)
    read = image_reader(cfg, images.data_set, [path for path, _, _ in images.items])
    loader = PersonLoader(
        CorruptedImages(images, index, build_transforms(cfg, is_train=False), read),
        sampler,
        batch_size=cfg.TEST.IMS_PER_BATCH,
        drop_last=False,
        num_workers=cfg.TEST.NUM_WORKERS,
        device=cfg.MODEL.DEVICE,
    )
    batches = iter(loader)
    for _, positions in jobs:
        yield itertools.islice(batches, sampler.batches_of(positions))
