"""Check that samplers can fill their batches; fastreid's run for ever without a message if not."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

ONCE_PER_IDENTITY = "OncePerIdentitySampler"  # BDB's
ONE_PER_CAMERA = "OnePerCameraSampler"  # ICE's
OTHER_CAMERA = "OtherCameraSampler"  # lone images once
LEAST_USED = "LeastUsedSampler"  # HCD's, lone images once
LONE_ONCE = (OTHER_CAMERA, LEAST_USED)
IDENTITY_SAMPLERS = ("NaiveIdentitySampler", "BalancedIdentitySampler")
# Losses that compare images of different identities in the batch of one process.
PAIR_LOSSES = (
    *("TripletLoss", "WeightedTripletLoss", "CircleLoss", "Cosface", "BankTripletLoss"),
    "PPLRLoss",
)
# Losses that compare images with all identities, but learn nothing from batches of one.
PROTOTYPE_LOSSES = (
    "PrototypeContrastLoss",
    "ClusterContrastLoss",
    "HybridContrastLoss",
    "ICELoss",
    "InstanceContrastLoss",
)
CAMERA_PROXY = "CameraProxyLoss"  # the loss that compares the cameras of a cluster


def batch_problems(
    sampler: str,
    pids: Sequence[int | str],
    *,
    batch_size: int,
    instances: int,
    world_size: int,
    losses: Sequence[str] = (),
    has_length: bool = False,
) -> list[str]:
    """List reasons why batches cannot be filled, each with a remedy; empty if they can.

    Args:
        sampler: name of the sampler, ``DATALOADER.SAMPLER_TRAIN``.
        pids: (N,) identity of each training image.
        batch_size: images in the batch of all processes together, ``SOLVER.IMS_PER_BATCH``.
        instances: images of an identity in a batch, ``DATALOADER.NUM_INSTANCE``.
        world_size: number of processes that train together.
        losses: values of ``MODEL.LOSSES.NAME``; those of PAIR_LOSSES and PROTOTYPE_LOSSES need
            two identities in the batch of each process.
        has_length: whether epochs have a length of their own, ``SOLVER.ITERS_PER_EPOCH``. Samplers
            of identities repeat images, so that few of them do for a batch.

    Example:
        >>> options = {"batch_size": 8, "instances": 2, "world_size": 1}
        >>> batch_problems("NaiveIdentitySampler", [0, 0, 1, 1, 2, 2, 3, 3], **options)
        []
        >>> len(batch_problems("NaiveIdentitySampler", [0, 0, 0, 0, 1, 1, 1, 1], **options))
        1
    """
    if sampler == "SetReWeightSampler":
        # It collects sum(SET_WEIGHT) * NUM_INSTANCE images, requires a larger batch, and starts
        # again when it has not filled it.
        return [
            "DATALOADER.SAMPLER_TRAIN SetReWeightSampler never fills a batch in fastreid 1.4.0; "
            "use NaiveIdentitySampler, or DATASETS.GENERATED.BATCH_SHARE to weigh two sources"
        ]
    images = np.unique(np.asarray(pids), return_counts=True)[1]
    if batch_size % world_size:
        return [
            f"expected SOLVER.IMS_PER_BATCH to be a multiple of the {world_size} processes, got "
            f"{batch_size}; use {_multiple_near(batch_size, world_size)}"
        ]
    problems = []
    repeating = (*IDENTITY_SAMPLERS, ONE_PER_CAMERA, *LONE_ONCE)
    repeats = sampler == ONCE_PER_IDENTITY or (has_length and sampler in repeating)
    if batch_size > images.sum() and not repeats:
        problems.append(
            f"SOLVER.IMS_PER_BATCH is {batch_size} but there are only {images.sum()} training "
            "images, so an epoch has no iteration; lower it or add images"
        )
    if sampler in (*IDENTITY_SAMPLERS, ONCE_PER_IDENTITY, ONE_PER_CAMERA, *LONE_ONCE):
        problems += _identity_problems(sampler, images, batch_size, instances, world_size)
    pairs = [name for name in losses if name in (*PAIR_LOSSES, *PROTOTYPE_LOSSES)]
    if pairs and not problems:
        problems += _pair_problems(sampler, pairs, len(images), batch_size, instances, world_size)
    return problems


def _pair_problems(
    sampler: str,
    losses: Sequence[str],
    identities: int,
    batch_size: int,
    instances: int,
    world_size: int,
) -> list[str]:
    """List reasons why a loss that compares identities would be constant for a whole run."""
    named = " and ".join(losses)
    if identities < 2:
        return [
            f"MODEL.LOSSES.NAME has {named}, which compares identities, but the training images "
            f"show {identities}; add identities, or remove the name"
        ]
    if sampler in ("TrainingSampler", "ImbalancedDatasetSampler"):
        if set(losses) <= set(PROTOTYPE_LOSSES):
            return []
        return [
            f"MODEL.LOSSES.NAME has {named}, which compares images of one identity, but "
            f"DATALOADER.SAMPLER_TRAIN {sampler} takes images one by one, so that hardly any batch "
            f"has two of one; set it to {IDENTITY_SAMPLERS[0]}"
        ]
    if batch_size // world_size > instances:
        return []
    return [
        f"MODEL.LOSSES.NAME has {named}, which compares identities in the batch of one process, "
        f"but each of {world_size} processes gets {batch_size // world_size} images "
        f"(SOLVER.IMS_PER_BATCH {batch_size}) of one identity (DATALOADER.NUM_INSTANCE "
        f"{instances}); raise SOLVER.IMS_PER_BATCH to {2 * instances * world_size} or more, "
        "or lower DATALOADER.NUM_INSTANCE"
    ]


def _identity_problems(
    sampler: str, images: NDArray[np.int64], batch_size: int, instances: int, world_size: int
) -> list[str]:
    per_process = batch_size // world_size
    if per_process % instances:
        step = instances * world_size
        return [
            f"expected a batch of complete identities in each of {world_size} processes, got "
            f"SOLVER.IMS_PER_BATCH {batch_size} / {world_size} = {per_process} images and "
            f"DATALOADER.NUM_INSTANCE {instances}; "
            f"use SOLVER.IMS_PER_BATCH {_multiple_near(batch_size, step)}"
        ]
    if sampler in LONE_ONCE:
        return _pass_problems(images, batch_size, instances)
    identities = per_process // instances  # P of each process
    if sampler in ("BalancedIdentitySampler", ONCE_PER_IDENTITY, ONE_PER_CAMERA):
        is_enough = len(images) >= identities * world_size
    else:
        # The sampler takes `identities` distinct identities at a time, each as often as it has
        # `instances` images left (at least once), `world_size` times.
        rounds = np.maximum(images // instances, 1)
        is_enough = np.minimum(rounds, world_size).sum() >= identities * world_size
    if is_enough:
        return []
    fits = len(images) // world_size * world_size * instances
    if not fits:
        advice = f"train on fewer than {world_size} processes, or add identities"
    else:
        advice = (
            f"lower SOLVER.IMS_PER_BATCH to {fits}, raise DATALOADER.NUM_INSTANCE, or add "
            "identities"
        )
    return [
        f"a batch needs {identities * world_size} different identities (SOLVER.IMS_PER_BATCH "
        f"{batch_size} / DATALOADER.NUM_INSTANCE {instances}) but there are {len(images)}; {advice}"
    ]


def _pass_problems(images: NDArray[np.int64], batch_size: int, instances: int) -> list[str]:
    """List why a pass over all identities, those of one image once, does not fill a batch."""
    filled = int(np.where(images > 1, instances, 1).sum())
    if filled >= batch_size:
        return []
    return [
        f"a pass over the {len(images)} identities gives {filled} images (DATALOADER.NUM_INSTANCE "
        f"{instances} of each, one of those with a single image), fewer than SOLVER.IMS_PER_BATCH "
        f"{batch_size}; lower the batch, or raise DATALOADER.NUM_INSTANCE"
    ]


def _multiple_near(value: int, step: int) -> int:
    return max(value // step, 1) * step
