"""Fill batches with a fixed share of generated images (``DATASETS.GENERATED.BATCH_SHARE``).

Letters: B images in the batch of one process, P identities of K images in it, s the share.

Identities come in shuffled order: all once, then all again in a new order, and none twice in the
batch of all processes. So do the images of an identity, which repeat in a batch only if there are
too few. The meaning of the share depends on the identities:

- *Within an identity* (PERSON_IDS "kept"): of the K images of each identity that has real and
  generated images, on average s are generated. Over the n such identities in the batch of a process
  exactly round(s * K * n) images are generated, spread evenly: their numbers differ by at most one.
  Identities with images of one kind only give K of that kind.
- *Between identities* (PERSON_IDS "new"): round(s * P) of the P identities in the batch of each
  process are generated ones, and each gives K images.
- *Without identities* (TrainingSampler): each image counts as an identity, so round(s * B) of B.
"""

from collections.abc import Hashable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

REAL = 0
GENERATED = 1


class MixedBatches:
    """Stream with a share of generated images in each batch; called with a seed.

    Args:
        pids: (N,) identity of each training image.
        is_generated: (N,) whether each training image is generated.
        share: share s of generated images, in (0, 1).
        within_identities: whether real and generated images of an identity are mixed; otherwise
            each identity has images of one kind.
        batch_size: number B of images in the batch of one process.
        instances: number K of images of an identity in a batch.
        world_size: number of processes; each gets batches with the share.

    Example:
        >>> kinds = [False, False, True, True]
        >>> options = {"within_identities": True, "batch_size": 2, "instances": 2}
        >>> stream = MixedBatches(["a"] * 4, kinds, share=0.5, **options)(seed=0)
        >>> sum(kinds[next(stream)] for _ in range(2))
        1
    """

    def __init__(
        self,
        pids: Sequence[Hashable] | NDArray[np.integer],
        is_generated: Sequence[bool] | NDArray[np.bool_],
        *,
        share: float,
        within_identities: bool,
        batch_size: int,
        instances: int,
        world_size: int = 1,
    ) -> None:
        self.share = share
        self.within_identities = within_identities
        self.identities = batch_size // instances
        self.instances = instances
        self.world_size = world_size
        # Image indices sorted by identity (in order of first appearance) and kind; those of
        # identity p are order[bounds[2 p + kind]:bounds[2 p + kind + 1]].
        groups = 2 * _first_come(pids) + np.asarray(is_generated, np.int64)
        self._order = np.argsort(groups, kind="stable").astype(np.int32)
        count = int(groups.max(initial=-1)) // 2 + 1
        counts = np.bincount(groups, minlength=2 * count).reshape(-1, 2)
        self._bounds = np.concatenate([[0], np.cumsum(counts)])
        self._has = counts > 0  # (identities, 2)

    def problems(self) -> list[str]:
        """List reasons why the share cannot be kept, each with a remedy; empty if it can."""
        key = f"DATASETS.GENERATED.BATCH_SHARE {self.share:g}"
        kinds = self._has.sum(0).tolist()
        if not all(kinds):
            missing = "generated" if kinds[REAL] else "real"
            return [
                f"{key} mixes real and generated images, but there are no {missing} ones; add a "
                f"{missing} set to DATASETS.NAMES or set the share to 0"
            ]
        parts = self.identities * (self.instances if self.within_identities else 1)
        unit = "images" if self.within_identities or self.instances == 1 else "identities"
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
        if self.within_identities:
            needs = [("identities", self.identities, len(self._has))]
        return [
            f"{key} puts {wanted * self.world_size} different {name} into a batch but there are "
            f"{available}; change the share or lower SOLVER.IMS_PER_BATCH"
            for name, wanted, available in needs
            if wanted * self.world_size > available
        ]

    def identities_of_one_kind(self) -> int:
        """Count identities that have only real or only generated images."""
        return int((~self._has.all(1)).sum())

    def __call__(self, seed: int) -> Iterator[int]:
        """Yield indices without end; the processes take turns."""
        rng = np.random.default_rng(seed)
        images = _ShuffledImages(self._order, self._bounds, rng)
        batches = (
            self._within(images, rng) if self.within_identities else self._between(images, rng)
        )
        for batch_of_each in batches:
            for one_of_each in zip(*batch_of_each, strict=True):
                yield from one_of_each

    def _between(
        self, images: "_ShuffledImages", rng: np.random.Generator
    ) -> Iterator[list[list[int]]]:
        generated = round(self.share * self.identities)
        counts = {REAL: self.identities - generated, GENERATED: generated}
        pids = {kind: _Shuffled(np.flatnonzero(self._has[:, kind]), rng) for kind in counts}
        while True:
            chosen = {kind: pids[kind].take(n * self.world_size) for kind, n in counts.items()}
            yield [
                [
                    index
                    for kind, n in counts.items()
                    for pid in chosen[kind][rank * n : (rank + 1) * n]
                    for index in images.take(pid, kind, self.instances)
                ]
                for rank in range(self.world_size)
            ]

    def _within(
        self, images: "_ShuffledImages", rng: np.random.Generator
    ) -> Iterator[list[list[int]]]:
        pids = _Shuffled(np.arange(len(self._has)), rng)
        while True:
            chosen = pids.take(self.identities * self.world_size)
            yield [
                self._batch_within(
                    chosen[rank * self.identities : (rank + 1) * self.identities], images, rng
                )
                for rank in range(self.world_size)
            ]

    def _batch_within(
        self,
        pids: list[int],
        images: "_ShuffledImages",
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
                    batch += images.take(pid, kind, n)
        return batch


class _Shuffled:
    """Numbers in shuffled order, all once before any of them comes again."""

    __slots__ = ("_left", "_numbers", "_rng")  # one object for each identity

    def __init__(self, numbers: NDArray[np.integer], rng: np.random.Generator) -> None:
        self._numbers = numbers
        self._rng = rng
        self._left = numbers[:0]

    @property
    def is_used_up(self) -> bool:
        """Tell whether all numbers came equally often, so a new object would continue the same."""
        return not len(self._left)

    def take(self, count: int) -> list[int]:
        """Take ``count`` numbers, which repeat only if there are too few."""
        taken: list[int] = []
        seen: set[int] = set()
        put_aside = []
        while len(taken) < count:
            if len(seen) == len(self._numbers):
                seen.clear()
            if self.is_used_up:
                self._left = self._numbers[self._rng.permutation(len(self._numbers))]
            number = int(self._left[-1])
            self._left = self._left[:-1]
            if number in seen:
                put_aside.append(number)  # comes again in the next call
            else:
                taken.append(number)
                seen.add(number)
        if put_aside:
            self._left = np.concatenate([self._left, put_aside])
        return taken


class _ShuffledImages:
    """Images of each identity and kind in shuffled order; only partly used orders are kept."""

    def __init__(
        self, order: NDArray[np.int32], bounds: NDArray[np.int64], rng: np.random.Generator
    ) -> None:
        self._order = order
        self._bounds = bounds
        self._rng = rng
        self._open: dict[int, _Shuffled] = {}

    def take(self, pid: int, kind: int, count: int) -> list[int]:
        """Take the indices of ``count`` images of an identity and kind."""
        group = 2 * pid + kind
        shuffled = self._open.pop(group, None)
        if shuffled is None:
            begin, end = self._bounds[group : group + 2].tolist()
            shuffled = _Shuffled(self._order[begin:end], self._rng)
        taken = shuffled.take(count)
        if not shuffled.is_used_up:
            self._open[group] = shuffled
        return taken


def _first_come(pids: Sequence[Hashable] | NDArray[np.integer]) -> NDArray[np.int64]:
    """Number the identities from 0 in order of first appearance; return (N,) numbers."""
    _, firsts, places = np.unique(np.asarray(pids), return_index=True, return_inverse=True)
    ranks = np.empty(len(firsts), np.int64)
    ranks[np.argsort(firsts)] = np.arange(len(firsts))
    return ranks[places]
