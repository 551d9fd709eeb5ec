"""Load batches: start late, copy to the GPU ahead of time and pass errors of workers on."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler

from fastreid_ext.data.dataset import collate_to_send
from fastreid_ext.data.samplers import ResumableSampler, Stream

Batch = dict[str, Any]
# Function from a batch to another one, on the device of the batch.
BatchStep = Callable[[Batch], Batch]


class PersonLoader(DataLoader):
    """Loader of batches of a dataset; workers start at the first ``next``.

    On a GPU the tensors of a batch are copied while the model processes the batch before, as in
    fastreid's ``DataLoaderX``. That class reads batches in a thread: an unreadable image ends the
    thread, and training waits for ever. Here the error is raised.

    Images may be uint8, a quarter of the bytes to copy; the model gets float32 in any case.

    Args:
        dataset: dataset with samples that :func:`collate_to_send` can join.
        sampler: sampler of indices, or a ``BatchSampler``, which decides the batches itself.
        batch_size: images in the batch of this process.
        drop_last: whether to leave out a last, smaller batch.
        num_workers: number of loader processes; 0 loads in this process.
        device: device of the batches: "cpu", "cuda:1", or "cuda" for the current GPU.
        batch_steps: functions applied to each batch on its device, in this order; on a GPU they run
            in the stream of the copies, in parallel to the model.

    Example:
        >>> options = {"batch_size": 2, "drop_last": False, "num_workers": 0, "device": "cpu"}
        >>> samples = [{"targets": target} for target in (3, 1, 2)]
        >>> [batch["targets"].tolist() for batch in PersonLoader(samples, [0, 1, 2], **options)]
        [[3, 1], [2]]
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
            # Without a generator, every start uses up a number of the process-wide one.
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
    """Loader of endless training batches that can start at any iteration.

    Args:
        dataset: dataset of the training images, with ``num_classes``.
        stream_sampler: sampler of this process's share of the stream.
        world_size: number of processes that train together.
        batch_size: images in the batch of this process.
        num_workers: number of loader processes; 0 loads in this process.
        device: device of the batches: "cpu", "cuda:1", or "cuda" for the current GPU.
        batch_steps: functions applied to each batch on its device, in this order.
        stream_of: function from (N,) labels to the order of the images, for :meth:`relabel`.
    """

    def __init__(
        self,
        dataset: Dataset,
        stream_sampler: ResumableSampler,
        *,
        world_size: int,
        batch_size: int,
        num_workers: int,
        device: str,
        batch_steps: Sequence[BatchStep] = (),
        stream_of: Callable[[NDArray[np.integer]], Stream] | None = None,
    ) -> None:
        self.stream_sampler = stream_sampler
        self.samples_per_iteration = batch_size * world_size
        self._stream_of = stream_of
        self._labels: NDArray[np.integer] | None = None
        self._relabelled_at = 0
        super().__init__(
            dataset,
            stream_sampler,
            batch_size=batch_size,
            drop_last=True,
            num_workers=num_workers,
            device=device,
            batch_steps=batch_steps,
        )

    @property
    def seed(self) -> int:
        """Seed of order and augmentation; random if the configuration sets none."""
        return self.stream_sampler.seed

    @property
    def labels(self) -> NDArray[np.integer] | None:
        """(N,) labels of the last :meth:`relabel`; None before the first."""
        return self._labels

    def start_at(self, iteration: int, seed: int | None = None) -> None:
        """Let the next ``iter`` begin at an iteration of the run with a seed.

        Args:
            iteration: number of finished iterations, >= 0.
            seed: :attr:`seed` of the run that is continued; None keeps the current one.
        """
        if seed is not None:
            self.stream_sampler.seed = seed
        self.stream_sampler.skip_to(iteration * self.samples_per_iteration)

    def relabel(self, labels: Sequence[int] | NDArray[np.integer], iteration: int) -> None:
        """Assign other identities to the images from an iteration on.

        The configured sampler orders the images by their new identities, from its beginning.
        Positions in the stream keep counting, so augmentations do not repeat. Batches that workers
        have already loaded keep the old labels: start a new ``iter`` (``Trainer.relabel`` does).

        Args:
            labels: (N,) new identities counted from 0, equal on all processes; -1 leaves an image
                out.
            iteration: first iteration of the run, counted from 0, that uses these labels.

        Raises:
            ValueError: the number of labels is wrong, or the sampler cannot fill its batches.
        """
        labels = np.asarray(labels, np.int64)
        if labels.shape != (len(self.dataset),):
            raise ValueError(
                f"expected a label for each of {len(self.dataset)} training images, got an array "
                f"of shape {labels.shape}; label images that are left out with -1"
            )
        if self._stream_of is None:
            raise ValueError(
                "expected a loader with stream_of to relabel, got one without; build it with "
                "build_train_loader"
            )
        stream = self._stream_of(labels)
        self.dataset.set_targets(labels)
        self.stream_sampler.begin(stream, iteration * self.samples_per_iteration)
        self._labels = labels
        self._relabelled_at = iteration
        self.start_at(iteration)

    def state_dict(self) -> dict[str, Any]:
        """Return the labels of :meth:`relabel` and their first iteration; {} without labels."""
        if self._labels is None:
            return {}
        return {"labels": torch.from_numpy(self._labels), "relabelled_at": self._relabelled_at}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the labels of a checkpoint; the training images must be the same.

        Raises:
            ValueError: the number of labels is wrong, or the sampler cannot fill its batches.
        """
        if state:
            self.relabel(state["labels"].numpy(), state["relabelled_at"])


# Words in torch's errors about a loader process that died.
_DEATHS = ("killed by signal", "exited unexpectedly", "bus error")


def _naming_killed_workers(batches: Iterable[Batch]) -> Iterator[Batch]:
    """Yield the batches; raise an error with advice if the system killed a loader process.

    Raises:
        ChildProcessError: a loader process died, mostly because of too little memory.
    """
    try:
        yield from batches
    except RuntimeError as error:
        words = str(error).strip()
        if not any(part in words for part in _DEATHS):
            raise
        raise ChildProcessError(
            f"a loader process died ({words}), most often because memory (in a container /dev/shm) "
            "was short; lower DATALOADER.NUM_WORKERS (in evaluation TEST.NUM_WORKERS) or the batch"
        ) from error


def _after(steps: Iterable[BatchStep], batch: Batch) -> Batch:
    for step in steps:
        batch = step(batch)
    return batch


def _float_images(batch: Batch) -> Batch:
    """Convert uint8 images to float32, which models expect; keep others."""
    names = [name for name in ("images", "clean_images") if name in batch]
    uint8 = {name: batch[name].float() for name in names if batch[name].dtype == torch.uint8}
    return {**batch, **uint8} if uint8 else batch


def _ahead_on_gpu(
    batches: Iterable[Batch], device: torch.device, steps: Sequence[BatchStep]
) -> Iterator[Batch]:
    """Yield batches on ``device``, each copied while the model processes the one before."""
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
    """Start to copy the tensors of a batch and of the dicts in it."""
    if isinstance(value, torch.Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, Mapping):
        return {key: _on_device(entry, device) for key, entry in value.items()}
    return value


def _handed_over(batch: Batch, ready: torch.cuda.Event, current: torch.cuda.Stream) -> Batch:
    """Let the stream of the training wait for the batch, and keep its memory until it is used.

    Args:
        batch: batch that the stream of the copies is still copying.
        ready: event recorded in the stream of the copies after the batch.
        current: current stream of the batch's GPU, which need not be the current GPU.
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
