"""Batches of P identities with K visible and K infrared images each, for visible-infrared Re-ID.

``DATALOADER.NUM_INSTANCE`` is 2 K, the images of an identity in both modalities, so P is
``SOLVER.IMS_PER_BATCH`` / ``NUM_INSTANCE``: AGW's 8 identities of 4 + 4 images are 64 and 8. The
order is that of :class:`~fastreid_ext.data.mixed_batches.MixedBatches`: all identities once, then
all again, and the images of an identity likewise. AGW's own sampler takes identities and images at
random for each batch.
"""

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from fastreid_ext.data.mixed_batches import MixedBatches

CROSS_MODALITY = "CrossModalitySampler"
MODALITIES = ("visible", "infrared")  # at the place of each modality's number


def cross_modality_batches(
    pids: Sequence[Hashable] | NDArray[np.integer],
    modalities: NDArray[np.integer],
    *,
    batch_size: int,
    instances: int,
    world_size: int = 1,
) -> MixedBatches:
    """Build the stream of batches with as many visible as infrared images of each identity.

    Example:
        >>> modalities = np.array([0, 1, 0, 1])
        >>> stream = cross_modality_batches("aabb", modalities, batch_size=4, instances=2)(seed=0)
        >>> sorted(next(stream) for _ in range(4))
        [0, 1, 2, 3]

    Args:
        pids: (N,) identity of each training image.
        modalities: (N,) modality of each image, 0 visible and 1 infrared.
        batch_size: images in the batch of one process, a multiple of ``instances``.
        instances: images of an identity in a batch, half of them infrared; an even number.
        world_size: number of processes; each gets complete identities.
    """
    return MixedBatches(
        list(pids) if isinstance(pids, str) else pids,
        modalities,
        share=0.5,
        within_identities=True,
        batch_size=batch_size,
        instances=instances,
        world_size=world_size,
    )


def cross_modality_problems(
    pids: Sequence[Hashable] | NDArray[np.integer],
    modalities: NDArray[np.integer] | None,
    *,
    batch_size: int,
    instances: int,
    world_size: int = 1,
) -> list[str]:
    """List reasons why such batches cannot be filled, each with a remedy; empty if they can.

    Args:
        pids: (N,) identity of each training image, a name or a number.
        modalities: (N,) modality of each image; None = no training set has infrared images.
        batch_size: images in the batch of all processes, ``SOLVER.IMS_PER_BATCH``.
        instances: images of an identity in a batch, ``DATALOADER.NUM_INSTANCE``.
        world_size: number of processes that train together.
    """
    if modalities is None:
        return [
            f"DATALOADER.SAMPLER_TRAIN {CROSS_MODALITY} needs visible and infrared images, but no "
            "set of DATASETS.NAMES has a modality_of(path); name a visible-infrared set, such as "
            "RenderedVI, or another sampler"
        ]
    problems = []
    if instances % 2:
        problems.append(
            f"expected an even DATALOADER.NUM_INSTANCE for {CROSS_MODALITY}, half visible and half "
            f"infrared, got {instances}; use {instances + 1}"
        )
    step = instances * world_size
    if batch_size % step:
        problems.append(
            f"expected SOLVER.IMS_PER_BATCH to be a multiple of DATALOADER.NUM_INSTANCE "
            f"{instances} times {world_size} processes, got {batch_size}; use "
            f"{max(batch_size // step, 1) * step}"
        )
    identities, places = np.unique(np.asarray(pids), return_inverse=True)
    for number, name in enumerate(MODALITIES):
        lacking = identities[
            np.bincount(places[modalities == number], minlength=len(identities)) == 0
        ]
        if len(lacking):
            shown = ", ".join(map(str, lacking[:5])) + (", ..." if len(lacking) > 5 else "")
            problems.append(
                f"expected visible and infrared images of every identity for {CROSS_MODALITY}, but "
                f"{len(lacking)} of {len(identities)} have no {name} image ({shown}); remove these "
                "identities or add images"
            )
    needed = batch_size // instances
    if needed > len(identities):
        problems.append(
            f"a batch needs {needed} different identities (SOLVER.IMS_PER_BATCH {batch_size} / "
            f"DATALOADER.NUM_INSTANCE {instances}) but there are {len(identities)}; lower "
            f"SOLVER.IMS_PER_BATCH to {len(identities) * instances}"
        )
    return problems
