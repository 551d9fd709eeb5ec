"""Reasons why the training images cannot fill the batches that a configuration asks for.

Each says what to change. They are found before training, and before each epoch where clusters are
the labels.
"""

import numpy as np
from fastreid.config import CfgNode
from numpy.typing import NDArray

from fastreid_ext.data.configured_sets import TrainingItems
from fastreid_ext.data.cross_modality import CROSS_MODALITY, cross_modality_problems
from fastreid_ext.data.domain_batches import (
    DOMAIN_BALANCED,
    domain_names,
    domain_problems,
    domains_of_images,
    has_meta_half,
)
from fastreid_ext.data.domains import (
    curriculum_problems,
    half_of_batch,
    shared_images,
    source_of,
)
from fastreid_ext.data.item_arrays import ItemArrays
from fastreid_ext.data.mixed_batches import MixedBatches
from fastreid_ext.data.sampler_checks import CAMERA_PROXY, IDENTITY_SAMPLERS, batch_problems


def sampling_problems(cfg: CfgNode, training: TrainingItems, world_size: int) -> list[str]:
    """List reasons why ``world_size`` processes cannot fill their batches, and remedies.

    The identities of images that will get clusters as labels are not looked at.
    """
    if training.source_images:
        return _problems_of_domains(cfg, training, world_size)
    if cfg.UNSUPERVISED.ENABLED:
        problems = _unlabelled_problems(cfg, len(training.items), world_size)
        return [*problems, *_camera_problems(cfg, training)]
    return labelled_problems(cfg, training, world_size)


def _problems_of_domains(cfg: CfgNode, training: TrainingItems, world_size: int) -> list[str]:
    shared = shared_images(training)
    if shared:
        return [
            f"{len(shared)} images are in DATASETS.SOURCES and in DATASETS.NAMES, the first is "
            f"{shared[0]}; a target that is its own source has labels: train on it without SOURCES"
        ]
    half = half_of_batch(cfg)
    source = TrainingItems.given(source_of(training))
    target = len(training.items) - training.source_images
    if cfg.UNSUPERVISED.CURRICULUM.ENABLED and (problems := curriculum_problems(cfg, training)):
        return problems
    return [
        *_in_half("DATASETS.SOURCES", labelled_problems(half, source, world_size)),
        *_in_half("DATASETS.NAMES", _unlabelled_problems(half, target, world_size)),
    ]


def _in_half(key: str, problems: list[str]) -> list[str]:
    """Name the half of the batch in problems that call its images IMS_PER_BATCH."""
    return [f"in the half of SOLVER.IMS_PER_BATCH that {key} fills: {text}" for text in problems]


def label_problems(
    cfg: CfgNode, items: ItemArrays, labels: NDArray[np.integer], world_size: int
) -> list[str]:
    """List reasons why images with clusters as labels cannot be trained on, and remedies.

    Args:
        cfg: configuration of the run.
        items: (path, pid, camid) of each of N images; those of the target.
        labels: (N,) clusters 0 .. C-1, -1 for noise.
        world_size: number of processes that train together.
    """
    if cfg.DATASETS.SOURCES:
        cfg = half_of_batch(cfg)
    kept = np.flatnonzero(labels >= 0)
    if not len(kept):
        return [f"all {len(labels)} images are noise"]
    if labels.max() < 1:
        return [f"there is one cluster, of {len(kept)} images, which can be told from no other"]
    own = items.with_pids(labels).take(kept)
    return labelled_problems(cfg, TrainingItems.given(own), world_size)


def _unlabelled_problems(cfg: CfgNode, images: int, world_size: int) -> list[str]:
    problems = []
    nearest = cfg.UNSUPERVISED.K1
    batch = cfg.SOLVER.IMS_PER_BATCH
    if cfg.MODEL.META_ARCHITECTURE == "GLT":  # k-means, which has no neighbours
        most = max(cfg.MODEL.GLT.CLUSTERS)
        if most > images:
            problems.append(
                f"MODEL.GLT.CLUSTERS has {most} clusters, but there are only {images} training "
                "images; lower it to about the number of persons, or add images"
            )
    elif nearest > images:
        problems.append(
            f"UNSUPERVISED.K1 is {nearest} nearest images, but there are only {images} training "
            "images; lower it to at most one and a half times the images of a person, or add images"
        )
    if batch > images and not cfg.SOLVER.ITERS_PER_EPOCH:
        problems.append(
            f"SOLVER.IMS_PER_BATCH is {batch} but there are only {images} training images, so an "
            "epoch has no iteration; set SOLVER.ITERS_PER_EPOCH"
        )
    step = world_size * cfg.DATALOADER.NUM_INSTANCE
    if batch % step:
        problems.append(
            f"expected SOLVER.IMS_PER_BATCH to be a multiple of {world_size} processes times "
            f"DATALOADER.NUM_INSTANCE {cfg.DATALOADER.NUM_INSTANCE}, got {batch}; use "
            f"{max(batch // step, 1) * step}"
        )
    return problems


def _camera_problems(cfg: CfgNode, training: TrainingItems) -> list[str]:
    cameras = training.items.dense_camids()[1]
    if CAMERA_PROXY not in cfg.MODEL.LOSSES.NAME or len(cameras) > 1:
        return []
    return [
        f"MODEL.LOSSES.NAME has {CAMERA_PROXY}, which compares the cameras of a cluster, but all "
        f"training images are of one camera ({cameras[0]}), or their cameras are not known; give "
        "the cameras (docs/datasets.md), or take the name out, which leaves the variant without "
        "cameras"
    ]


def labelled_problems(cfg: CfgNode, training: TrainingItems, world_size: int) -> list[str]:
    """List reasons why images with labels cannot fill the batches of a sampler, and remedies."""
    if not has_meta_half(cfg):
        return _problems_of_sampler(cfg, training, world_size)
    half = half_of_batch(cfg)
    return [
        *_in_half("the ordinary loss", _problems_of_sampler(half, training, world_size)),
        *_in_half("SOLVER.META", _domain_problems(half, training, world_size)),
    ]


def _domain_problems(cfg: CfgNode, training: TrainingItems, world_size: int) -> list[str]:
    domains = domains_of_images(cfg, training)
    problems = domain_problems(
        training.items.dense_pids()[0],
        domains,
        batch_size=cfg.SOLVER.IMS_PER_BATCH // world_size,
        instances=cfg.DATALOADER.NUM_INSTANCE,
        names=domain_names(cfg, training),
    )
    if problems or not has_meta_half(cfg):
        return problems
    test = cfg.SOLVER.META.TEST_DOMAINS
    number = len(np.unique(domains))
    persons = cfg.SOLVER.IMS_PER_BATCH // world_size // cfg.DATALOADER.NUM_INSTANCE // number
    rules = (
        (
            test <= number - 2,
            f"SOLVER.META.TEST_DOMAINS {test} of {number} domains leaves {number - test} for "
            "meta-training, whose losses compare domains and need two; lower it, or add domains",
        ),
        (
            persons >= 2,
            f"a process has {persons} person of each domain, but the losses compare two of one "
            f"domain; raise SOLVER.IMS_PER_BATCH to "
            f"{4 * number * cfg.DATALOADER.NUM_INSTANCE * world_size}",
        ),
    )
    return [message for holds, message in rules if not holds]


def _problems_of_sampler(cfg: CfgNode, training: TrainingItems, world_size: int) -> list[str]:
    if cfg.DATALOADER.SAMPLER_TRAIN == DOMAIN_BALANCED:
        return _domain_problems(cfg, training, world_size)
    if cfg.DATALOADER.SAMPLER_TRAIN == CROSS_MODALITY:
        return _cross_modality_problems(cfg, training, world_size)
    problems = batch_problems(
        cfg.DATALOADER.SAMPLER_TRAIN,
        training.items.dense_pids()[0],
        batch_size=cfg.SOLVER.IMS_PER_BATCH,
        instances=cfg.DATALOADER.NUM_INSTANCE,
        world_size=world_size,
        losses=() if _gives_pairs_itself(cfg) else cfg.MODEL.LOSSES.NAME,
        has_length=cfg.SOLVER.ITERS_PER_EPOCH > 0,
    )
    share = cfg.DATASETS.GENERATED.BATCH_SHARE
    sampler = cfg.DATALOADER.SAMPLER_TRAIN
    if not share or problems:
        return problems
    if sampler not in (*IDENTITY_SAMPLERS, "TrainingSampler"):
        return [
            f"DATASETS.GENERATED.BATCH_SHARE {share:g} decides what a batch holds, and so does "
            f"DATALOADER.SAMPLER_TRAIN {sampler}; use NaiveIdentitySampler (batches of "
            "identities) or TrainingSampler (of single images), or set the share to 0"
        ]
    return mixed_batches(cfg, training, world_size).problems()


def _cross_modality_problems(cfg: CfgNode, training: TrainingItems, world_size: int) -> list[str]:
    places, names = training.items.dense_pids()
    problems = cross_modality_problems(
        np.asarray(names)[places],
        training.modalities,
        batch_size=cfg.SOLVER.IMS_PER_BATCH,
        instances=cfg.DATALOADER.NUM_INSTANCE,
        world_size=world_size,
    )
    share = cfg.DATASETS.GENERATED.BATCH_SHARE
    if share:
        problems.append(
            f"DATASETS.GENERATED.BATCH_SHARE {share:g} decides what a batch holds, and so does "
            f"DATALOADER.SAMPLER_TRAIN {CROSS_MODALITY}; set the share to 0"
        )
    return problems


def _gives_pairs_itself(cfg: CfgNode) -> bool:
    """Tell whether the losses see several views of each image, which are pairs too."""
    return bool(cfg.INPUT.VIEWS.RECIPE) and cfg.INPUT.VIEWS.SUPERVISED == "all"


def mixed_batches(cfg: CfgNode, training: TrainingItems, world_size: int) -> MixedBatches:
    """Build the stream that keeps ``DATASETS.GENERATED.BATCH_SHARE`` in every batch."""
    has_identities = cfg.DATALOADER.SAMPLER_TRAIN in IDENTITY_SAMPLERS
    generated = cfg.DATASETS.GENERATED
    return MixedBatches(
        training.items.dense_pids()[0] if has_identities else np.arange(len(training.items)),
        training.is_generated,
        share=generated.BATCH_SHARE,
        within_identities=has_identities and generated.PERSON_IDS == "kept",
        batch_size=cfg.SOLVER.IMS_PER_BATCH // world_size,
        instances=cfg.DATALOADER.NUM_INSTANCE if has_identities else 1,
        world_size=world_size,
    )
