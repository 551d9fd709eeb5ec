"""Build the loaders of a run from its configuration."""

import functools
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from fastreid.config import CfgNode
from fastreid.data import samplers as host
from fastreid.utils import comm
from PIL import Image

from fastreid_ext.config.bdb import ONCE_PER_IDENTITY
from fastreid_ext.data.dataset import PersonDataset, read_rgb
from fastreid_ext.data.decode import read_pixels
from fastreid_ext.data.feasibility import IDENTITY_SAMPLERS, batch_problems
from fastreid_ext.data.item_arrays import AnyItem, ItemArrays
from fastreid_ext.data.loaders import BatchStep, PersonLoader, TrainLoader
from fastreid_ext.data.mixing import MixedBatches
from fastreid_ext.data.packed import PackedImages
from fastreid_ext.data.packing import packed_images
from fastreid_ext.data.samplers import ResumableSampler, Stream, fastreid_stream, once_per_identity
from fastreid_ext.data.sources import TrainingItems, query_and_gallery, training_items
from fastreid_ext.data.transforms import build_transforms
from fastreid_ext.data.transforms.fast_path import paint_steps
from fastreid_ext.data.transforms.on_batch import build_batch_steps

logger = logging.getLogger(__name__)


def build_train_loader(cfg: CfgNode) -> TrainLoader:
    """Return the endless training loader of this process.

    Order and augmentation depend on ``loader.seed`` and the iteration only, not on the number of
    workers. ``loader.seed`` is cfg.SEED, or random (the same on all processes) if that is -1.

    Raises:
        FileNotFoundError: a data set is missing.
        ValueError: the images cannot fill the batches the configuration asks for.
    """
    training = training_items(cfg)
    dataset = _dataset(cfg, "train", training.items, is_train=True)
    seed = cfg.SEED if cfg.SEED >= 0 else int(comm.shared_random_seed())
    world_size = comm.get_world_size()
    stream = _stream(cfg, training, world_size)
    draws = ResumableSampler(stream, seed, rank=comm.get_rank(), world_size=world_size)
    _log_summary(training)
    if cfg.INPUT.RPT.ENABLED:
        logger.warning(
            "INPUT.RPT pastes patches that each loader worker has collected, so the run depends on "
            "DATALOADER.NUM_WORKERS and does not resume exactly; INPUT.REA has neither problem"
        )
    return TrainLoader(
        dataset,
        draws,
        world_size=world_size,
        batch_size=cfg.SOLVER.IMS_PER_BATCH // world_size,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        device=cfg.MODEL.DEVICE,
        batch_steps=_batch_steps(cfg, is_train=True),
    )


def build_test_loader(cfg: CfgNode, dataset_name: str) -> tuple[PersonLoader, int]:
    """Return this process's share of a test set, queries first, and the number of queries.

    Raises:
        FileNotFoundError: the data set is missing.
        ValueError: it has no queries or no gallery.
    """
    items, num_query = query_and_gallery(cfg, dataset_name)
    dataset = _dataset(cfg, dataset_name, items, is_train=False)
    loader = PersonLoader(
        dataset,
        host.InferenceSampler(len(dataset)),
        batch_size=max(cfg.TEST.IMS_PER_BATCH // comm.get_world_size(), 1),
        drop_last=False,
        num_workers=cfg.TEST.NUM_WORKERS,
        device=cfg.MODEL.DEVICE,
        batch_steps=_batch_steps(cfg, is_train=False),
    )
    return loader, num_query


def sampling_problems(cfg: CfgNode, training: TrainingItems, world_size: int) -> list[str]:
    """Return why ``world_size`` processes could not fill their batches, each with what to do."""
    problems = batch_problems(
        cfg.DATALOADER.SAMPLER_TRAIN,
        training.items.dense_pids()[0],
        batch_size=cfg.SOLVER.IMS_PER_BATCH,
        instances=cfg.DATALOADER.NUM_INSTANCE,
        world_size=world_size,
    )
    share, sampler = cfg.DATASETS.GENERATED.BATCH_SHARE, cfg.DATALOADER.SAMPLER_TRAIN
    if not share or problems:
        return problems
    if sampler not in (*IDENTITY_SAMPLERS, "TrainingSampler"):
        return [
            f"DATASETS.GENERATED.BATCH_SHARE {share:g} decides what a batch holds, and so does "
            f"DATALOADER.SAMPLER_TRAIN {sampler}; use NaiveIdentitySampler (batches of persons) or "
            "TrainingSampler (of single images), or set the share to 0"
        ]
    return mixed_batches(cfg, training, world_size).problems()


def _stream(cfg: CfgNode, training: TrainingItems, world_size: int) -> Stream:
    """Choose the order of the images; ValueError if a sampler could not fill its batches."""
    problems = sampling_problems(cfg, training, world_size)
    if problems:
        raise ValueError("; ".join(problems))
    if cfg.DATASETS.GENERATED.BATCH_SHARE > 0:
        return mixed_batches(cfg, training, world_size)
    batch_size, instances = cfg.SOLVER.IMS_PER_BATCH // world_size, cfg.DATALOADER.NUM_INSTANCE
    name = cfg.DATALOADER.SAMPLER_TRAIN
    if name == ONCE_PER_IDENTITY:
        return once_per_identity(
            training.items, batch_size=batch_size, instances=instances, world_size=world_size
        )
    return fastreid_stream(name, training.items, batch_size=batch_size, instances=instances)


def mixed_batches(cfg: CfgNode, training: TrainingItems, world_size: int) -> MixedBatches:
    """Return the stream that keeps ``DATASETS.GENERATED.BATCH_SHARE``."""
    has_persons = cfg.DATALOADER.SAMPLER_TRAIN in IDENTITY_SAMPLERS
    generated = cfg.DATASETS.GENERATED
    return MixedBatches(
        training.items.dense_pids()[0].tolist() if has_persons else range(len(training.items)),
        training.is_generated,
        share=generated.BATCH_SHARE,
        within_persons=has_persons and generated.PERSON_IDS == "kept",
        batch_size=cfg.SOLVER.IMS_PER_BATCH // world_size,
        instances=cfg.DATALOADER.NUM_INSTANCE if has_persons else 1,
        world_size=world_size,
    )


def _dataset(cfg: CfgNode, name: str, items: Sequence[AnyItem], *, is_train: bool) -> PersonDataset:
    items = ItemArrays.of(items)
    read = image_reader(cfg, name, items.paths)
    transform = build_transforms(cfg, is_train=is_train)
    return PersonDataset(items, transform, relabel=is_train, read=read)


def image_reader(cfg: CfgNode, name: str, paths: Sequence[str]) -> Callable[[str], Any]:
    """Return the function that reads an image, from its file or from a packed set.

    Args:
        cfg: INPUT.FAST_PATH and DATALOADER.PACKED_CACHE are read; a packed set is written here.
        name: begin of the name of a packed set.
        paths: all images that will be read.

    Returns:
        A function from a path to (H, W, 3) uint8 RGB on the fast path, else to a PIL image.
    """
    is_fast, folder = cfg.INPUT.FAST_PATH.ENABLED, cfg.DATALOADER.PACKED_CACHE
    if not folder:
        return read_pixels if is_fast else read_rgb
    packed = packed_images(folder, name, paths, read_pixels)
    return packed if is_fast else functools.partial(_pillow_image, packed)


def _pillow_image(packed: PackedImages, path: str) -> Image.Image:
    return Image.fromarray(packed(path))


def _batch_steps(cfg: CfgNode, *, is_train: bool) -> list[BatchStep]:
    return [*paint_steps(cfg, is_train=is_train), *build_batch_steps(cfg, is_train=is_train)]


def _log_summary(training: TrainingItems) -> None:
    persons = len(training.items.dense_pids()[1])
    counts: Counter[str] = Counter()
    for name, count in training.parts:
        counts[name] += count
    parts = ", ".join(f"{name} {count}" for name, count in counts.items())
    logger.info("Training on %d images of %d persons: %s", len(training.items), persons, parts)
    for said in training.subsets:
        logger.info(said)
