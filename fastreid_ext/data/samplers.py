"""Sample an endless stream of training images that can be repeated and entered anywhere.

The *stream* is the sequence of images that all processes use together: with N processes, process r
gets the positions r, r + N, r + 2N, ... The position of an image in the stream and the seed of the
run decide its augmentation (:mod:`fastreid_ext.data.dataset`), so neither the number of loader
workers nor an interruption changes a run.

The order of the images is fastreid's: its own sampler code runs here on private random generators.
In fastreid it uses the process-wide ones, so its order depends on all other code that uses them and
(``ImbalancedDatasetSampler``) differs between processes. Very large sets have an order of their own
(:mod:`fastreid_ext.data.large_samplers`).
"""

import functools
import hashlib
import itertools
import struct
import types
from collections.abc import Callable, Iterator, Sequence

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
from fastreid_ext.data.once_per_identity import OncePerIdentity
from fastreid_ext.data.one_per_camera import OnePerCamera
from fastreid_ext.data.other_camera import LeastUsed, OtherCamera
from fastreid_ext.data.sampler_checks import (
    LEAST_USED,
    ONCE_PER_IDENTITY,
    ONE_PER_CAMERA,
    OTHER_CAMERA,
)
from fastreid_ext.names import unknown_name
from fastreid_ext.registries import SAMPLER_REGISTRY, registered_names

# (image path, pid, camid), as fastreid's samplers expect it.
Item = tuple[str, str, str]
# Seed -> endless indices into the items, for all processes together. A stream may have a method
# ``from_position(seed, position)`` that starts there; other streams are run from their beginning.
Stream = Callable[[int], Iterator[int]]


class SampledIndex(int):
    """Index into the training items that knows its position in the stream of the run.

    Attributes:
        position: position in the stream of all processes, from 0.
        seed: seed of the run, >= 0.

    Example:
        >>> index = SampledIndex(1, position=64, seed=7)
        >>> ("abc"[index], index.position)
        ('b', 64)
    """

    position: int
    seed: int

    def __new__(cls, index: int, position: int, seed: int) -> "SampledIndex":
        """Build an int with the value ``index``."""
        sampled = super().__new__(cls, index)
        sampled.position = position
        sampled.seed = seed
        return sampled

    def __getnewargs__(self) -> tuple[int, int, int]:
        """Pickle position and seed too, for loader workers."""
        return int(self), self.position, self.seed


class ResumableSampler(Sampler):
    """Sampler of this process's share of a stream, from any position on.

    Positions count through the whole run, also across a change of the stream (:meth:`begin`), so no
    two images have the same augmentation.

    Args:
        stream: function from a seed to the indices of all processes.
        seed: seed of the run, >= 0, equal on all processes.
        rank: number of this process, from 0.
        world_size: number of processes that train together.

    Example:
        >>> sampler = ResumableSampler(lambda seed: iter(range(10, 90)), 0, rank=1, world_size=2)
        >>> sampler.skip_to(40)
        >>> next(iter(sampler))
        51
    """

    def __init__(self, stream: Stream, seed: int, *, rank: int = 0, world_size: int = 1) -> None:
        self.seed = seed
        self._stream = stream
        self._rank = rank
        self._world_size = world_size
        self._skipped = 0
        self._begin = 0

    def begin(self, stream: Stream, position: int) -> None:
        """Take the indices from another stream from a position on.

        Args:
            stream: function from a seed to the indices of all processes.
            position: position in the run at which the stream begins. The seed of the stream is
                derived from it and from the seed of the run.
        """
        self._stream = stream
        self._begin = position

    def skip_to(self, position: int) -> None:
        """Let the next iteration begin at a position.

        Args:
            position: number of images to leave out, over all processes: finished iterations times
                the batch size of all processes together.
        """
        if position < self._begin:
            raise ValueError(
                f"expected a position >= {self._begin} in the stream, got {position}; skip to the "
                "number of images that finished iterations used"
            )
        self._skipped = position

    def __iter__(self) -> Iterator[SampledIndex]:
        """Yield the indices of this process without end."""
        seed = self.seed
        stream = from_position(
            self._stream, _seed_of_stream(seed, self._begin), self._skipped - self._begin
        )
        numbered = enumerate(stream, self._skipped)
        for position, index in itertools.islice(numbered, self._rank, None, self._world_size):
            yield SampledIndex(index, position, seed)


def from_position(stream: Stream, seed: int, position: int) -> Iterator[int]:
    """Iterate over the indices of a stream from a position on."""
    enter = getattr(stream, "from_position", None)
    if enter is not None:
        return enter(seed, position)
    return itertools.islice(stream(seed), position, None)


def _seed_of_stream(seed: int, begin: int) -> int:
    """Derive the seed, in [0, 2^31), of a stream that begins at a position; the run's own at 0."""
    if begin == 0:
        return seed
    place = struct.pack("<QQ", seed, begin)
    digest = hashlib.blake2b(place, digest_size=4, person=b"stream").digest()
    return int.from_bytes(digest) >> 1


class ChosenImages:
    """Stream over a subset of the images.

    Args:
        stream: stream of indices into ``places``.
        places: (n,) int, positions of the chosen images among all images.

    Example:
        >>> chosen = ChosenImages(lambda seed: itertools.cycle([1, 0]), np.array([4, 9]))
        >>> list(itertools.islice(chosen(0), 3))
        [9, 4, 9]
    """

    def __init__(self, stream: Stream, places: NDArray[np.integer]) -> None:
        self._stream = stream
        self._places = places

    def __call__(self, seed: int) -> Iterator[int]:
        """Yield indices without end."""
        return self.from_position(seed, 0)

    def from_position(self, seed: int, position: int) -> Iterator[int]:
        """Yield indices from a position of the stream on."""
        return (int(self._places[index]) for index in from_position(self._stream, seed, position))


def fastreid_stream(name: str, items: Sequence[Item], *, batch_size: int, instances: int) -> Stream:
    """Build the stream of one of fastreid's samplers.

    Very large sets get a stream with the same distribution from
    :mod:`fastreid_ext.data.large_samplers`.

    Args:
        name: name of the sampler, ``DATALOADER.SAMPLER_TRAIN``.
        items: (path, pid, camid) of each training image.
        batch_size: images in the batch of one process.
        instances: images of each identity in a batch, ``DATALOADER.NUM_INSTANCE``.

    Raises:
        ValueError: the sampler is unknown.

    Example:
        >>> items = [(f"{i}.jpg", f"set_{i // 2}", "set_c1") for i in range(8)]
        >>> stream = fastreid_stream("NaiveIdentitySampler", items, batch_size=4, instances=2)
        >>> len({index // 2 for index in itertools.islice(stream(0), 4)})
        2
    """
    arrays = ItemArrays.of(items)
    if name not in _HOST_SAMPLERS:
        raise ValueError(unknown_name("DATALOADER.SAMPLER_TRAIN", name, _HOST_SAMPLERS))
    if is_large(arrays):
        return _large_stream(name, arrays, batch_size, instances)
    make = _HOST_SAMPLERS[name]
    return lambda seed: _indices_on_private_generators(
        make(_Codes(arrays), batch_size, instances, seed), seed
    )


# Constructors with the arguments (items, batch size of a process, instances, seed).
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
    build = LargeNaive if name == "NaiveIdentitySampler" else LargeBalanced
    world_size = comm.get_world_size()
    return build(items, batch_size=batch_size, instances=instances, world_size=world_size)


class _Codes:
    """Items as fastreid's samplers read them, with small numbers in place of names.

    Numbers follow the order of the sorted names, so the order of the samplers does not change.
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
    """Build the stream of BDB's sampler; :class:`OncePerIdentity` explains the arguments."""
    arrays = ItemArrays.of(items)
    kwargs = {"batch_size": batch_size, "instances": instances, "world_size": world_size}
    if is_large(arrays):
        return LargeOncePerIdentity(arrays, **kwargs)
    return OncePerIdentity(arrays.dense_pids()[0].tolist(), **kwargs)


def named_stream(cfg: CfgNode, items: ItemArrays, *, batch_size: int, world_size: int) -> Stream:
    """Build the stream of the sampler that ``DATALOADER.SAMPLER_TRAIN`` names.

    Entries of ``SAMPLER_REGISTRY`` are called with these arguments.

    Args:
        cfg: configuration of the run; a sampler may read keys of its own.
        items: (path, pid, camid) of each training image.
        batch_size: images in the batch of one process.
        world_size: number of processes. They take turns in the stream: of two processes, the first
            one gets the positions 0, 2, 4, ...

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


def _register_of_cameras(name: str, kind: Callable[..., Stream]) -> None:
    _register(
        name,
        lambda cfg, items, batch_size, world_size: kind(
            items.dense_pids()[0].tolist(),
            items.dense_camids()[0].tolist(),
            batch_size=batch_size,
            instances=cfg.DATALOADER.NUM_INSTANCE,
            world_size=world_size,
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
_register_of_cameras(ONE_PER_CAMERA, OnePerCamera)
_register_of_cameras(OTHER_CAMERA, OtherCamera)
_register_of_cameras(LEAST_USED, LeastUsed)


def _indices_on_private_generators(sampler: Sampler, seed: int) -> Iterator[int]:
    """Run the generator method of a fastreid sampler with a private ``np.random`` and torch.

    The code is the same, its globals differ. Swapping the state of the process-wide generator for
    each index would take longer (0.15 ms) and would not be safe with a second thread.
    """
    numpy = types.ModuleType("numpy")
    numpy.__dict__.update(vars(np))
    # The class behind np.random's functions, so the numbers equal those of np.random.seed(seed).
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
