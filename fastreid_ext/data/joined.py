"""Join loaders of several training sets, such as a labelled source and a target, in each step."""

import hashlib
import struct
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from typing import Any

from torch.utils.data import Dataset

from fastreid_ext.data.loaders import TrainLoader


class JoinedLoaders:
    """Endless batches ``{name: batch}`` of several loaders that can start at any iteration.

    The images of the first loader decide the length of an epoch and the number of classes. The
    other loaders get different seeds, so that images of one step are not augmented alike.

    Args:
        loaders: training loader of each name; the first one is the main one.

    Example::

        source = build_train_loader(cfg)
        target = build_train_loader(cfg, TrainingItems.given(items), name="target")
        loader = JoinedLoaders({"source": source, "target": target})
    """

    def __init__(self, loaders: Mapping[str, TrainLoader]) -> None:
        if not loaders:
            raise ValueError("expected at least one loader to join, got none")
        self.loaders = dict(loaders)
        self._spread_seed(self.seed)

    @property
    def dataset(self) -> Dataset:
        """Training images of the first loader."""
        return self._first.dataset

    @property
    def seed(self) -> int:
        """Seed of the first loader; the seeds of the others are derived from it."""
        return self._first.seed

    def start_at(self, iteration: int, seed: int | None = None) -> None:
        """Let the next ``iter`` begin at an iteration of the run with a seed.

        Args:
            iteration: number of finished iterations, >= 0.
            seed: :attr:`seed` of the run that is continued; None keeps the current one.
        """
        self._spread_seed(self.seed if seed is None else seed)
        for loader in self.loaders.values():
            loader.start_at(iteration)

    def __iter__(self) -> Iterator[dict[str, dict[str, Any]]]:
        """Yield a batch of each loader by its name."""
        with ExitStack() as stack:
            batches = {
                name: stack.enter_context(closing(iter(loader)))
                for name, loader in self.loaders.items()
            }
            while True:
                yield {name: next(own) for name, own in batches.items()}

    def state_dict(self) -> dict[str, Any]:
        """Collect the states of the relabelled loaders."""
        states = {name: loader.state_dict() for name, loader in self.loaders.items()}
        return {name: state for name, state in states.items() if state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the labels of a checkpoint."""
        for name, own in state.items():
            self.loaders[name].load_state_dict(own)

    @property
    def _first(self) -> TrainLoader:
        return next(iter(self.loaders.values()))

    def _spread_seed(self, seed: int) -> None:
        for number, loader in enumerate(self.loaders.values()):
            loader.stream_sampler.seed = seed if number == 0 else _other_seed(seed, number)


def _other_seed(seed: int, number: int) -> int:
    """Derive a seed in [0, 2^31) for the loader with a number >= 1."""
    place = struct.pack("<QQ", seed, number)
    digest = hashlib.blake2b(place, digest_size=4, person=b"loader").digest()
    return int.from_bytes(digest) >> 1
