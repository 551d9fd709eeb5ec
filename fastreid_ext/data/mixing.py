"""Batches in which a fixed share of the images is generated (``DATASETS.GENERATED.BATCH_SHARE``).

Letters: B images in the batch of one process, P persons of K images in it, s the share.

Persons come as in a shuffled pack: all once, then all again in a new order, and no person twice in
the batch of all processes. So do the images of a person, which repeat in a batch only if there are
too few. What the share means depends on what a person has:

- *Within a person* (PERSON_IDS "kept"): of the K images of each person that has real and generated
  images, on average s are generated. Over the n such persons in the batch of a process exactly
  round(s * K * n) images are generated, spread evenly: their numbers differ by at most one. Persons
  that have one kind only give K of that kind.
- *Between persons* (PERSON_IDS "new"): round(s * P) of the P persons in the batch of each process
  are generated ones, and each gives K images.
- *Without persons* (TrainingSampler): the same with each image for itself, so round(s * B) of B.
"""

from collections.abc import Hashable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

REAL = 0
GENERATED = 1


class MixedBatches:
    """The stream of a run with a share of generated images; called with a seed, as a ``Stream``.

    Args:
        pids: the person of each training image.
        is_generated: whether it is generated, image by image.
        share: s, in (0, 1).
        within_persons: whether persons mix their own images, else persons are of one kind.
        batch_size: B.
        instances: K.
        world_size: number of processes; each gets batches with the share.
    """

    def __init__(
        self,
        pids: Sequence[Hashable] | NDArray[np.integer],
        is_generated: Sequence[bool] | NDArray[np.bool_],
        *,
        share: float,
        within_persons: bool,
        batch_size: int,
        instances: int,
        world_size: int = 1,
    ) -> None:
        self.share = share
        self.within_persons = within_persons
        self.persons = batch_size // instances
        self.instances = instances
        self.world_size = world_size
        # Image indices, by person (in the order they first appear) and by kind; those of a person
        # and kind are order[bounds[2 p + kind]:bounds[2 p + kind + 1]].
        groups = 2 * _first_come(pids) + np.asarray(is_generated, np.int64)
        self._order = np.argsort(groups, kind="stable").astype(np.int32)
        persons = int(groups.max(initial=-1)) // 2 + 1
        counts = np.bincount(groups, minlength=2 * persons).reshape(-1, 2)
        self._bounds = np.concatenate([[0], np.cumsum(counts)])
        self._has = counts > 0  # (persons, 2)

    def problems(self) -> list[str]:
        """Return why the share cannot be kept, each with what to do; nothing if it can."""
        key = f"DATASETS.GENERATED.BATCH_SHARE {self.share:g}"
        kinds = self._has.sum(0).tolist()
        if not all(kinds):
            missing = "generated" if kinds[REAL] else "real"
            return [
                f"{key} mixes real and generated images, but there are no {missing} ones; add a "
                f"{missing} set to DATASETS.NAMES or set the share to 0"
            ]
        parts = self.persons * (self.instances if self.within_persons else 1)
        unit = "images" if self.within_persons or self.instances == 1 else "persons"
        if not 0 < round(self.share * parts) < parts:
            return [
                f"{key} of the {parts} {unit} in a batch rounds to "
                f"{round(self.share * parts)}, so nothing would be mixed; "
                f"use a share between {1 / parts:.3g} and {1 - 1 / parts:.3g}"
            ]
        generated = round(self.share * parts)
        needs = [
            (f"real {unit}", parts - generated, kinds[REAL]),
            (f"generated {unit}", generated, kinds[GENERATED]),
        ]
        if self.within_persons:
            needs = [("persons", self.persons, len(self._has))]
        return [
            f"{key} puts {wanted * self.world_size} different {name} into a batch but there are "
            f"{there}; change the share or lower SOLVER.IMS_PER_BATCH"
            for name, wanted, there in needs
            if wanted * self.world_size > there
        ]

    def persons_of_one_kind(self) -> int:
        """Return how many persons have real images only or generated ones only."""
        return int((~self._has.all(1)).sum())

    def __call__(self, seed: int) -> Iterator[int]:
        """Yield indices without end, those of the processes in turn."""
        rng = np.random.default_rng(seed)
        packs = _Packs(self._order, self._bounds, rng)
        batches = self._within(packs, rng) if self.within_persons else self._between(packs, rng)
        for batch_of_each in batches:
            for one_of_each in zip(*batch_of_each, strict=True):
                yield from one_of_each

    def _between(self, images: "_Packs", rng: np.random.Generator) -> Iterator[list[list[int]]]:
        generated = round(self.share * self.persons)
        counts = {REAL: self.persons - generated, GENERATED: generated}
        persons = {kind: _Pack(np.flatnonzero(self._has[:, kind]), rng) for kind in counts}
        while True:
            drawn = {kind: persons[kind].draw(n * self.world_size) for kind, n in counts.items()}
            yield [
                [
                    index
                    for kind, n in counts.items()
                    for pid in drawn[kind][rank * n : (rank + 1) * n]
                    for index in images.draw(pid, kind, self.instances)
                ]
                for rank in range(self.world_size)
            ]

    def _within(self, images: "_Packs", rng: np.random.Generator) -> Iterator[list[list[int]]]:
        persons = _Pack(np.arange(len(self._has)), rng)
        while True:
            drawn = persons.draw(self.persons * self.world_size)
            yield [
                self._batch_within(
                    drawn[rank * self.persons : (rank + 1) * self.persons], images, rng
                )
                for rank in range(self.world_size)
            ]

    def _batch_within(
        self,
        pids: list[int],
        images: "_Packs",
        rng: np.random.Generator,
    ) -> list[int]:
        both = [pid for pid in pids if self._has[pid].all()]
        total = round(self.share * self.instances * len(both))
        low, rest = divmod(total, len(both)) if both else (0, 0)
        generated = dict(
            zip(both, rng.permutation([low + 1] * rest + [low] * (len(both) - rest)), strict=True)
        )
        batch: list[int] = []
        for pid in pids:
            only = self.instances if self._has[pid, GENERATED] else 0
            count = int(generated.get(pid, only))
            for kind, n in ((REAL, self.instances - count), (GENERATED, count)):
                if n:
                    batch += images.draw(pid, kind, n)
        return batch


class _Pack:
    """Numbers drawn in shuffled order, all once before any comes again."""

    __slots__ = ("_left", "_numbers", "_rng")  # there is one for each person

    def __init__(self, numbers: NDArray[np.integer], rng: np.random.Generator) -> None:
        self._numbers = numbers
        self._rng = rng
        self._left = numbers[:0]

    @property
    def is_used_up(self) -> bool:
        """Tell whether all numbers came equally often, so that a new pack would do the same."""
        return not len(self._left)

    def draw(self, count: int) -> list[int]:
        """Return ``count`` numbers: different ones, as long as there are others."""
        drawn: list[int] = []
        seen: set[int] = set()
        put_aside = []
        while len(drawn) < count:
            if len(seen) == len(self._numbers):
                seen.clear()
            if self.is_used_up:
                self._left = self._numbers[self._rng.permutation(len(self._numbers))]
            number = int(self._left[-1])
            self._left = self._left[:-1]
            if number in seen:
                put_aside.append(number)  # comes again with the next draw
            else:
                drawn.append(number)
                seen.add(number)
        if put_aside:
            self._left = np.concatenate([self._left, put_aside])
        return drawn


class _Packs:
    """A pack for the images of each person and kind, which exists only while it is half used."""

    def __init__(
        self, order: NDArray[np.int32], bounds: NDArray[np.int64], rng: np.random.Generator
    ) -> None:
        self._order = order
        self._bounds = bounds
        self._rng = rng
        self._open: dict[int, _Pack] = {}

    def draw(self, pid: int, kind: int, count: int) -> list[int]:
        """Return the indices of ``count`` images of a person and kind."""
        group = 2 * pid + kind
        pack = self._open.pop(group, None)
        if pack is None:
            begin, end = self._bounds[group : group + 2].tolist()
            pack = _Pack(self._order[begin:end], self._rng)
        drawn = pack.draw(count)
        if not pack.is_used_up:
            self._open[group] = pack
        return drawn


def _first_come(pids: Sequence[Hashable] | NDArray[np.integer]) -> NDArray[np.int64]:
    """Return (N,) numbers of the persons, counted from 0 in the order they first appear."""
    _, firsts, places = np.unique(np.asarray(pids), return_index=True, return_inverse=True)
    ranks = np.empty(len(firsts), np.int64)
    ranks[np.argsort(firsts)] = np.arange(len(firsts))
    return ranks[places]
