"""Build the loaders of a run from its configuration."""

import functools
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from fastreid.config import CfgNode
from fastreid.data import samplers as host
from fastreid.utils import comm
from numpy.typing import NDArray

from fastreid_ext.data.configured_sets import (
    TrainingItems,
    modalities_of,
    query_and_gallery,
    training_items,
)
from fastreid_ext.data.cross_modality import (
    CROSS_MODALITY,
    cross_modality_batches,
)
from fastreid_ext.data.dataset import PersonDataset
from fastreid_ext.data.decode import read_pixels
from fastreid_ext.data.domain_batches import (
    DOMAIN_BALANCED,
    DomainBatches,
    domains_of_images,
    has_meta_half,
)
from fastreid_ext.data.domains import (
    PairedStream,
    half_of_batch,
    source_of,
)
from fastreid_ext.data.item_arrays import AnyItem, ItemArrays
from fastreid_ext.data.loaders import PersonLoader, TrainLoader
from fastreid_ext.data.packing import packed_images
from fastreid_ext.data.positives import Positives, read_positives
from fastreid_ext.data.samplers import ChosenImages, ResumableSampler, Stream, named_stream
from fastreid_ext.data.sampling_problems import (
    labelled_problems,
    mixed_batches,
    sampling_problems,
)
from fastreid_ext.data.transforms import build_transforms
from fastreid_ext.data.transforms.on_batch import build_batch_steps
from fastreid_ext.data.transforms.one_pass import ResizeOnly

logger = logging.getLogger(__name__)


def build_train_loader(
    cfg: CfgNode,
    training: TrainingItems | None = None,
    *,
    name: str = "train",
    transform: Callable[..., Any] | None = None,
) -> TrainLoader:
    """Build the endless training loader of this process.

    Order and augmentation depend on ``loader.seed`` and the iteration only, not on the number of
    workers. ``loader.seed`` is cfg.SEED, or random (the same on all processes) if that is -1.

    Args:
        cfg: configuration of the run, with the keys of fastreid_ext.
        training: training images, e.g. ``TrainingItems.given(items)``; None = those of
            ``DATASETS.NAMES``.
        name: name of these images in ``DATALOADER.PACKED_CACHE``.
        transform: function from an image to a tensor, see
            :class:`~fastreid_ext.data.dataset.PersonDataset`; None = built from the keys of
            ``INPUT``.

    Raises:
        FileNotFoundError: a data set is missing.
        ValueError: the images cannot fill the batches the configuration asks for.

    Example::

        loader = build_train_loader(cfg)
        batch = next(iter(loader))  # {"images": (B, 3, H, W), "targets": (B,), ...}
    """
    training = training_items(cfg) if training is None else training
    positives = read_positives(cfg, training) if cfg.INPUT.VIEWS.RECIPE == "pose" else None
    dataset = _training_set(cfg, name, training, transform, positives)
    seed = cfg.SEED if cfg.SEED >= 0 else int(comm.shared_random_seed())
    world_size = comm.get_world_size()
    if cfg.UNSUPERVISED.ENABLED:
        _refuse(sampling_problems(cfg, training, world_size))
        dataset.set_targets(np.full(len(dataset), -1))
        if training.source_images:
            dataset.source_labels = source_of(training).dense_pids()[0]
        stream = _stream_before_labels
    elif positives is None:
        stream = _stream(cfg, training, world_size)
    else:
        stream = _stream_of_paired(cfg, training, world_size, positives)
    sampler = ResumableSampler(stream, seed, rank=comm.get_rank(), world_size=world_size)
    _log_summary(training, has_labels=not cfg.UNSUPERVISED.ENABLED)
    if cfg.INPUT.RPT.ENABLED:
        logger.warning(
            "INPUT.RPT pastes patches that each loader worker has collected, so the run depends on "
            "DATALOADER.NUM_WORKERS and does not resume exactly; INPUT.REA has neither problem"
        )
    return TrainLoader(
        dataset,
        sampler,
        world_size=world_size,
        batch_size=cfg.SOLVER.IMS_PER_BATCH // world_size,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        device=cfg.MODEL.DEVICE,
        batch_steps=build_batch_steps(cfg, is_train=True),
        stream_of=functools.partial(_stream_of_labels, cfg, training, world_size),
    )


def build_items_loader(
    cfg: CfgNode, items: Sequence[AnyItem], *, name: str = "items"
) -> PersonLoader:
    """Build a loader of given images: this process's share, each image once, in their order.

    Images are transformed and batched as those of a test set.

    Args:
        cfg: configuration of the run, with the keys of fastreid_ext.
        items: (path, pid, camid) of each image; pids and camids are all strings or all numbers.
            Batches hold strings as numbers, counted from 0 in the order of the sorted names.
        name: name of these images in ``DATALOADER.PACKED_CACHE``.

    Example::

        loader = build_items_loader(cfg, [("shop/1.jpg", 1, 0), ("shop/2.jpg", 2, 0)])
    """
    arrays = ItemArrays.of(items)
    return _whole_loader(cfg, _test_set(cfg, name, arrays, is_named=arrays.pid_names is not None))


def build_test_loader(cfg: CfgNode, dataset_name: str) -> tuple[PersonLoader, int]:
    """Build a loader of this process's share of a test set; also return the number of queries.

    Queries come first, then the gallery.

    Raises:
        FileNotFoundError: the data set is missing.
        ValueError: the data set has no queries or no gallery.
    """
    items, num_query = query_and_gallery(cfg, dataset_name)
    dataset = _test_set(cfg, dataset_name, items)
    dataset.modalities = modalities_of(dataset_name, items.paths)
    return _whole_loader(cfg, dataset), num_query


def _whole_loader(cfg: CfgNode, dataset: PersonDataset) -> PersonLoader:
    return PersonLoader(
        dataset,
        host.InferenceSampler(len(dataset)),
        batch_size=max(cfg.TEST.IMS_PER_BATCH // comm.get_world_size(), 1),
        drop_last=False,
        num_workers=cfg.TEST.NUM_WORKERS,
        device=cfg.MODEL.DEVICE,
        batch_steps=build_batch_steps(cfg, is_train=False),
    )


def _stream(cfg: CfgNode, training: TrainingItems, world_size: int) -> Stream:
    """Build the order of the images; raise ValueError if a sampler cannot fill its batches."""
    _refuse(labelled_problems(cfg, training, world_size))
    if has_meta_half(cfg):
        half = half_of_batch(cfg)
        streams = (_base_stream(half, training, world_size), _by_domain(half, training, world_size))
        return PairedStream(*streams, half.SOLVER.IMS_PER_BATCH)
    return _base_stream(cfg, training, world_size)


def _by_domain(cfg: CfgNode, training: TrainingItems, world_size: int) -> Stream:
    return DomainBatches(
        training.items.dense_pids()[0],
        domains_of_images(cfg, training),
        batch_size=cfg.SOLVER.IMS_PER_BATCH // world_size,
        instances=cfg.DATALOADER.NUM_INSTANCE,
        world_size=world_size,
    )


def _base_stream(cfg: CfgNode, training: TrainingItems, world_size: int) -> Stream:
    """Build the order in which ``DATALOADER.SAMPLER_TRAIN`` takes the images."""
    if cfg.DATALOADER.SAMPLER_TRAIN == DOMAIN_BALANCED:
        return _by_domain(cfg, training, world_size)
    if cfg.DATASETS.GENERATED.BATCH_SHARE > 0:
        return mixed_batches(cfg, training, world_size)
    batch_size = cfg.SOLVER.IMS_PER_BATCH // world_size
    if cfg.DATALOADER.SAMPLER_TRAIN == CROSS_MODALITY:
        return cross_modality_batches(
            training.items.dense_pids()[0],
            training.modalities,
            batch_size=batch_size,
            instances=cfg.DATALOADER.NUM_INSTANCE,
            world_size=world_size,
        )
    return named_stream(cfg, training.items, batch_size=batch_size, world_size=world_size)


def _refuse(problems: list[str]) -> None:
    if problems:
        raise ValueError("; ".join(problems))


def _stream_before_labels(seed: int) -> Iterator[int]:
    """Refuse to give images that have no cluster yet."""
    raise RuntimeError(
        "expected clusters as labels before the first batch, got none; the trainer's hook "
        "PseudoLabels makes them before each epoch"
    )


def _stream_of_labels(
    cfg: CfgNode, training: TrainingItems, world_size: int, labels: NDArray[np.integer]
) -> Stream:
    """Build the order of the images whose label is not -1; the labels are the identities."""
    if cfg.DATASETS.GENERATED.BATCH_SHARE > 0:
        raise ValueError(
            "expected DATASETS.GENERATED.BATCH_SHARE 0 where training images get new labels, got "
            f"{cfg.DATASETS.GENERATED.BATCH_SHARE:g}; the share counts original identities"
        )
    if training.source_images:
        half = half_of_batch(cfg)
        kept = np.flatnonzero(labels >= 0)
        is_source = kept < training.source_images
        halves = [
            _stream_of_chosen(half, training, world_size, labels, places)
            for places in (kept[is_source], kept[~is_source])
        ]
        return PairedStream(*halves, half.SOLVER.IMS_PER_BATCH)
    return _stream_of_chosen(cfg, training, world_size, labels, np.flatnonzero(labels >= 0))


def _stream_of_chosen(
    cfg: CfgNode,
    training: TrainingItems,
    world_size: int,
    labels: NDArray[np.integer],
    places: NDArray[np.integer],
) -> Stream:
    chosen = training.chosen(training.items.with_pids(labels), places)
    return ChosenImages(_stream(cfg, chosen, world_size), places)


def _stream_of_paired(
    cfg: CfgNode, training: TrainingItems, world_size: int, positives: Positives
) -> Stream:
    """Build the order of the images that have a positive."""
    kept = np.flatnonzero(positives.have_some)
    count = len(training.items)
    if len(kept) < count:
        logger.warning(
            "%d of %d training images have no pose-changed image and are left out",
            count - len(kept),
            count,
        )
    chosen = training.chosen(training.items, kept)
    return ChosenImages(_stream(cfg, chosen, world_size), kept)


def _training_set(
    cfg: CfgNode,
    name: str,
    training: TrainingItems,
    transform: Callable[..., Any] | None,
    positives: Positives | None,
) -> PersonDataset:
    size = cfg.INPUT.CLEAN_VIEW.SIZE
    return PersonDataset(
        training.items,
        build_transforms(cfg, is_train=True) if transform is None else transform,
        relabel=True,
        read=image_reader(cfg, name, training.items.paths),
        domains=training.domains,
        modalities=training.modalities,
        clean=ResizeOnly((int(size[0]), int(size[1]))) if size else None,
        positive=None if positives is None else positives.read,
    )


def _test_set(
    cfg: CfgNode, name: str, items: ItemArrays, *, is_named: bool = False
) -> PersonDataset:
    return PersonDataset(
        items,
        build_transforms(cfg, is_train=False),
        relabel=is_named,
        read=image_reader(cfg, name, items.paths),
    )


def image_reader(cfg: CfgNode, name: str, paths: Sequence[str]) -> Callable[[str], Any]:
    """Build the function that reads an image from its file or from a packed set.

    Args:
        cfg: configuration with DATALOADER.PACKED_CACHE, the folder in which a packed set is
            written; "" = none.
        name: prefix of a packed set's file name.
        paths: paths of all images that will be read.

    Returns:
        A function from a path to (H, W, 3) uint8 RGB.
    """
    folder = cfg.DATALOADER.PACKED_CACHE
    return packed_images(folder, name, paths, read_pixels) if folder else read_pixels


def _log_summary(training: TrainingItems, *, has_labels: bool) -> None:
    identities = len(training.items.dense_pids()[1])
    counts: Counter[str] = Counter()
    for name, count in training.parts:
        counts[name] += count
    parts = ", ".join(f"{name} {count}" for name, count in counts.items())
    of = f"of {identities} identities" if has_labels else "without labels"
    if training.source_images:
        of = f"({training.source_images} of sources, with labels; the others without)"
    logger.info("Training on %d images %s: %s", len(training.items), of, parts)
    for summary in training.subsets:
        logger.info(summary)
