"""Orders of very large training sets: a batch costs what it holds, and any batch can come first.

fastreid's samplers shuffle or copy a list of all identities for each batch (10 ms at 200,000), and
the only way to batch n is through the n before it. The streams here follow the same laws but split
the random numbers by epoch and by batch, each seeded from (seed, epoch, batch). A run resumes from
its seed and its number of draws; nothing is replayed and nothing needs saving.

Their order for a seed differs from fastreid's. They take over where fastreid's becomes slow:
:func:`is_large`. Letters: P identities of K images in the batch of one process.
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
    """Whether a training set is sampled by this module instead of fastreid's samplers."""
    return len(items) > LARGE_IMAGES or len(items.dense_pids()[1]) > LARGE_IDENTITIES


class EpochStream(ABC):
    """Endless indices into the training items that can begin at any draw.

    Attributes:
        batches: batches of all processes together in an epoch.
        draws: images in such a batch.
    """

    batches: int
    draws: int

    def __call__(self, seed: int) -> Iterator[int]:
        """Yield indices without end, those of the processes in turn."""
        return self.from_draw(seed, 0)

    def from_draw(self, seed: int, draw: int) -> Iterator[int]:
        """Yield the indices from a draw on, without going through the draws before it.

        Args:
            seed: seed of the run.
            draw: place in the stream, >= 0.
        """
        number, within = divmod(draw, self.draws)
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
        """Return what an epoch decides for all of its batches."""

    @abstractmethod
    def batch(self, plan: tuple[Indices, ...], batch: int, rng: np.random.Generator) -> Indices:
        """Return the (draws,) indices of a batch, those of the processes in turn."""


class ShuffledImages(EpochStream):
    """Every image once per epoch, as TrainingSampler.

    Args:
        count: number of images.
    """

    def __init__(self, count: int) -> None:
        self.draws = count
        self.batches = 1

    def plan(self, rng: np.random.Generator) -> tuple[Indices, ...]:
        """Return the permutation of the epoch."""
        return (rng.permutation(np.arange(self.draws, dtype=np.int32)),)

    def batch(self, plan: tuple[Indices, ...], batch: int, rng: np.random.Generator) -> Indices:
        """Return all images in their order."""
        return plan[0]


class _IdentityBatches(EpochStream):
    """Batches of P identities with K images each.

    Args:
        items: training images.
        batch_size: images in the batch of one process, a multiple of K.
        instances: K, ``DATALOADER.NUM_INSTANCE``.
        world_size: number of processes; each gets whole identities.
    """

    def __init__(
        self, items: ItemArrays, *, batch_size: int, instances: int, world_size: int = 1
    ) -> None:
        self.draws = batch_size * world_size
        self._instances = instances
        self._world_size = world_size
        self._identities = batch_size // instances * world_size  # in the batch of all processes
        self._per_process = batch_size // instances
        self._images, self._counts, self._bounds = _grouped(items)
        self.batches = self._epoch_batches()

    def _epoch_batches(self) -> int:
        """Identities left over for an incomplete batch are left out of the epoch."""
        return max(len(self._counts) // self._identities, 1)

    def plan(self, rng: np.random.Generator) -> tuple[Indices, ...]:
        """Return the order of the identities."""
        return (rng.permutation(np.arange(len(self._counts), dtype=np.int32)),)

    def batch(self, plan: tuple[Indices, ...], batch: int, rng: np.random.Generator) -> Indices:
        """Return the images of the next identities in the plan's order."""
        first = batch * self._identities
        pids = plan[0][first : first + self._identities]
        numbers = rng.random((len(pids), self._instances))
        return self._in_turn([self._choose(*pair) for pair in zip(pids, numbers, strict=True)])

    def _own(self, pid: int) -> Indices:
        return self._images[self._bounds[pid] : self._bounds[pid + 1]]

    def _in_turn(self, chosen: list[Indices]) -> Indices:
        """Deal the images of whole identities out to the processes."""
        shares = np.concatenate(chosen).reshape(self._world_size, -1)
        return shares.T.ravel()

    @abstractmethod
    def _choose(self, pid: int, numbers: NDArray[np.float64]) -> Indices:
        """Return K images of an identity, chosen by K random numbers in [0, 1)."""


class LargeOncePerIdentity(_IdentityBatches):
    """BDB's law: different images, or all of an identity and copies where it has fewer than K."""

    def _choose(self, pid: int, numbers: NDArray[np.float64]) -> Indices:
        own = self._own(pid)
        if len(own) >= self._instances:
            return own[_different(len(own), numbers)]
        copies = (numbers[len(own) :] * len(own)).astype(np.int64)
        return np.concatenate([own, own[copies]])


class LargeBalanced(_IdentityBatches):
    """BalancedIdentitySampler's law: one image, and K - 1 others of other cameras if there are any.

    Args:
        items: training images.
        batch_size: images in the batch of one process, a multiple of K.
        instances: K, ``DATALOADER.NUM_INSTANCE``.
        world_size: number of processes; each gets whole identities.
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
    """NaiveIdentitySampler's law: an identity comes once for each K images that it has.

    An identity with n images comes max(1, n // K) times per epoch, each time with K others of its
    images (copies where n < K). Each batch chooses P among the identities with images left. An
    epoch has as many batches as these turns fill; should fewer than P identities be left before
    its end, all come again.
    """

    def _epoch_batches(self) -> int:
        turns = np.maximum(self._counts // self._instances, 1).sum()
        return max(int(turns) // self._identities, 1)

    def plan(self, rng: np.random.Generator) -> tuple[Indices, ...]:
        """Return the identity and its turn for each place of the epoch, and a key per image."""
        turns = np.maximum(self._counts // self._instances, 1)
        numbers = rng.random(self.batches * self._identities)
        pids, numbered = _turns_of_identities(turns, numbers, self._per_process)
        return pids, numbered, rng.random(len(self._images), dtype=np.float32)

    def batch(self, plan: tuple[Indices, ...], batch: int, rng: np.random.Generator) -> Indices:
        """Return the images of the turns of a batch."""
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
    """ImbalancedDatasetSampler's law: any identity, then any of its images.

    Args:
        items: training images.
    """

    draws = 4096  # that share a seed
    batches = 2**62

    def __init__(self, items: ItemArrays) -> None:
        self._images, self._counts, self._bounds = _grouped(items)

    def plan(self, rng: np.random.Generator) -> tuple[Indices, ...]:
        """Return nothing: draws do not depend on one another."""
        return ()

    def batch(self, plan: tuple[Indices, ...], batch: int, rng: np.random.Generator) -> Indices:
        """Return independent draws."""
        pids = rng.integers(len(self._counts), size=self.draws)
        within = (rng.random(self.draws) * self._counts[pids]).astype(np.int64)
        return self._images[self._bounds[pids] + within]


def _grouped(items: ItemArrays) -> tuple[Indices, Indices, Indices]:
    """Group the images by identity.

    Returns:
        (N,) images, those of identity i at ``bounds[i]:bounds[i + 1]``; (identities,) images of
        each; (identities + 1,) bounds.
    """
    pids, _ = items.dense_pids()
    counts = np.bincount(pids)
    bounds = np.concatenate([[0], np.cumsum(counts)])
    return np.argsort(pids, kind="stable").astype(np.int32), counts, bounds


def _in_pieces(indices: Indices) -> Iterator[int]:
    """Yield ints without a list of millions of them."""
    for first in range(0, len(indices), _PIECE):
        yield from indices[first : first + _PIECE].tolist()


def _different(count: int, numbers: NDArray[np.float64]) -> Indices:
    """Choose as many different places below ``count`` as there are random numbers in [0, 1)."""
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
        turns: (identities,) turns that each has, >= 1.
        numbers: (places,) random numbers in [0, 1), a multiple of ``together`` many.
        together: identities in the batch of one process.

    Returns:
        (places,) identity, and which of its turns it is, from 0.
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
