"""Batches of a labelled source and a target whose images have clusters as labels.

The first half of each process's batch is of the source, the second of the target; each half is
ordered by the sampler that ``DATALOADER.SAMPLER_TRAIN`` names. Labels 0 .. S-1 are the S identities
of the source, S .. S+C-1 the clusters of the target.
"""

import hashlib
import os
import struct
from collections.abc import Iterator

import numpy as np
from fastreid.config import CfgNode
from numpy.typing import NDArray

from fastreid_ext.data.configured_sets import TrainingItems
from fastreid_ext.data.item_arrays import ItemArrays
from fastreid_ext.data.samplers import Stream, from_position


def half_of_batch(cfg: CfgNode) -> CfgNode:
    """Copy a configuration with half of ``SOLVER.IMS_PER_BATCH``: the images of one domain."""
    half = cfg.clone()
    half.defrost()
    half.SOLVER.IMS_PER_BATCH = cfg.SOLVER.IMS_PER_BATCH // 2
    half.freeze()
    return half


def source_of(training: TrainingItems) -> ItemArrays:
    """Select the images of the sources."""
    return training.items.take(np.arange(training.source_images))


def target_of(training: TrainingItems) -> ItemArrays:
    """Select the images of the target: all images where there are no sources."""
    return training.items.take(np.arange(training.source_images, len(training.items)))


def labels_of_both(source: NDArray[np.integer], clusters: NDArray[np.integer]) -> NDArray[np.int64]:
    """Join identities of the source and clusters of the target to labels of all images.

    Example:
        >>> labels_of_both(np.array([0, 1, 1]), np.array([0, -1, 1])).tolist()
        [0, 1, 1, 2, -1, 3]

    Args:
        source: (N,) identities 0 .. S-1, each used.
        clusters: (M,) clusters of the target images, -1 for those that are left out.

    Returns:
        (N + M,) labels; clusters count from S.
    """
    offset = int(source.max()) + 1
    return np.concatenate([source, np.where(clusters < 0, -1, clusters + offset)]).astype(np.int64)


def shared_images(training: TrainingItems) -> list[str]:
    """List the image files that source and target both have."""
    ours = set(map(os.path.abspath, source_of(training).paths))
    return sorted(ours.intersection(map(os.path.abspath, target_of(training).paths)))


def curriculum_problems(cfg: CfgNode, training: TrainingItems) -> list[str]:
    """List reasons why the cameras of the target cannot join one after the other, and remedies."""
    cameras, names = target_of(training).dense_camids()
    images = np.bincount(cameras)
    fewest = int(images.argmin())
    nearest = cfg.UNSUPERVISED.K1
    is_part = cfg.UNSUPERVISED.CURRICULUM.CLUSTERED == "active"
    rules = (
        (
            len(names) > 1,
            f"expected a target of several cameras for UNSUPERVISED.CURRICULUM, got {names[0]} "
            "alone; give the cameras of the images (docs/datasets.md), or set "
            "UNSUPERVISED.CURRICULUM.ENABLED False",
        ),
        (
            cfg.SOLVER.MAX_EPOCH >= len(names),
            f"expected SOLVER.MAX_EPOCH of at least the {len(names)} cameras of the target, a "
            f"stage each, got {cfg.SOLVER.MAX_EPOCH}; raise it",
        ),
        (
            not is_part or nearest <= images[fewest],
            f"UNSUPERVISED.K1 is {nearest} nearest images, but camera {names[fewest]} of the "
            f"target, which may be the first alone, has {images[fewest]}; lower it, or set "
            "UNSUPERVISED.CURRICULUM.CLUSTERED all",
        ),
    )
    return [message for holds, message in rules if not holds]


class PairedStream:
    """Stream whose batches hold images of a first stream, then as many of a second one.

    Args:
        first: indices of the source images.
        second: indices of the target images.
        images: images of each stream in the batch of all processes together.

    Example:
        >>> import itertools
        >>> stream = PairedStream(lambda seed: itertools.count(), lambda seed: iter("abcd"), 2)
        >>> list(itertools.islice(stream(0), 8))
        [0, 1, 'a', 'b', 2, 3, 'c', 'd']
    """

    def __init__(self, first: Stream, second: Stream, images: int) -> None:
        self._streams = (first, second)
        self._images = images

    def __call__(self, seed: int) -> Iterator[int]:
        """Yield indices without end."""
        return self.from_position(seed, 0)

    def from_position(self, seed: int, position: int) -> Iterator[int]:
        """Yield indices from a position of the stream on."""
        batch, within = divmod(position, 2 * self._images)
        done = (min(within, self._images), max(within - self._images, 0))
        streams = [
            from_position(stream, _seed_of_half(seed, half), batch * self._images + done[half])
            for half, stream in enumerate(self._streams)
        ]
        remaining = [self._images - count for count in done]
        while True:
            for half, stream in enumerate(streams):
                for _ in range(remaining[half]):
                    yield next(stream)
            remaining = [self._images, self._images]


def _seed_of_half(seed: int, half: int) -> int:
    """Derive the seed, in [0, 2^31), of the source's half (0) or the target's (1)."""
    place = struct.pack("<QQ", seed, half)
    digest = hashlib.blake2b(place, digest_size=4, person=b"half").digest()
    return int.from_bytes(digest) >> 1
