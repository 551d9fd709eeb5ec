"""Batches of P identities with K images of each, from as many cameras as there are: ICE's sampler.

[0] Chen et al., "ICE: Inter-instance Contrastive Encoding for Unsupervised Person
    Re-identification", ICCV 2021, https://arxiv.org/abs/2103.16364
"""

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np


def in_turns(chosen: Sequence[Sequence[int]], world_size: int) -> Iterator[int]:
    """Give each process complete identities, in a stream of which the processes take turns.

    Example:
        >>> list(in_turns([[0, 1], [2, 3]], world_size=2))  # process 0 gets 0 and 1
        [0, 2, 1, 3]

    Args:
        chosen: images of each identity of a batch of all processes, equally many of each.
        world_size: number of processes, of which the number of identities is a multiple.
    """
    share = len(chosen) // world_size
    shares = [
        itertools.chain(*chosen[rank * share : (rank + 1) * share]) for rank in range(world_size)
    ]
    for one_of_each in zip(*shares, strict=True):
        yield from one_of_each


class OnePerCamera:
    """Stream of identities with an image from each of their cameras; called with a seed.

    Each pass shuffles the identities and deals them out to batches; those left over for the last,
    incomplete batch are left out of the pass. Of an identity of more than K cameras K are chosen at
    random. With fewer, the K images are filled up from its other images, without repetitions if
    these suffice; where it has no other images, K of its images are chosen with repetitions.

    Example:
        >>> stream = OnePerCamera([0, 0, 0, 1, 1], [0, 0, 1, 0, 1], batch_size=4, instances=2)
        >>> images = list(itertools.islice(stream(0), 4))
        >>> sorted(images)[1:]  # images 2, 3 and 4 are the only ones of their cameras
        [2, 3, 4]

    Args:
        pids: (N,) identity of each training image.
        cameras: (N,) camera of each training image, any values.
        batch_size: images in the batch of one process, a multiple of K.
        instances: number K of images of an identity in a batch, ``DATALOADER.NUM_INSTANCE``.
        world_size: number of processes; each gets complete identities.
    """

    def __init__(
        self,
        pids: Sequence[int],
        cameras: Sequence[int],
        *,
        batch_size: int,
        instances: int,
        world_size: int = 1,
    ) -> None:
        self._instances = instances
        self._identities = batch_size // instances  # in the batch of one process
        self._world_size = world_size
        grouped: dict[int, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
        for index, (pid, camera) in enumerate(zip(pids, cameras, strict=True)):
            grouped[pid][camera].append(index)
        self._images = [list(of_cameras.values()) for of_cameras in grouped.values()]

    def __call__(self, seed: int) -> Iterator[int]:
        """Yield indices without end; the processes take turns."""
        rng = np.random.default_rng(seed)
        together = self._identities * self._world_size
        while True:
            order = rng.permutation(len(self._images))
            for first in range(0, len(order) - together + 1, together):
                chosen = [self.choose(number, rng) for number in order[first : first + together]]
                yield from in_turns(chosen, self._world_size)

    def choose(self, number: int, rng: np.random.Generator) -> list[int]:
        """Choose the K images of an identity, given by its place among the identities."""
        cameras = self._images[number]
        taken = rng.permutation(len(cameras))[: self._instances]
        chosen = [cameras[camera][rng.integers(len(cameras[camera]))] for camera in taken]
        missing = self._instances - len(chosen)
        if not missing:
            return chosen
        others = [image for images in cameras for image in images if image not in chosen]
        if others:
            repeats = len(others) < missing
            return [*chosen, *rng.choice(others, missing, replace=repeats).tolist()]
        return rng.choice(chosen, self._instances).tolist()
