"""Batches with equally many persons of each domain; domains are data sets or cameras."""

from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np
from fastreid.config import CfgNode
from numpy.typing import NDArray

from fastreid_ext.data.configured_sets import TrainingItems

DOMAIN_BALANCED = "DomainBalancedSampler"
_FIELDS = {"sets": "domains", "cameras": "camids"}


def domain_field(cfg: CfgNode) -> str:
    """Return the field of a batch that holds the domains which ``DATALOADER.DOMAINS`` names."""
    return _FIELDS[cfg.DATALOADER.DOMAINS]


def has_meta_half(cfg: CfgNode) -> bool:
    """Tell whether the second half of each batch trains the gates of ``MODEL.BIN``."""
    return cfg.MODEL.BIN.ENABLED and cfg.MODEL.BIN.TRAINED_BY == "meta"


def domains_of_images(cfg: CfgNode, training: TrainingItems) -> NDArray[np.int64]:
    """Return (N,) domains of the training images: their data set or camera, as numbers from 0."""
    if cfg.DATALOADER.DOMAINS == "cameras":
        return training.items.dense_camids()[0].astype(np.int64)
    return training.domains.astype(np.int64)


def domain_names(cfg: CfgNode, training: TrainingItems) -> list[str]:
    """List the names of the domains, in the order of their numbers."""
    if cfg.DATALOADER.DOMAINS == "cameras":
        return [str(name) for name in training.items.dense_camids()[1]]
    return list(dict.fromkeys(name for name, _ in training.parts))


class DomainBatches:
    """Stream whose batches hold equally many persons of each domain; called with a seed.

    Each domain gives its persons in a random order, then in another one; those that do not fill its
    share of a batch are left for the next pass. A person gives K of its images of this domain; they
    repeat where there are fewer. A person of two domains counts once in each.

    Args:
        pids: (N,) identity of each training image.
        domains: (N,) domain of each training image, any numbers.
        batch_size: images in the batch of one process.
        instances: images K of a person in a row, ``DATALOADER.NUM_INSTANCE``.
        world_size: number of processes, which take turns in the stream.

    Example:
        >>> import itertools
        >>> stream = DomainBatches([0, 0, 1, 1], [5, 5, 7, 7], batch_size=4, instances=2)
        >>> sorted(itertools.islice(stream(0), 4))
        [0, 1, 2, 3]

    Raises:
        ValueError: the domains cannot fill a batch in equal shares.
    """

    def __init__(
        self,
        pids: Sequence[int] | NDArray[np.integer],
        domains: Sequence[int] | NDArray[np.integer],
        *,
        batch_size: int,
        instances: int,
        world_size: int = 1,
    ) -> None:
        sizes = {"batch_size": batch_size, "instances": instances}
        if problems := domain_problems(pids, domains, **sizes):
            raise ValueError("; ".join(problems))
        self._instances = instances
        self._world_size = world_size
        self._persons = _images_of_persons(np.asarray(pids), np.asarray(domains))
        self._share = batch_size // instances // len(self._persons)  # persons of a domain

    def __call__(self, seed: int) -> Iterator[int]:
        """Yield indices without end; the processes take turns."""
        rng = np.random.default_rng(seed)
        waiting: list[deque[int]] = [deque() for _ in self._persons]
        while True:
            batches = [self._batch(rng, waiting) for _ in range(self._world_size)]
            yield from np.array(batches).T.ravel().tolist()

    def _batch(self, rng: np.random.Generator, waiting: list[deque[int]]) -> list[int]:
        """Draw the batch of one process, domain after domain."""
        batch: list[int] = []
        for persons, queue in zip(self._persons, waiting, strict=True):
            if len(queue) < self._share:
                queue.clear()
                queue.extend(rng.permutation(len(persons)).tolist())
            for _ in range(self._share):
                own = persons[queue.popleft()]
                is_short = len(own) < self._instances
                batch += rng.choice(own, self._instances, replace=is_short).tolist()
        return batch


def _images_of_persons(
    pids: NDArray[np.integer], domains: NDArray[np.integer]
) -> list[list[NDArray[np.int64]]]:
    """List for each domain the image indices of each of its persons."""
    found = []
    for domain in np.unique(domains):
        places = np.flatnonzero(domains == domain)
        own = pids[places]
        found.append([places[own == pid] for pid in np.unique(own)])
    return found


def domain_problems(
    pids: Sequence[int] | NDArray[np.integer],
    domains: Sequence[int] | NDArray[np.integer],
    *,
    batch_size: int,
    instances: int,
    names: Sequence[str] = (),
) -> list[str]:
    """List reasons why domains cannot fill a batch in equal shares, each with a remedy.

    Args:
        pids: (N,) identity of each training image.
        domains: (N,) domain of each training image, any numbers.
        batch_size: images in the batch of one process.
        instances: images of a person in a batch, ``DATALOADER.NUM_INSTANCE``.
        names: name of each domain in ascending order, for the messages; () = their numbers.
    """
    numbers = np.unique(domains)
    if len(numbers) < 2:
        return [
            "expected training images of at least two domains (DATALOADER.DOMAINS), got one; add a "
            "data set to DATASETS.NAMES, or set DATALOADER.DOMAINS cameras"
        ]
    step = len(numbers) * instances
    if batch_size % step:
        return [
            f"expected batches of a multiple of {len(numbers)} domains times "
            f"DATALOADER.NUM_INSTANCE {instances}, got {batch_size} images of each process; use "
            f"{max(batch_size // step, 1) * step}"
        ]
    share = batch_size // step
    problems = []
    for place, domain in enumerate(numbers):
        persons = len(np.unique(np.asarray(pids)[np.asarray(domains) == domain]))
        if persons < share:
            name = names[place] if names else domain
            problems.append(
                f"a batch takes {share} persons of each domain, but {name} has {persons}; lower "
                "SOLVER.IMS_PER_BATCH, or raise DATALOADER.NUM_INSTANCE"
            )
    return problems
