"""Repairs of fastreid's training step that let the processor run ahead of the device.

:mod:`fastreid_ext.compat.losses` explains the cost of a wait and removes those in the losses.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn


def keep_scalars_on_the_device() -> None:
    """Delay reading tensors given to ``EventStorage.put_scalar`` until their values are needed.

    ``log_accuracy`` stores a tensor in every step. fastreid turns it into a number at once, though
    numbers are written only every ``SOLVER.LOG_PERIOD`` steps.
    """
    from fastreid.utils.events import EventStorage

    if hasattr(EventStorage.put_scalar, "_fastreid_ext"):
        return
    put_number = EventStorage.put_scalar

    @functools.wraps(put_number)
    def put_scalar(self: Any, name: str, value: Any, smoothing_hint: bool = True) -> None:
        unread = self.__dict__.setdefault("_unread", {})
        full_name = self._current_prefix + name
        if isinstance(value, Tensor):
            entry = (value.detach().clone(), self._iter, smoothing_hint)
            unread.setdefault(full_name, []).append(entry)
            return
        if full_name in unread:  # earlier values come first
            _read(self, put_number)
        put_number(self, name, value, smoothing_hint)

    put_scalar._fastreid_ext = True
    EventStorage.put_scalar = put_scalar
    readers = ("history", "histories", "latest", "latest_with_smoothing_hint", "smoothing_hints")
    for name in readers:
        setattr(EventStorage, name, _after_reading(getattr(EventStorage, name), put_number))


def _after_reading(reader: Callable, put_number: Callable) -> Callable:
    @functools.wraps(reader)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        _read(self, put_number)
        return reader(self, *args, **kwargs)

    return wrapped


def _read(storage: Any, put_number: Callable) -> None:
    """Copy all unread tensors to the processor at once, and store them by their iterations."""
    unread = storage.__dict__.pop("_unread", {})
    if not unread:
        return
    entries = [(name, *entry) for name, kept in unread.items() for entry in kept]
    device = entries[0][1].device
    numbers = torch.stack([value.reshape(()).double().to(device) for _, value, *_ in entries])
    now = storage._iter, storage._current_prefix
    storage._current_prefix = ""
    for (name, _, iteration, hint), number in zip(entries, numbers.tolist(), strict=True):
        storage._iter = iteration
        put_number(storage, name, number, hint)
    storage._iter, storage._current_prefix = now


def check_labels_on_the_device() -> None:
    """Replace ``if targets.sum() < 0: targets.zero_()`` of fastreid's models, which waits.

    ``PreciseBN`` marks its batches with labels of -1, which the models replace by 0.
    """
    from fastreid.modeling.meta_arch import distiller, mgn
    from fastreid.modeling.meta_arch.baseline import Baseline

    for architecture in (Baseline, mgn.MGN, distiller.Distiller):
        if not hasattr(architecture.forward, "_fastreid_ext"):
            architecture.forward = _with_checked_labels(architecture.forward)


class _CheckedLabels(Tensor):
    """Checked labels, whose sum, which fastreid compares with 0, needs no computation."""

    # Results of operations are plain tensors, as they are for torch.nn.Parameter.
    __torch_function__ = torch._C._disabled_torch_function_impl

    def sum(self) -> int:  # type: ignore[override]
        """Return 0, which passes fastreid's check."""
        return 0


def _with_checked_labels(forward: Callable) -> Callable:
    @functools.wraps(forward)
    def wrapped(self: nn.Module, batched_inputs: Any) -> Any:
        if not (self.training and isinstance(batched_inputs, Mapping)):
            return forward(self, batched_inputs)
        labels = batched_inputs.get("targets")
        if isinstance(labels, Tensor) and not isinstance(labels, _CheckedLabels):
            labels.masked_fill_(labels.sum() < 0, 0)
            labels = labels.as_subclass(_CheckedLabels)
            batched_inputs = {**batched_inputs, "targets": labels}
        return forward(self, batched_inputs)

    wrapped._fastreid_ext = True
    return wrapped


def count_queue_on_the_device() -> None:
    """Keep the position in the queue of fastreid's MoCo on the device, so that nothing waits."""
    from fastreid.modeling.meta_arch import moco

    if not hasattr(moco.Memory._dequeue_and_enqueue, "_fastreid_ext"):
        push = functools.wraps(moco.Memory._dequeue_and_enqueue)(torch.no_grad()(_push))
        push._fastreid_ext = True
        moco.Memory._dequeue_and_enqueue = push


def _push(self: nn.Module, keys: Tensor, targets: Tensor) -> None:
    """Replace the oldest keys by the keys (N, D) and labels (N,) of all processes."""
    from fastreid.modeling.losses.utils import concat_all_gather
    from fastreid.utils import comm

    if comm.get_world_size() > 1:
        keys = concat_all_gather(keys)
        targets = concat_all_gather(targets)
    places = (self.queue_ptr + torch.arange(len(keys), device=keys.device)) % self.K
    self.queue[:, places] = keys.T.to(self.queue.dtype)
    self.queue_label[:, places] = targets
    self.queue_ptr.add_(len(keys)).remainder_(self.K)
