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

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence

import numpy as np

REAL, GENERATED = 0, 1


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
        pids: Sequence[Hashable],
        is_generated: Sequence[bool],
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
        # person -> indices of the real images, of the generated images
        self._images: dict[Hashable, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
        for index, (pid, generated) in enumerate(zip(pids, is_generated, strict=True)):
            self._images[pid][GENERATED if generated else REAL].append(index)

    def problems(self) -> list[str]:
        """Return why the share cannot be kept, each with what to do; nothing if it can."""
        key = f"DATASETS.GENERATED.BATCH_SHARE {self.share:g}"
        kinds = [
            sum(bool(own[kind]) for own in self._images.values()) for kind in (REAL, GENERATED)
        ]
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
            needs = [("persons", self.persons, len(self._images))]
        return [
            f"{key} puts {wanted * self.world_size} different {name} into a batch but there are "
            f"{there}; change the share or lower SOLVER.IMS_PER_BATCH"
            for name, wanted, there in needs
            if wanted * self.world_size > there
        ]

    def persons_of_one_kind(self) -> int:
        """Return how many persons have real images only or generated ones only."""
        return sum(not all(own) for own in self._images.values())

    def __call__(self, seed: int) -> Iterator[int]:
        """Yield indices without end, those of the processes in turn."""
        rng = np.random.default_rng(seed)
        packs = {
            (pid, kind): _Pack(own[kind], rng)
            for pid, own in self._images.items()
            for kind in (REAL, GENERATED)
            if own[kind]
        }
        batches = self._within(packs, rng) if self.within_persons else self._between(packs, rng)
        for batch_of_each in batches:
            for one_of_each in zip(*batch_of_each, strict=True):
                yield from one_of_each

    def _between(
        self, images: dict[tuple[Hashable, int], "_Pack"], rng: np.random.Generator
    ) -> Iterator[list[list[int]]]:
        generated = round(self.share * self.persons)
        counts = {REAL: self.persons - generated, GENERATED: generated}
        persons = {
            kind: _Pack([pid for pid, its_kind in images if its_kind == kind], rng)
            for kind in counts
        }
        while True:
            drawn = {kind: persons[kind].draw(n * self.world_size) for kind, n in counts.items()}
            yield [
                [
                    index
                    for kind, n in counts.items()
                    for pid in drawn[kind][rank * n : (rank + 1) * n]
                    for index in images[pid, kind].draw(self.instances)
                ]
                for rank in range(self.world_size)
            ]

    def _within(
        self, images: dict[tuple[Hashable, int], "_Pack"], rng: np.random.Generator
    ) -> Iterator[list[list[int]]]:
        persons = _Pack(list(self._images), rng)
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
        pids: list[Hashable],
        images: dict[tuple[Hashable, int], "_Pack"],
        rng: np.random.Generator,
    ) -> list[int]:
        both = [pid for pid in pids if all(self._images[pid])]
        total = round(self.share * self.instances * len(both))
        low, rest = divmod(total, len(both)) if both else (0, 0)
        generated = dict(
            zip(both, rng.permutation([low + 1] * rest + [low] * (len(both) - rest)), strict=True)
        )
        batch: list[int] = []
        for pid in pids:
            only = self.instances if self._images[pid][GENERATED] else 0
            count = int(generated.get(pid, only))
            for kind, n in ((REAL, self.instances - count), (GENERATED, count)):
                if n:
                    batch += images[pid, kind].draw(n)
        return batch


class _Pack:
    """Things drawn in shuffled order, all once before any comes again."""

    def __init__(self, things: Sequence[Hashable], rng: np.random.Generator) -> None:
        self._things = things
        self._rng = rng
        self._left: list[Hashable] = []

    def draw(self, count: int) -> list:
        """Return ``count`` things: different ones, as long as there are others."""
        drawn: list[Hashable] = []
        seen: set[Hashable] = set()
        put_aside = []
        while len(drawn) < count:
            if len(seen) == len(self._things):
                seen.clear()
            if not self._left:
                self._left = [self._things[i] for i in self._rng.permutation(len(self._things))]
            thing = self._left.pop()
            if thing in seen:
                put_aside.append(thing)  # comes again with the next draw
            else:
                drawn.append(thing)
                seen.add(thing)
        self._left += put_aside
        return drawn
