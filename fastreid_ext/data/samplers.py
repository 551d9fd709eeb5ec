"""An endless stream of training images that can be repeated and entered anywhere.

The *stream* is what all processes draw together: with N processes, process r gets the draws
r, r + N, r + 2N, ... Each draw is numbered by its place in the whole stream. The number and the
run's seed decide the augmentation of the image (:mod:`fastreid_ext.data.dataset`), so neither the
number of loader workers nor an interruption changes a run.

The order of the images is fastreid's: its own sampler code runs here, on random generators of its
own. In fastreid it draws from the process-wide ones, which makes its order depend on whatever else
draws from them, and (``ImbalancedDatasetSampler``) differ between processes. Very large sets have
an order of their own (:mod:`fastreid_ext.data.large_samplers`).
"""

import functools
import hashlib
import itertools
import struct
import types
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence

import numpy as np
import torch
from fastreid.config import CfgNode
from fastreid.data import samplers as host
from fastreid.utils import comm
from numpy.typing import NDArray
from torch.utils.data import Sampler

from fastreid_ext.data.item_arrays import ItemArrays
from fastreid_ext.data.large_samplers import (
    LargeBalanced,
    LargeImbalanced,
    LargeNaive,
    LargeOncePerIdentity,
    ShuffledImages,
    is_large,
)
from fastreid_ext.data.sampler_checks import ONCE_PER_IDENTITY
from fastreid_ext.names import unknown_name
from fastreid_ext.registries import SAMPLER_REGISTRY, registered_names

# (image path, person, camera), as fastreid's samplers expect it.
Item = tuple[str, str, str]
# Seed -> endless indices into the items, for all processes together. A stream that also has a
# method ``from_draw(seed, draw)`` is entered there; others are run through from their start.
Stream = Callable[[int], Iterator[int]]


class Draw(int):
    """An index into the training items that knows which draw of the run it is.

    Attributes:
        number: place in the stream of all processes, from 0.
        seed: seed of the run, >= 0.
    """

    number: int
    seed: int

    def __new__(cls, index: int, number: int, seed: int) -> "Draw":
        """Make an int with the value ``index``."""
        draw = super().__new__(cls, index)
        draw.number = number
        draw.seed = seed
        return draw

    def __getnewargs__(self) -> tuple[int, int, int]:
        """Keep number and seed on the way to a loader worker."""
        return int(self), self.number, self.seed


class ResumableSampler(Sampler):
    """This process's share of a stream, from any draw on.

    Draws are numbered through the whole run, also across a change of the stream (:meth:`begin`), so
    that no two draws have the same augmentation.

    Args:
        stream: the indices for a seed.
        seed: seed of the run, >= 0; the same on all processes.
        rank: this process.
        world_size: number of processes.
    """

    def __init__(self, stream: Stream, seed: int, *, rank: int = 0, world_size: int = 1) -> None:
        self.seed = seed
        self._stream = stream
        self._rank = rank
        self._world_size = world_size
        self._skipped = 0
        self._begin = 0

    def begin(self, stream: Stream, draw: int) -> None:
        """Take the indices from another stream from a draw on.

        Args:
            stream: the indices for a seed.
            draw: number, in the whole run, of the draw that is the first of the stream. The stream
                gets a seed of its own, made of the run's and this number.
        """
        self._stream = stream
        self._begin = draw

    def skip_to(self, draw: int) -> None:
        """Let the next iteration begin at a draw.

        Args:
            draw: draws of the whole stream, over all processes, to leave out: finished iterations
                times the batch size of all processes together.
        """
        if draw < self._begin:
            raise ValueError(f"expected a number of draws >= {self._begin}, got {draw}")
        self._skipped = draw

    def __iter__(self) -> Iterator[Draw]:
        """Yield the draws of this process, without end."""
        seed = self.seed
        numbered = enumerate(self._entered(_seed_of_stream(seed, self._begin)), self._skipped)
        for number, index in itertools.islice(numbered, self._rank, None, self._world_size):
            yield Draw(index, number, seed)

    def _entered(self, seed: int) -> Iterator[int]:
        """Return the stream from the first draw that is not left out."""
        return from_draw(self._stream, seed, self._skipped - self._begin)


def from_draw(stream: Stream, seed: int, draw: int) -> Iterator[int]:
    """Return the indices of a stream from its draw number ``draw`` on."""
    enter = getattr(stream, "from_draw", None)
    if enter is not None:
        return enter(seed, draw)
    return itertools.islice(stream(seed), draw, None)


def _seed_of_stream(seed: int, begin: int) -> int:
    """Return the seed, in [0, 2^31), of a stream that begins at a draw; the run's own at 0."""
    if begin == 0:
        return seed
    place = struct.pack("<QQ", seed, begin)
    digest = hashlib.blake2b(place, digest_size=4, person=b"stream").digest()
    return int.from_bytes(digest) >> 1


class ChosenImages:
    """The stream of another one's indices into a choice of images.

    Args:
        stream: indices into ``places``, for a seed.
        places: (n,) int, places of the chosen images among all.
    """

    def __init__(self, stream: Stream, places: NDArray[np.integer]) -> None:
        self._stream = stream
        self._places = places

    def __call__(self, seed: int) -> Iterator[int]:
        """Yield places without end."""
        return self.from_draw(seed, 0)

    def from_draw(self, seed: int, draw: int) -> Iterator[int]:
        """Yield places from a draw of the stream on."""
        return (int(self._places[index]) for index in from_draw(self._stream, seed, draw))


def fastreid_stream(name: str, items: Sequence[Item], *, batch_size: int, instances: int) -> Stream:
    """Return the stream of one of fastreid's samplers, built as fastreid builds it.

    Very large sets get a stream of the same law from :mod:`fastreid_ext.data.large_samplers`.

    Args:
        name: value of ``DATALOADER.SAMPLER_TRAIN``.
        items: the training images.
        batch_size: images in the batch of one process.
        instances: images of each person in a batch, ``DATALOADER.NUM_INSTANCE``.

    Raises:
        ValueError: the sampler is unknown.
    """
    arrays = ItemArrays.of(items)
    if name not in _HOST_SAMPLERS:
        raise ValueError(
            f"unknown DATALOADER.SAMPLER_TRAIN '{name}'; known: {', '.join(sorted(_HOST_SAMPLERS))}"
        )
    if is_large(arrays):
        return _large_stream(name, arrays, batch_size, instances)
    make = _HOST_SAMPLERS[name]
    return lambda seed: _indices_on_private_generators(
        make(_Codes(arrays), batch_size, instances, seed), seed
    )


# What makes each from (items, batch size of a process, instances, seed).
_HOST_SAMPLERS: dict[str, Callable[..., Sampler]] = {
    "TrainingSampler": lambda items, _, __, seed: host.TrainingSampler(len(items), seed=seed),
    "NaiveIdentitySampler": host.NaiveIdentitySampler,
    "BalancedIdentitySampler": host.BalancedIdentitySampler,
    "ImbalancedDatasetSampler": lambda items, _, __, seed: host.ImbalancedDatasetSampler(
        items, seed=seed
    ),
}


def _large_stream(name: str, items: ItemArrays, batch_size: int, instances: int) -> Stream:
    if name == "TrainingSampler":
        return ShuffledImages(len(items))
    if name == "ImbalancedDatasetSampler":
        return LargeImbalanced(items)
    law = LargeNaive if name == "NaiveIdentitySampler" else LargeBalanced
    world_size = comm.get_world_size()
    return law(items, batch_size=batch_size, instances=instances, world_size=world_size)


class _Codes:
    """Items as fastreid's samplers read them, with small numbers in place of all names.

    Classes are numbered in the order of their sorted names, so the samplers' order is the same.
    """

    def __init__(self, items: ItemArrays) -> None:
        self._pids = items.dense_pids()[0].tolist()
        self._camids = items.dense_camids()[0].tolist()

    def __len__(self) -> int:
        return len(self._pids)

    def __getitem__(self, index: int) -> tuple[None, int, int]:
        return None, self._pids[index], self._camids[index]


def once_per_identity(
    items: Sequence[Item], *, batch_size: int, instances: int, world_size: int = 1
) -> Stream:
    """Return the stream of BDB's sampler; arguments as of :class:`OncePerIdentity`."""
    arrays = ItemArrays.of(items)
    kwargs = {"batch_size": batch_size, "instances": instances, "world_size": world_size}
    if is_large(arrays):
        return LargeOncePerIdentity(arrays, **kwargs)
    return OncePerIdentity(arrays.dense_pids()[0].tolist(), **kwargs)


def named_stream(cfg: CfgNode, items: ItemArrays, *, batch_size: int, world_size: int) -> Stream:
    """Return the stream of the sampler that ``DATALOADER.SAMPLER_TRAIN`` names.

    An entry of ``SAMPLER_REGISTRY`` is called with these same arguments.

    Args:
        cfg: configuration; a sampler may read keys of its own.
        items: training images, a sequence of (path, pid, camid).
        batch_size: images in the batch of one process.
        world_size: number of processes. The stream holds their draws in turn: with two processes,
            draws 0, 2, 4, ... are the first one's.

    Raises:
        ValueError: the sampler is not registered.
    """
    name = cfg.DATALOADER.SAMPLER_TRAIN
    known = registered_names(SAMPLER_REGISTRY)
    if name not in known:
        raise ValueError(unknown_name("DATALOADER.SAMPLER_TRAIN", name, known))
    return SAMPLER_REGISTRY.get(name)(cfg, items, batch_size=batch_size, world_size=world_size)


def _register(name: str, make: Callable[[CfgNode, ItemArrays, int, int], Stream]) -> None:
    def build(cfg: CfgNode, items: ItemArrays, *, batch_size: int, world_size: int) -> Stream:
        return make(cfg, items, batch_size, world_size)

    build.__name__ = name
    SAMPLER_REGISTRY.register(build)


def _register_host_sampler(name: str) -> None:
    _register(
        name,
        lambda cfg, items, batch_size, _: fastreid_stream(
            name, items, batch_size=batch_size, instances=cfg.DATALOADER.NUM_INSTANCE
        ),
    )


for _name in _HOST_SAMPLERS:
    _register_host_sampler(_name)
_register(
    ONCE_PER_IDENTITY,
    lambda cfg, items, batch_size, world_size: once_per_identity(
        items,
        batch_size=batch_size,
        instances=cfg.DATALOADER.NUM_INSTANCE,
        world_size=world_size,
    ),
)


class OncePerIdentity:
    """The stream of BDB's sampler: an epoch is K images of every person; called with a seed.

    Each epoch shuffles the persons and deals them out to batches; those left over for the last,
    incomplete batch are left out of this epoch, and so none comes twice in it. K images of a person
    are drawn at random: different ones, or all of them and copies where there are fewer than K.

    Args:
        pids: the person of each training image.
        batch_size: images in the batch of one process, a multiple of K.
        instances: K, ``DATALOADER.NUM_INSTANCE``.
        world_size: number of processes; each gets whole persons.
    """

    def __init__(
        self, pids: Sequence[Hashable], *, batch_size: int, instances: int, world_size: int = 1
    ) -> None:
        self._instances = instances
        self._persons = batch_size // instances  # in the batch of one process
        self._world_size = world_size
        self._images: dict[Hashable, list[int]] = defaultdict(list)
        for index, pid in enumerate(pids):
            self._images[pid].append(index)

    def __call__(self, seed: int) -> Iterator[int]:
        """Yield indices without end, those of the processes in turn."""
        rng = np.random.default_rng(seed)
        persons = list(self._images)
        together = self._persons * self._world_size
        while True:
            order = [persons[i] for i in rng.permutation(len(persons))]
            for first in range(0, len(order) - together + 1, together):
                drawn = [self._draw(pid, rng) for pid in order[first : first + together]]
                shares = [
                    itertools.chain(*drawn[rank * self._persons : (rank + 1) * self._persons])
                    for rank in range(self._world_size)
                ]
                for one_of_each in zip(*shares, strict=True):
                    yield from one_of_each

    def _draw(self, pid: Hashable, rng: np.random.Generator) -> list[int]:
        own = self._images[pid]
        if len(own) >= self._instances:
            return rng.choice(own, self._instances, replace=False).tolist()
        return [*own, *rng.choice(own, self._instances - len(own)).tolist()]


def _indices_on_private_generators(sampler: Sampler, seed: int) -> Iterator[int]:
    """Run the generator method of a fastreid sampler with ``np.random`` and torch of its own.

    Same code, other globals. Swapping the state of the process-wide generator around each draw
    would take longer (0.15 ms) and would not be safe beside a second thread.
    """
    numpy = types.ModuleType("numpy")
    numpy.__dict__.update(vars(np))
    # The class behind np.random's functions, so the numbers are those of np.random.seed(seed).
    numpy.random = np.random.RandomState(seed)
    generator = torch.Generator().manual_seed(seed)
    private_torch = types.SimpleNamespace(
        multinomial=functools.partial(torch.multinomial, generator=generator)
    )
    method = type(sampler)._infinite_indices
    private = types.FunctionType(
        method.__code__,
        {**method.__globals__, "np": numpy, "torch": private_torch},
        method.__name__,
        method.__defaults__,
        method.__closure__,
    )
    return private(sampler)
