"""Samplers of P clusters with K images each, of other cameras than the first; lone images once."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray


class OtherCamera:
    """Stream that passes over all identities, in a random order each time; called with a seed.

    An identity gives an image and K-1 of those from other cameras, or of all its others if there is
    one camera; images repeat where fewer than K can be chosen from. An identity of one image gives
    this image alone, where fastreid's ``BalancedIdentitySampler`` repeats it. Images of an identity
    follow each other; those left for the last, incomplete batch of a pass are left out.

    Args:
        pids: (N,) identity of each training image.
        camids: (N,) camera of each training image, any numbers.
        batch_size: images in the batch of one process.
        instances: most images K of an identity in a row, ``DATALOADER.NUM_INSTANCE``.
        world_size: number of processes, which take turns in the stream.

    Example:
        >>> import itertools
        >>> stream = OtherCamera([0, 0, 1], [4, 9, 4], batch_size=3, instances=2)
        >>> sorted(itertools.islice(stream(0), 3))
        [0, 1, 2]

    Raises:
        ValueError: a pass over all identities does not fill a batch.
    """

    def __init__(
        self,
        pids: Sequence[int] | NDArray[np.integer],
        camids: Sequence[int] | NDArray[np.integer],
        *,
        batch_size: int,
        instances: int,
        world_size: int = 1,
    ) -> None:
        self._camids = np.asarray(camids)
        self._batch_size = batch_size
        self._instances = instances
        self._world_size = world_size
        order = np.argsort(pids, kind="stable")
        _, starts = np.unique(np.asarray(pids)[order], return_index=True)
        self._images = np.split(order, starts[1:])  # of each identity
        lengths = [instances if len(own) > 1 else 1 for own in self._images]
        if sum(lengths) < batch_size * world_size:
            raise ValueError(
                f"expected identities for batches of {batch_size * world_size} images, got "
                f"{len(self._images)} that give {sum(lengths)}; lower the batch"
            )

    def __call__(self, seed: int) -> Iterator[int]:
        """Yield indices without end; the processes take turns."""
        rng = np.random.default_rng(seed)
        together = self._batch_size * self._world_size
        uses = np.zeros(sum(map(len, self._images)), np.int64)
        while True:
            order = rng.permutation(len(self._images))
            images = [index for place in order for index in self._choose(place, rng, uses)]
            for first in range(0, len(images) - together + 1, together):
                batch = np.array(images[first : first + together])
                yield from batch.reshape(self._world_size, -1).T.ravel().tolist()

    def _choose(
        self, place: int, rng: np.random.Generator, uses: NDArray[np.int64]
    ) -> Iterable[int]:
        own = self._images[place]
        first = rng.integers(len(own))
        anchor = int(own[first])
        if len(own) == 1:
            return [anchor]
        others = own[self._camids[own] != self._camids[anchor]]
        if not len(others):
            others = np.delete(own, first)
        has_enough = len(others) >= self._instances
        chosen = rng.choice(others, self._instances - 1, replace=not has_enough)
        return [anchor, *chosen.tolist()]


class LeastUsed(OtherCamera):
    """OtherCamera that prefers images which it has given less often than others: HCD's sampler.

    An identity gives its least used image, then the least used of those from other cameras, then
    the least used of the others; images repeat where it has fewer than K. Of equally used images
    the choice is random. Images of a last, incomplete batch count as used.

    Example:
        >>> import itertools
        >>> stream = LeastUsed([0] * 4, [1] * 4, batch_size=2, instances=2)
        >>> sorted(itertools.islice(stream(0), 4))
        [0, 1, 2, 3]
    """

    def _choose(
        self, place: int, rng: np.random.Generator, uses: NDArray[np.int64]
    ) -> Iterable[int]:
        own = rng.permutation(self._images[place])
        own = own[np.argsort(uses[own], kind="stable")]
        is_same_camera = self._camids[own] == self._camids[own[0]]
        is_same_camera[0] = False  # so that the anchor stays first
        ordered = own[np.argsort(is_same_camera, kind="stable")]
        count = self._instances if len(own) > 1 else 1
        chosen = np.resize(ordered, count)
        np.add.at(uses, chosen, 1)
        return chosen.tolist()
