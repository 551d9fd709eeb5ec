"""Sample very large training sets: the cost of a batch depends on its size only.

fastreid's samplers shuffle or copy a list of all identities for each batch (10 ms at 200,000), and
batch n can only be reached through the n batches before it. The streams here have the same
distributions, but their random numbers are split by epoch and by batch, each seeded from (seed,
epoch, batch). A run resumes from its seed and its position; nothing is replayed or saved.

Their order for a seed differs from fastreid's. They replace fastreid's samplers where those become
slow: :func:`is_large`. Letters: P identities of K images in the batch of one process.
"""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator

import numba
import numpy as np
from numpy.typing import NDArray

from fastreid_ext.data.item_arrays import ItemArrays

# Every published combination of labelled sets lies below (the largest has 17,000 identities).
LARGE_IDENTITIES = 20_000
LARGE_IMAGES = 1_000_000
_PIECE = 4096

Indices = NDArray[np.integer]


def is_large(items: ItemArrays) -> bool:
    """Tell whether a training set is sampled by this module instead of fastreid's samplers."""
    return len(items) > LARGE_IMAGES or len(items.dense_pids()[1]) > LARGE_IDENTITIES


class EpochStream(ABC):
    """Stream of indices into the training items that can begin at any position.

    Attributes:
        batches: batches in an epoch; a batch counts for all processes together.
        batch_length: images in the batch of all processes together.
    """

    batches: int
    batch_length: int

    def __call__(self, seed: int) -> Iterator[int]:
        """Yield indices without end; the processes take turns."""
        return self.from_position(seed, 0)

    def from_position(self, seed: int, position: int) -> Iterator[int]:
        """Yield the indices from a position on, without computing those before it.

        Args:
            seed: seed of the run, >= 0.
            position: position in the stream, >= 0.
        """
        number, within = divmod(position, self.batch_length)
        first_epoch, first = divmod(number, self.batches)
        for epoch in itertools.count(first_epoch):
            plan = self.plan(np.random.default_rng((seed, epoch)))
            for batch in range(first, self.batches):
                rng = np.random.default_rng((seed, epoch, batch))
                yield from _in_pieces(self.batch(plan, batch, rng)[within:])
                within = 0
            first = 0

    @abstractmethod
    def plan(self, rng: np.random.Generator) -> tuple[Indices, ...]:
        """Sample the values that all batches of an epoch share, such as an order of identities."""

    @abstractmethod
    def batch(self, plan: tuple[Indices, ...], batch: int, rng: np.random.Generator) -> Indices:
        """Compute the (batch_length,) indices of a batch; the processes take turns."""


class ShuffledImages(EpochStream):
    """Stream with every image once per epoch, as TrainingSampler.

    Args:
        count: number of training images, >= 1.

    Example:
        >>> stream = ShuffledImages(4)
        >>> sorted(itertools.islice(stream(0), 4))
        [0, 1, 2, 3]
    """

    def __init__(self, count: int) -> None:
        self.batch_length = count
        self.batches = 1

    def plan(self, rng: np.random.Generator) -> tuple[Indices, ...]:
        """Sample the permutation of the epoch."""
        return (rng.permutation(np.arange(self.batch_length, dtype=np.int32)),)

    def batch(self, plan: tuple[Indices, ...], batch: int, rng: np.random.Generator) -> Indices:
        """Return all images in their order."""
        return plan[0]


class _IdentityBatches(EpochStream):
    """Batches of P identities with K images each.

    Args:
        items: (path, pid, camid) of each training image.
        batch_size: images in the batch of one process, a multiple of K.
        instances: number K of images of an identity in a batch, ``DATALOADER.NUM_INSTANCE``.
        world_size: number of processes; each gets complete identities.
    """

    def __init__(
        self, items: ItemArrays, *, batch_size: int, instances: int, world_size: int = 1
    ) -> None:
        self.batch_length = batch_size * world_size
        self._instances = instances
        self._world_size = world_size
        self._identities = batch_size // instances * world_size  # in the batch of all processes
        self._per_process = batch_size // instances
        self._images, self._counts, self._bounds = _grouped(items)
        self.batches = self._epoch_batches()

    def _epoch_batches(self) -> int:
        """Count the batches of an epoch; identities left for an incomplete batch are left out."""
        return max(len(self._counts) // self._identities, 1)

    def plan(self, rng: np.random.Generator) -> tuple[Indices, ...]:
        """Sample the order of the identities."""
        return (rng.permutation(np.arange(len(self._counts), dtype=np.int32)),)

    def batch(self, plan: tuple[Indices, ...], batch: int, rng: np.random.Generator) -> Indices:
        """Sample images of the next identities in the order of the plan."""
        first = batch * self._identities
        pids = plan[0][first : first + self._identities]
        numbers = rng.random((len(pids), self._instances))
        return self._in_turn([self._choose(*pair) for pair in zip(pids, numbers, strict=True)])

    def _own(self, pid: int) -> Indices:
        return self._images[self._bounds[pid] : self._bounds[pid + 1]]

    def _in_turn(self, chosen: list[Indices]) -> Indices:
        """Deal the images of complete identities out to the processes."""
        shares = np.concatenate(chosen).reshape(self._world_size, -1)
        return shares.T.ravel()

    @abstractmethod
    def _choose(self, pid: int, numbers: NDArray[np.float64]) -> Indices:
        """Choose K images of an identity by K random numbers in [0, 1)."""


class LargeOncePerIdentity(_IdentityBatches):
    """Stream of BDB's sampler; an identity with fewer than K images gives all, and copies.

    Example:
        >>> items = ItemArrays.of([(str(i), f"p{i // 2}", "c1") for i in range(8)])
        >>> stream = LargeOncePerIdentity(items, batch_size=4, instances=2)
        >>> len({index // 2 for index in itertools.islice(stream(0), 4)})
        2
    """

    def _choose(self, pid: int, numbers: NDArray[np.float64]) -> Indices:
        own = self._own(pid)
        if len(own) >= self._instances:
            return own[_different(len(own), numbers)]
        copies = (numbers[len(own) :] * len(own)).astype(np.int64)
        return np.concatenate([own, own[copies]])


class LargeBalanced(_IdentityBatches):
    """Stream of BalancedIdentitySampler: an image, and K - 1 others, of other cameras if possible.

    Args:
        items: (path, pid, camid) of each training image.
        batch_size: images in the batch of one process, a multiple of K.
        instances: number K of images of an identity in a batch, ``DATALOADER.NUM_INSTANCE``.
        world_size: number of processes; each gets complete identities.

    Example:
        >>> items = ItemArrays.of([(str(i), f"p{i // 2}", "c1") for i in range(8)])
        >>> stream = LargeBalanced(items, batch_size=4, instances=2)
        >>> len({index // 2 for index in itertools.islice(stream(0), 4)})
        2
    """

    def __init__(self, items: ItemArrays, **kwargs: int) -> None:
        super().__init__(items, **kwargs)
        self._cameras = items.camids.astype(np.int32)[self._images]

    def _choose(self, pid: int, numbers: NDArray[np.float64]) -> Indices:
        own = self._own(pid)
        cameras = self._cameras[self._bounds[pid] : self._bounds[pid + 1]]
        first = int(numbers[0] * len(own))
        others = np.flatnonzero(cameras != cameras[first])
        if not len(others):
            others = np.delete(np.arange(len(own)), first)
        if not len(others):
            return np.repeat(own, self._instances)
        if len(others) >= self._instances:
            places = _different(len(others), numbers[1:])
        else:
            places = (numbers[1:] * len(others)).astype(np.int64)
        return own[np.concatenate([[first], others[places]])]


class LargeNaive(_IdentityBatches):
    """Stream of NaiveIdentitySampler: an identity comes once for each K images that it has.

    An identity with n images comes max(1, n // K) times per epoch, each time with K others of its
    images (copies where n < K). Each batch chooses P of the identities that have turns left. An
    epoch has as many batches as the turns fill; if fewer than P identities are left before its
    end, all identities get new turns.

    Example:
        >>> items = ItemArrays.of([(str(i), f"p{i // 2}", "c1") for i in range(8)])
        >>> stream = LargeNaive(items, batch_size=4, instances=2)
        >>> len({index // 2 for index in itertools.islice(stream(0), 4)})
        2
    """

    def _epoch_batches(self) -> int:
        turns = np.maximum(self._counts // self._instances, 1).sum()
        return max(int(turns) // self._identities, 1)

    def plan(self, rng: np.random.Generator) -> tuple[Indices, ...]:
        """Sample identity and turn for each place of the epoch, and a sorting key per image."""
        turns = np.maximum(self._counts // self._instances, 1)
        numbers = rng.random(self.batches * self._identities)
        pids, numbered = _turns_of_identities(turns, numbers, self._per_process)
        return pids, numbered, rng.random(len(self._images), dtype=np.float32)

    def batch(self, plan: tuple[Indices, ...], batch: int, rng: np.random.Generator) -> Indices:
        """Collect the images of the turns of a batch."""
        pids, turns, keys = plan
        numbers = rng.random((self._identities, self._instances))
        first = batch * self._identities
        return self._in_turn(
            [
                self._of_turn(int(pids[first + i]), int(turns[first + i]), keys, numbers[i])
                for i in range(self._identities)
            ]
        )

    def _of_turn(self, pid: int, turn: int, keys: Indices, numbers: Indices) -> Indices:
        own = self._own(pid)
        if len(own) < self._instances:
            return self._choose(pid, numbers)
        shuffled = np.argsort(keys[self._bounds[pid] : self._bounds[pid + 1]], kind="stable")
        return own[shuffled[turn * self._instances : (turn + 1) * self._instances]]

    def _choose(self, pid: int, numbers: NDArray[np.float64]) -> Indices:
        own = self._own(pid)
        return own[(numbers * len(own)).astype(np.int64)]


class LargeImbalanced(EpochStream):
    """Stream of ImbalancedDatasetSampler: a random identity, then one of its images.

    Args:
        items: (path, pid, camid) of each training image.

    Example:
        >>> items = ItemArrays.of([("a.jpg", "p1", "c1"), ("b.jpg", "p2", "c1")])
        >>> len(list(itertools.islice(LargeImbalanced(items)(seed=0), 5)))
        5
    """

    batch_length = 4096  # images that share a seed
    batches = 2**62

    def __init__(self, items: ItemArrays) -> None:
        self._images, self._counts, self._bounds = _grouped(items)

    def plan(self, rng: np.random.Generator) -> tuple[Indices, ...]:
        """Return an empty plan, because all images are sampled independently."""
        return ()

    def batch(self, plan: tuple[Indices, ...], batch: int, rng: np.random.Generator) -> Indices:
        """Sample images independently of each other."""
        pids = rng.integers(len(self._counts), size=self.batch_length)
        within = (rng.random(self.batch_length) * self._counts[pids]).astype(np.int64)
        return self._images[self._bounds[pids] + within]


def _grouped(items: ItemArrays) -> tuple[Indices, Indices, Indices]:
    """Sort the images by identity.

    Returns:
        (N,) images, those of identity i at ``bounds[i]:bounds[i + 1]``; (identities,) images of
        each; (identities + 1,) bounds.
    """
    pids, _ = items.dense_pids()
    counts = np.bincount(pids)
    bounds = np.concatenate([[0], np.cumsum(counts)])
    return np.argsort(pids, kind="stable").astype(np.int32), counts, bounds


def _in_pieces(indices: Indices) -> Iterator[int]:
    """Yield the indices as ints, without a list of millions of them."""
    for first in range(0, len(indices), _PIECE):
        yield from indices[first : first + _PIECE].tolist()


def _different(count: int, numbers: NDArray[np.float64]) -> Indices:
    """Choose as many different places below ``count`` as there are ``numbers`` in [0, 1)."""
    moved: dict[int, int] = {}
    places = []
    # A shuffle of range(count) that stops early and keeps only what it has moved.
    for step, number in enumerate(numbers.tolist()):
        place = step + int(number * (count - step))
        places.append(moved.get(place, place))
        moved[place] = moved.get(step, step)
    return np.array(places, np.int64)


@numba.njit(cache=True, nogil=True)
def _turns_of_identities(
    turns: NDArray[np.int64], numbers: NDArray[np.float64], together: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Choose ``together`` different identities at a time among those with turns left.

    Args:
        turns: (identities,) int, number of turns of each identity, >= 1.
        numbers: (places,) random numbers in [0, 1); their count is a multiple of ``together``.
        together: number of identities in the batch of one process.

    Returns:
        (places,) identity of each place, and (places,) number of its turn, from 0.
    """
    pids = np.empty(len(numbers), np.int32)
    numbered = np.empty(len(numbers), np.int32)
    left = np.arange(len(turns)).astype(np.int32)
    taken = np.zeros(len(turns), np.int32)
    there = len(turns)
    for first in range(0, len(numbers), together):
        if there < together:
            there = len(turns)
            left[:] = np.arange(len(turns))
            taken[:] = 0
        for place in range(together):
            at = place + int(numbers[first + place] * (there - place))
            left[place], left[at] = left[at], left[place]
            pid = left[place]
            pids[first + place] = pid
            numbered[first + place] = taken[pid]
            taken[pid] += 1
        for place in range(together - 1, -1, -1):
            if taken[left[place]] >= turns[left[place]]:
                there -= 1
                left[place], left[there] = left[there], left[place]
    return pids, numbered
