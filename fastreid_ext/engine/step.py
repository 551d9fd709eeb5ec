"""One training step: forward, backward, update. The only place where it is written.

Numerically the step of fastreid's ``SimpleTrainer`` (full precision) and ``AMPTrainer`` (mixed
precision); a test holds the two equal bit by bit. Different from them:

- mixed precision also works on the CPU (bfloat16, which needs no loss scaling);
- all processes learn from the same exchange whether a loss is finite, so they stop or skip together
  (fastreid raises on one and leaves the others waiting);
- losses are copied from the GPU behind the forward pass on the same stream. fastreid reads them on
  a stream of its own without waiting for the forward pass.
"""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from fastreid.utils import comm
from fastreid.utils.events import get_event_storage
from fastreid.utils.params import ContiguousParams
from torch import nn

from fastreid_ext.engine.non_finite import NonFiniteLossPolicy, is_finite

# Range of float16 is too small for gradients without scaling; bfloat16 has that of float32.
AUTOCAST_DTYPE = {"cuda": torch.float16, "cpu": torch.bfloat16}


class TrainingStep:
    """Draws a batch, computes its losses and updates the model.

    Its attributes ``model``, ``data_loader``, ``optimizer`` and ``grad_scaler`` are what
    ``DefaultTrainer`` looks up in its inner trainer.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Any,
        optimizer: torch.optim.Optimizer,
        param_wrapper: Any,
        *,
        mixed_precision: bool,
        max_skipped: int,
    ) -> None:
        """Keep the parts; workers of the loader start with :meth:`start`.

        Args:
            model: maps a batch to a dict of scalar losses, whose sum is minimised.
            data_loader: endless iterable of batches (dicts).
            optimizer: updates the model; its gradients may be fastreid's flat buffers.
            param_wrapper: second return value of fastreid's ``build_optimizer``.
            mixed_precision: autocast to float16 with loss scaling (CUDA) or bfloat16 (CPU).
            max_skipped: steps with a non-finite loss that may be skipped.
        """
        model.train()
        self.model = model
        self.data_loader = data_loader
        self.optimizer = optimizer
        self.param_wrapper = param_wrapper
        self.device_type = next(model.parameters()).device.type
        self.mixed_precision = mixed_precision
        needs_scaling = mixed_precision and self.device_type == "cuda"
        self.grad_scaler = torch.amp.GradScaler("cuda") if needs_scaling else None
        self.non_finite = NonFiniteLossPolicy(model, max_skipped)
        self._batches: Iterator[dict[str, Any]] | None = None

    def start(self) -> None:
        """Start drawing batches."""
        self._batches = iter(self.data_loader)

    def stop(self) -> None:
        """End the loader's workers now; the garbage collector may wait 5 s for each of them."""
        close = getattr(self._batches, "close", None)
        self._batches = None
        if close is not None:
            close()

    def run(self, iteration: int) -> bool:
        """Run one step and write its metrics to fastreid's event storage.

        Returns:
            False if the step was skipped because a loss was not finite.

        Raises:
            FloatingPointError: a loss is not finite and no more steps may be skipped.
            RuntimeError: the model is in eval mode.
        """
        if not self.model.training:
            raise RuntimeError("expected the model in training mode, got eval; call model.train()")
        began = time.perf_counter()
        batch = next(self._batches)
        data_time = time.perf_counter() - began
        self.non_finite.before_forward()
        losses, total = self._forward(batch)
        on_host = _LossCopy(losses)
        self._backward(total)
        records = comm.all_gather({"losses": on_host.wait(), "data_time": data_time})
        if not all(is_finite(record["losses"]) for record in records):
            self.non_finite.handle(iteration, on_host.wait(), batch)
            return False
        self._update()
        _write_metrics(records)
        return True

    def _forward(self, batch: dict[str, Any]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        dtype = AUTOCAST_DTYPE.get(self.device_type)
        with torch.autocast(self.device_type, dtype=dtype, enabled=self.mixed_precision):
            losses = self.model(batch)
            return losses, sum(losses.values())

    def _backward(self, total: torch.Tensor) -> None:
        # None would cut fastreid's flat gradient buffers off, see compat.keep_flat_gradients.
        self.optimizer.zero_grad(set_to_none=False)
        (total if self.grad_scaler is None else self.grad_scaler.scale(total)).backward()

    def _update(self) -> None:
        if self.grad_scaler is None:
            self.optimizer.step()
        else:
            self.grad_scaler.step(self.optimizer)
            self.grad_scaler.update()
        if isinstance(self.param_wrapper, ContiguousParams):
            self.param_wrapper.assert_buffer_is_valid()


class _LossCopy:
    """Loss terms on their way to the host; started before backward, so not waiting for it."""

    def __init__(self, losses: dict[str, torch.Tensor]) -> None:
        self._names = list(losses)
        stacked = torch.stack([loss.detach().float().reshape(()) for loss in losses.values()])
        self._values = stacked.to("cpu", non_blocking=True)
        self._arrived = torch.cuda.Event() if stacked.is_cuda else None
        if self._arrived is not None:
            self._arrived.record()

    def wait(self) -> dict[str, float]:
        """Return the losses once they are there."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return dict(zip(self._names, self._values.tolist(), strict=True))


def _write_metrics(records: list[dict[str, Any]]) -> None:
    """Write the mean loss terms of all processes under fastreid's names, on the main process."""
    if not comm.is_main_process():
        return
    storage = get_event_storage()
    # The slowest loader is the one everybody waited for.
    storage.put_scalar("data_time", max(record["data_time"] for record in records))
    names = records[0]["losses"]
    means = {name: np.mean([record["losses"][name] for record in records]) for name in names}
    storage.put_scalar("total_loss", sum(means.values()))
    if len(means) > 1:
        storage.put_scalars(**means)
