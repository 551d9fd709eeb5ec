"""Pipelines that ``tools/benchmarks/loading.py`` compares: fastreid's, and ours in two ways."""

import itertools
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fastreid.config import CfgNode, get_cfg
from fastreid.data.build import fast_batch_collator
from fastreid.data.common import CommDataset
from fastreid.data.transforms import build_transforms as host_transforms
from torch.utils.data import DataLoader, Dataset, Sampler

from fastreid_ext.data.dataset import PersonDataset, collate
from fastreid_ext.data.decode import read_pixels
from fastreid_ext.data.loaders import PersonLoader
from fastreid_ext.data.packing import packed_images
from fastreid_ext.data.samplers import ResumableSampler
from fastreid_ext.data.transforms import build_transforms
from fastreid_ext.data.transforms.fastreid_steps import build_painters
from fastreid_ext.data.transforms.painting import PaintRectangles
from measuring.timing import median_seconds

METHODS = ("fastreid", "fast", "packed")


def recipe() -> CfgNode:
    """Return the transforms of the usual recipes: 256 x 128, padding, crop, mirror, erasing."""
    cfg = get_cfg()
    for name in ("FLIP", "PADDING", "REA"):
        cfg.INPUT[name].ENABLED = True
    return cfg


def dataset_of(method: str, paths: Sequence[str], packed_folder: Path) -> Dataset:
    """Return the training set of a method; each image is a person of its own."""
    items = [(path, f"p_{number}", "p_1") for number, path in enumerate(paths)]
    if method == "fastreid":
        return CommDataset(items, host_transforms(recipe(), is_train=True))
    transform = build_transforms(recipe(), is_train=True)
    read: Callable[[str], Any] = read_pixels
    if method == "packed":
        read = packed_images(packed_folder, "benchmark", paths, read_pixels)
    return PersonDataset(items, transform, relabel=True, read=read)


def order(count: int, seed: int = 0) -> Sampler:
    """Return endless numbers of ``count`` images, each as often as the others."""
    return ResumableSampler(lambda _: itertools.cycle(range(count)), seed)


class Compared:
    """Measurements of all methods on the same files; seconds per image.

    Args:
        paths: names of the image files.
        packed_folder: folder for the packed sets.
        batch: images in a batch.
        rounds: in which the methods take turns; results are medians.
    """

    def __init__(
        self, paths: Sequence[str], packed_folder: Path, *, batch: int, rounds: int
    ) -> None:
        self.batch = batch
        self.rounds = rounds
        self.datasets = {method: dataset_of(method, paths, packed_folder) for method in METHODS}
        self._count = len(paths)

    def samples(self) -> dict[str, float]:
        """Return the CPU time of this process from files to batches."""
        makers = {method: self._batch_maker(method) for method in METHODS}
        for make in makers.values():
            make()  # compiles, and fills the page cache
        times = median_seconds(makers, self.rounds, "cpu")
        return {method: time / self.batch for method, time in times.items()}

    def _batch_maker(self, method: str) -> Callable[[], dict[str, Any]]:
        dataset = self.datasets[method]
        order_of_images = iter(order(self._count))
        joined = fast_batch_collator if method == "fastreid" else collate
        return lambda: joined(
            [dataset[sample] for sample in itertools.islice(order_of_images, self.batch)]
        )

    def device_steps(self) -> float:
        """Return the CPU time in which a fast batch becomes float and is painted on."""
        taken = self._batch_maker("fast")()
        paint = PaintRectangles([painter.fill for painter in build_painters(recipe())])
        return median_seconds({"": lambda: paint(taken)}, self.rounds, "cpu")[""] / self.batch

    def loaders(self, workers: int, images: int) -> dict[str, tuple[float, float]]:
        """Return CPU time with that of the workers, and wall time, of starting and using a loader.

        It ends where batches leave for the device, on which ours become float.

        Args:
            workers: number of loader processes.
            images: to load in a run; there are a fifth as many rounds.
        """
        runs: dict[str, list[tuple[float, float]]] = {method: [] for method in METHODS}
        for _ in range(max(self.rounds // 5, 1)):
            for method, found in runs.items():
                found.append(self._loader_run(method, workers, images))
        return {
            method: tuple(statistics.median(part) / images for part in zip(*found, strict=True))
            for method, found in runs.items()
        }

    def _loader_run(self, method: str, workers: int, images: int) -> tuple[float, float]:
        dataset = self.datasets[method]
        order_of_images = order(self._count)
        options = {"batch_size": self.batch, "num_workers": workers}
        if method == "fastreid":
            loader = DataLoader(
                dataset, sampler=order_of_images, collate_fn=fast_batch_collator, **options
            )
        else:
            loader = PersonLoader(dataset, order_of_images, drop_last=True, device="cpu", **options)
        began = time.perf_counter()
        cpu = _cpu_seconds()
        batches = DataLoader.__iter__(loader)
        for _ in itertools.islice(batches, images // self.batch):
            pass
        wall = time.perf_counter() - began
        del batches, loader  # ends the workers, whose time counts then
        return _cpu_seconds() - cpu, wall


def _cpu_seconds() -> float:
    whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(sum(resource.getrusage(who)[:2]) for who in whose)
