"""Loaders that start late, move batches to the GPU ahead of time and pass errors on."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler

from fastreid_ext.data.dataset import collate_to_send
from fastreid_ext.data.samplers import ResumableSampler, Stream

Batch = dict[str, Any]
# Maps a batch on its device to another.
BatchStep = Callable[[Batch], Batch]


class PersonLoader(DataLoader):
    """Batches of a dataset; nothing starts before the first ``next``.

    On a GPU the tensors of a batch are copied while the batch before it is at work, as fastreid's
    ``DataLoaderX`` does. That class reads batches in a thread: an unreadable image ends the thread
    and leaves the training waiting for ever. Here the error arrives.

    Images may come as uint8, a quarter of the bytes to move; the models get float32 all the same.

    Args:
        dataset: has items of which :func:`collate_to_send` makes batches.
        sampler: indices, or a ``BatchSampler``, which decides the batches itself.
        batch_size: images in the batch of this process.
        drop_last: leave out a last, smaller batch.
        num_workers: loader processes; 0 loads in this process.
        device: where the batches go, "cpu", "cuda:1", or "cuda" for the current GPU.
        batch_steps: what else happens to a batch there, in this order; on a GPU in the stream of
            the copies, so beside the work on the batch before.
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
        batch_steps: Sequence[BatchStep] = (),
    ) -> None:
        self.device = torch.device(device)
        self.batch_steps = (*batch_steps, _float_images)
        is_whole = isinstance(sampler, BatchSampler)
        super().__init__(
            dataset,
            batch_sampler=sampler if is_whole else BatchSampler(sampler, batch_size, drop_last),
            num_workers=num_workers,
            collate_fn=collate_to_send,
            pin_memory=self.device.type == "cuda",
            # Else every start draws a number from the process-wide generator.
            generator=torch.Generator(),
        )

    def __iter__(self) -> Iterator[Batch]:
        """Yield batches on ``device``."""
        batches = _naming_killed_workers(super().__iter__())
        if self.device.type == "cuda":
            yield from _ahead_on_gpu(batches, self.device, self.batch_steps)
        else:
            yield from (_after(self.batch_steps, batch) for batch in batches)


class TrainLoader(PersonLoader):
    """Endless training batches that can be entered at any iteration.

    Args:
        dataset: the training images, with ``num_classes``.
        draws: the sampler.
        world_size: number of processes.
        batch_size: images in the batch of this process.
        num_workers: loader processes; 0 loads in this process.
        device: where the batches go.
        batch_steps: what else happens to a batch there.
        stream_of: maps (N,) labels to the order of the images, for :meth:`relabel`.
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
        batch_steps: Sequence[BatchStep] = (),
        stream_of: Callable[[NDArray[np.integer]], Stream] | None = None,
    ) -> None:
        self.draws = draws
        self.draws_per_iteration = batch_size * world_size
        self._stream_of = stream_of
        self._labels: NDArray[np.integer] | None = None
        self._relabelled_at = 0
        super().__init__(
            dataset,
            draws,
            batch_size=batch_size,
            drop_last=True,
            num_workers=num_workers,
            device=device,
            batch_steps=batch_steps,
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

    def relabel(self, labels: Sequence[int] | NDArray[np.integer], iteration: int) -> None:
        """Give the images other identities from an iteration on.

        The configured sampler orders the images by their new identities, from its first index.
        Draws keep counting, so augmentations do not repeat. Batches that workers have loaded keep
        the old labels: start a new ``iter`` (``Trainer.relabel`` does).

        Args:
            labels: (N,) new identities counted from 0, equal on all processes; -1 leaves an image
                out.
            iteration: iteration of the run, from 0, that is the first with these labels.

        Raises:
            ValueError: the number of labels is wrong, or the sampler cannot fill its batches.
        """
        labels = np.asarray(labels, np.int64)
        if labels.shape != (len(self.dataset),):
            raise ValueError(
                f"expected a label for each of {len(self.dataset)} training images, got an array "
                f"of shape {labels.shape}; give -1 to images that are left out"
            )
        if self._stream_of is None:
            raise ValueError("expected a loader of build_train_loader to relabel, got another one")
        stream = self._stream_of(labels)
        self.dataset.set_targets(labels)
        self.draws.begin(stream, iteration * self.draws_per_iteration)
        self._labels = labels
        self._relabelled_at = iteration
        self.start_at(iteration)

    def state_dict(self) -> dict[str, Any]:
        """Return the labels of :meth:`relabel` and since when they hold; {} without."""
        if self._labels is None:
            return {}
        return {"labels": torch.from_numpy(self._labels), "relabelled_at": self._relabelled_at}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the labels of a checkpoint; the training images must be the same.

        Raises:
            ValueError: as :meth:`relabel`.
        """
        if state:
            self.relabel(state["labels"].numpy(), state["relabelled_at"])


# Words of torch's errors about a loader process that is gone.
_DEATHS = ("killed by signal", "exited unexpectedly", "bus error")


def _naming_killed_workers(batches: Iterable[Batch]) -> Iterator[Batch]:
    """Yield the batches; say what to do where the system has killed a loader process.

    Raises:
        ChildProcessError: a loader process died, mostly because memory was short.
    """
    try:
        yield from batches
    except RuntimeError as error:
        words = str(error).strip()
        if not any(part in words for part in _DEATHS):
            raise
        raise ChildProcessError(
            f"a loader process died ({words}); most often memory (in a container /dev/shm) was "
            "short: lower DATALOADER.NUM_WORKERS (in evaluation TEST.NUM_WORKERS) or the batch"
        ) from error


def _after(steps: Iterable[BatchStep], batch: Batch) -> Batch:
    for step in steps:
        batch = step(batch)
    return batch


def _float_images(batch: Batch) -> Batch:
    """Make uint8 images float32, as the models expect them; others stay as they are."""
    names = [name for name in ("images", "clean_images") if name in batch]
    uint8 = {name: batch[name].float() for name in names if batch[name].dtype == torch.uint8}
    return {**batch, **uint8} if uint8 else batch


def _ahead_on_gpu(
    batches: Iterable[Batch], device: torch.device, steps: Sequence[BatchStep]
) -> Iterator[Batch]:
    """Yield batches on ``device``, each copied while its predecessor is at work."""
    stream = torch.cuda.Stream(device)
    waiting = None
    for batch in batches:
        with torch.cuda.stream(stream):
            uploaded = _after(steps, _on_device(batch, device)), stream.record_event()
        if waiting is not None:
            yield _handed_over(*waiting, torch.cuda.current_stream(device))
        waiting = uploaded
    if waiting is not None:
        yield _handed_over(*waiting, torch.cuda.current_stream(device))


def _on_device(value: Any, device: torch.device) -> Any:
    """Start copying the tensors of a batch and of the dicts in it."""
    if isinstance(value, torch.Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, Mapping):
        return {key: _on_device(entry, device) for key, entry in value.items()}
    return value


def _handed_over(batch: Batch, ready: torch.cuda.Event, current: torch.cuda.Stream) -> Batch:
    """Make the stream of the training wait for the batch, and keep the memory until it is used.

    Args:
        batch: on its way in the stream of the copies.
        ready: recorded there behind the batch.
        current: the present stream of the batch's GPU, which need not be the current GPU.
    """
    current.wait_event(ready)
    for tensor in _tensors_in(batch):
        if tensor.is_cuda:
            tensor.record_stream(current)
    return batch


def _tensors_in(batch: Batch) -> Iterator[torch.Tensor]:
    for value in batch.values():
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, Mapping):
            yield from _tensors_in(value)
