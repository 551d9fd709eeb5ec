"""Sampler of Batch DropBlock: an epoch has K images of every identity."""

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence

import numpy as np

from fastreid_ext.data.one_per_camera import in_turns


class OncePerIdentity:
    """Stream of BDB's sampler: an epoch has K images of every identity; called with a seed.

    Each epoch shuffles the identities and deals them out to batches; identities left over for the
    last, incomplete batch are left out of this epoch, so none comes twice in it. The K images of an
    identity are a random choice without repetitions, or all of its images and random copies if it
    has fewer than K.

    Args:
        pids: (N,) identity of each training image.
        batch_size: images in the batch of one process, a multiple of K.
        instances: number K of images of an identity in a batch, ``DATALOADER.NUM_INSTANCE``.
        world_size: number of processes; each gets complete identities.

    Example:
        >>> import itertools
        >>> stream = OncePerIdentity(["a", "a", "b", "b"], batch_size=4, instances=2)
        >>> sorted(itertools.islice(stream(0), 4))
        [0, 1, 2, 3]
    """

    def __init__(
        self, pids: Sequence[Hashable], *, batch_size: int, instances: int, world_size: int = 1
    ) -> None:
        self._instances = instances
        self._identities = batch_size // instances  # in the batch of one process
        self._world_size = world_size
        self._images: dict[Hashable, list[int]] = defaultdict(list)
        for index, pid in enumerate(pids):
            self._images[pid].append(index)

    def __call__(self, seed: int) -> Iterator[int]:
        """Yield indices without end; the processes take turns."""
        rng = np.random.default_rng(seed)
        pids = list(self._images)
        together = self._identities * self._world_size
        while True:
            order = [pids[i] for i in rng.permutation(len(pids))]
            for first in range(0, len(order) - together + 1, together):
                chosen = [self._choose(pid, rng) for pid in order[first : first + together]]
                yield from in_turns(chosen, self._world_size)

    def _choose(self, pid: Hashable, rng: np.random.Generator) -> list[int]:
        own = self._images[pid]
        if len(own) >= self._instances:
            return rng.choice(own, self._instances, replace=False).tolist()
        return [*own, *rng.choice(own, self._instances - len(own)).tolist()]
