"""Loaders that start late, move batches to the GPU ahead of time and pass errors on."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler

from fastreid_ext.data.dataset import collate
from fastreid_ext.data.samplers import ResumableSampler

Batch = dict[str, Any]


class PersonLoader(DataLoader):
    """Batches of a dataset; nothing starts before the first ``next``.

    On a GPU the tensors of a batch are copied while the batch before it is at work, as fastreid's
    ``DataLoaderX`` does. That class reads batches in a thread: an unreadable image ends the thread
    and leaves the training waiting for ever. Here the error arrives.

    Args:
        dataset: has items of which :func:`collate` makes batches.
        sampler: indices.
        batch_size: images in the batch of this process.
        drop_last: leave out a last, smaller batch.
        num_workers: loader processes; 0 loads in this process.
        device: where the batches go, "cpu", or "cuda:0" and the like.
    """

    def __init__(
        self,
        dataset: Dataset,
        sampler: Sampler,
        *,
        batch_size: int,
        drop_last: bool,
        num_workers: int,
        device: str,
    ) -> None:
        self.device = torch.device(device)
        super().__init__(
            dataset,
            batch_sampler=BatchSampler(sampler, batch_size, drop_last),
            num_workers=num_workers,
            collate_fn=collate,
            pin_memory=self.device.type == "cuda",
            # Else every start draws a number from the process-wide generator.
            generator=torch.Generator(),
        )

    def __iter__(self) -> Iterator[Batch]:
        """Yield batches on ``device``."""
        batches = super().__iter__()
        if self.device.type == "cuda":
            batches = _ahead_on_gpu(batches, self.device)
        yield from batches


class TrainLoader(PersonLoader):
    """Endless training batches that can be entered at any iteration.

    Args:
        dataset: the training images, with ``num_classes``.
        draws: the sampler.
        world_size: number of processes.
        batch_size: images in the batch of this process.
        num_workers: loader processes; 0 loads in this process.
        device: where the batches go.
    """

    def __init__(
        self,
        dataset: Dataset,
        draws: ResumableSampler,
        *,
        world_size: int,
        batch_size: int,
        num_workers: int,
        device: str,
    ) -> None:
        self.draws = draws
        self.draws_per_iteration = batch_size * world_size
        super().__init__(
            dataset,
            draws,
            batch_size=batch_size,
            drop_last=True,
            num_workers=num_workers,
            device=device,
        )

    @property
    def seed(self) -> int:
        """Seed of order and augmentation; drawn at random if the configuration gave none."""
        return self.draws.seed

    def start_at(self, iteration: int, seed: int | None = None) -> None:
        """Let the next ``iter`` begin at an iteration, of the run with that seed.

        Args:
            iteration: finished iterations, >= 0.
            seed: :attr:`seed` of the run that is continued; None keeps the present one.
        """
        if seed is not None:
            self.draws.seed = seed
        self.draws.skip_to(iteration * self.draws_per_iteration)


def _ahead_on_gpu(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """Yield batches on ``device``, each copied while its predecessor is at work."""
    stream = torch.cuda.Stream(device)
    waiting = None
    for batch in batches:
        uploaded = _upload(batch, device, stream)
        if waiting is not None:
            yield _handed_over(*waiting)
        waiting = uploaded
    if waiting is not None:
        yield _handed_over(*waiting)


def _upload(
    batch: Batch, device: torch.device, stream: torch.cuda.Stream
) -> tuple[Batch, torch.cuda.Event]:
    """Start copying the top-level tensors; the event tells when they are there."""
    with torch.cuda.stream(stream):
        on_gpu = {
            key: value.to(device, non_blocking=True) if isinstance(value, torch.Tensor) else value
            for key, value in batch.items()
        }
        return on_gpu, stream.record_event()


def _handed_over(batch: Batch, copied: torch.cuda.Event) -> Batch:
    """Make the present stream wait for the copy, and keep the memory until it has used it."""
    current = torch.cuda.current_stream()
    current.wait_event(copied)
    for value in batch.values():
        if isinstance(value, torch.Tensor):
            value.record_stream(current)
    return batch
