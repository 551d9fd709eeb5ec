"""A test set whose images are corrupted as a corruption index says; nothing is random here.

An image is decoded by Pillow, corrupted at its own size with ``RandomState(seed)`` in reference
mode, and then transformed like every test image. This is the order of CIL's single-modality code;
pixels do not depend on the input size of a model. Corruptions are defined from 32 pixels on: an
image with a shorter side is first enlarged to 32 pixels there (bilinear, sides in proportion).
Images of sets of two modalities are corrupted after the resize, see :mod:`.two_modalities`.
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
from fastreid_ext.data.configured_sets import (
    dataset_root,
    modalities_of,
    open_dataset,
    query_and_gallery,
)
from fastreid_ext.data.dataset import read_rgb
from fastreid_ext.data.loaders import Batch, PersonLoader
from fastreid_ext.data.named_items import named_items
from fastreid_ext.data.transforms import build_transforms
from fastreid_ext.data.visible_infrared import INFRARED, VISIBLE
from fastreid_ext.evaluation.corruption.index import CorruptionIndex, Side
from fastreid_ext.evaluation.corruption.two_modalities import (
    infrared_corruption,
    resize_before,
    with_equal_noise,
)

Item = tuple[str, int, int]  # path, pid, camid


@dataclasses.dataclass(frozen=True)
class TestImages:
    """The images of a test set, queries first.

    Attributes:
        data_set: registered name of the test set.
        items: path, pid and camid of each image.
        names: path of each image relative to the data sets' folder, as in subset lists.
        num_query: number of queries, which come first; the rest is the gallery.
        modalities: modality of each image, 0 visible and 1 infrared; None = all visible.
    """

    __test__ = False

    data_set: str
    items: list[Item]
    names: list[str]
    num_query: int
    modalities: NDArray[np.int8] | None = None

    def modality(self, row: int) -> int:
        """Look up the modality of an image, 0 visible and 1 infrared."""
        return VISIBLE if self.modalities is None else int(self.modalities[row])

    def rows(self, side: Side) -> range:
        """Select the positions of the queries, the gallery, or both."""
        first = self.num_query if side == "gallery" else 0
        return range(first, self.num_query if side == "query" else len(self.items))

    def files(self, side: Side) -> dict[str, str]:
        """Map the name of each image of a side to its path."""
        return {self.names[row]: self.items[row][0] for row in self.rows(side)}


def test_images(cfg: CfgNode, data_set: str) -> TestImages:
    """Open a test set and name its images.

    Raises:
        FileNotFoundError: the folder of the data set is missing.
        ValueError: the set has no queries or no gallery.
    """
    items, num_query = query_and_gallery(cfg, data_set)
    base = Path(getattr(open_dataset(cfg, data_set), "base", dataset_root(cfg)))
    names = {item[0]: name for name, item in named_items(items, base).items()}
    modalities = modalities_of(data_set, [path for path, _, _ in items])
    in_order = [names[path] for path, _, _ in items]
    return TestImages(data_set, items, in_order, num_query, modalities)


test_images.__test__ = False  # not a test, whatever pytest thinks of the name


@dataclasses.dataclass(frozen=True)
class Part:
    """One evaluation of the test set: clean, a repeat of the index, or a cell of the grid.

    Attributes:
        repeat: number of the repeat, from 0; None for clean images and grid cells.
        cell: corruption and severity of a grid cell; None for other parts.
    """

    repeat: int | None = None
    cell: tuple[str, int] | None = None

    @property
    def name(self) -> str:
        """Name the part: "clean", "repeat_3" or "grid_fog_5"."""
        if self.cell:
            return "grid_{}_{}".format(*self.cell)
        return "clean" if self.repeat is None else f"repeat_{self.repeat}"

    def corruption(self, index: CorruptionIndex, image: str) -> Corruption | None:
        """Look up the corruption of an image in this part; None leaves the image clean."""
        if self.cell:
            return index.in_grid(index.row_of[image], *self.cell)
        return None if self.repeat is None else index.in_repeat(index.row_of[image], self.repeat)


class CorruptedImages(Dataset):
    """Samples like those of ``PersonDataset``, plus "pixels", a hash of the corrupted image.

    It is indexed by pairs of a part and the position of an image.

    Args:
        images: images of the test set.
        index: corruption index of that test set.
        transform: deterministic function from an RGB PIL image to a tensor.
        read: function from a path to an RGB PIL image or its (H, W, 3) uint8 pixels.
        resize: function from that result to an array at network size, before corruption; None
            corrupts images at their own size.
    """

    def __init__(
        self,
        images: TestImages,
        index: CorruptionIndex,
        transform: Callable[[Image.Image], Any],
        read: Callable[[str], Any] = read_rgb,
        resize: Callable[[Any], NDArray[np.uint8]] | None = None,
    ) -> None:
        self._images = images
        self._index = index
        self._transform = transform
        self._read = read
        self._resize = np.asarray if resize is None else resize

    def __getitem__(self, place: tuple[Part, int]) -> dict[str, Any]:
        """Read, corrupt and transform one image."""
        part, position = place
        path, pid, camid = self._images.items[position]
        corruption = part.corruption(self._index, self._images.names[position])
        image = self._resize(self._read(path))
        modality = self._images.modality(position)
        if modality == INFRARED:
            corruption = infrared_corruption(corruption)
        pixels = corrupted_pixels(image, corruption)
        if modality == INFRARED:
            pixels = with_equal_noise(image, pixels, corruption)
        return {
            "images": self._transform(Image.fromarray(pixels)),
            "targets": pid,
            "camids": camid,
            "img_paths": path,
            "modalities": modality,
            "pixels": pixel_hash(pixels),
        }


class Jobs(BatchSampler):
    """Sampler of batches, one job after the other; no batch mixes two jobs.

    Args:
        jobs: part and positions of the images, for each job.
        batch_size: number of images in a batch; the last batch of a job may have fewer.

    Example:
        >>> jobs = [(Part(), range(3)), (Part(repeat=0), range(2))]
        >>> [len(batch) for batch in Jobs(jobs, batch_size=2)]
        [2, 1, 2]
    """

    def __init__(self, jobs: Sequence[tuple[Part, range]], batch_size: int) -> None:
        self._jobs = list(jobs)
        self._batch_size = batch_size

    def __len__(self) -> int:
        """Count the batches of all jobs."""
        return sum(self.batches_of(positions) for _, positions in self._jobs)

    def __iter__(self) -> Iterator[list[tuple[Part, int]]]:
        """Yield the indices of each batch."""
        for part, positions in self._jobs:
            for start in range(0, len(positions), self._batch_size):
                yield [(part, i) for i in positions[start : start + self._batch_size]]

    def batches_of(self, positions: range) -> int:
        """Count the batches of one job."""
        return -(-len(positions) // self._batch_size)


def corrupted_pixels(image: NDArray[np.uint8], corruption: Corruption | None) -> NDArray[np.uint8]:
    """Corrupt an image so that every machine tests the same pixels.

    Args:
        image: (H, W, 3) uint8 RGB image in [0, 255].
        corruption: corruption, severity and seed to apply; None returns ``image`` unchanged.
    """
    return image if corruption is None else corruption.apply(enlarged(image), reference=True)


def pixel_hash(image: NDArray[np.uint8]) -> int:
    """Hash size and pixels of an image to a number below 2**32."""
    return zlib.crc32(np.ascontiguousarray(image), zlib.crc32(str(image.shape).encode()))


def pixel_probe(names: Sequence[str]) -> str:
    """Hash a fixed test pattern under each corruption, at severity 3.

    Two machines, or two versions of the code, with an equal hash make equal pixels of most images.
    Also compiles or loads all kernels in this process, before worker processes start.
    """
    image = np.random.RandomState(0).randint(0, 256, (64, 32, 3)).astype(np.uint8)
    made = (pixel_hash(corrupted_pixels(image, Corruption(name, 3, 0))) for name in names)
    return hashlib.sha256(" ".join(map(str, made)).encode()).hexdigest()[:16]


def corrupted_batches(
    cfg: CfgNode, images: TestImages, index: CorruptionIndex, jobs: Sequence[tuple[Part, range]]
) -> Iterator[Iterator[Batch]]:
    """Yield for each job an iterator over its batches, loaded by TEST.NUM_WORKERS processes.

    The processes start once and load ahead, also for the next job. Consume all batches of a job
    before you ask for the next one.

    Args:
        cfg: full configuration; TEST, INPUT, DATALOADER.PACKED_CACHE and MODEL.DEVICE are read.
        images: images of the test set.
        index: corruption index of that test set.
        jobs: part and positions of the images, for each job.
    """
    sampler = Jobs(jobs, cfg.TEST.IMS_PER_BATCH)
    read = image_reader(cfg, images.data_set, [path for path, _, _ in images.items])
    loader = PersonLoader(
        CorruptedImages(
            images,
            index,
            build_transforms(cfg, is_train=False),
            read,
            resize_before(cfg, images.data_set),
        ),
        sampler,
        batch_size=cfg.TEST.IMS_PER_BATCH,
        drop_last=False,
        num_workers=cfg.TEST.NUM_WORKERS,
        device=cfg.MODEL.DEVICE,
    )
    batches = iter(loader)
    for _, positions in jobs:
        yield itertools.islice(batches, sampler.batches_of(positions))
