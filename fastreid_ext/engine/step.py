"""One training step: forward, backward, update. The only place where it is written.

A method whose step is of another kind (two backward passes, two optimizers) derives from
:class:`TrainingStep`, overrides :meth:`~TrainingStep.train_on` and is built by
``Trainer.build_step``; docs/extending.md shows one.

Numerically the step of fastreid's ``SimpleTrainer`` (full precision) and ``AMPTrainer`` (mixed
precision); a test holds the two equal bit by bit. Different from them:

- mixed precision also works on the CPU and in bfloat16 (``SOLVER.AMP.DTYPE``);
- all processes learn from the same exchange whether a loss is finite, so they stop or skip together
  (fastreid raises on one and leaves the others waiting);
- losses are copied from the GPU behind the forward pass on the same stream. fastreid reads them on
  a stream of its own without waiting for the forward pass.
"""

import logging
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from fastreid.config import CfgNode
from fastreid.utils import comm
from fastreid.utils.events import get_event_storage
from fastreid.utils.params import ContiguousParams
from torch import nn

from fastreid_ext.checks.automatic import amp_dtype
from fastreid_ext.engine.hooks import what_is_wrong
from fastreid_ext.engine.non_finite import NonFiniteLossPolicy, is_finite
from fastreid_ext.engine.step_errors import explained

logger = logging.getLogger(__name__)


def autocast_dtype(cfg: CfgNode) -> torch.dtype | None:
    """Return the dtype of ``SOLVER.AMP``, None without mixed precision."""
    return getattr(torch, amp_dtype(cfg)) if cfg.SOLVER.AMP.ENABLED else None


def is_emulated(device_type: str) -> bool:
    """Tell whether arithmetic in 16 bits is emulated on a device, which is slow."""
    return device_type == "cpu" and torch.backends.cpu.get_cpu_capability() in ("DEFAULT", "AVX2")


class TrainingStep:
    """Fetches a batch, computes its losses and updates the model.

    Its attributes ``model``, ``data_loader``, ``optimizer`` and ``grad_scaler`` are what
    ``DefaultTrainer`` looks up in its inner trainer. ``iteration`` is the number of the present
    step, from 0.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Any,
        optimizer: torch.optim.Optimizer,
        param_wrapper: Any,
        *,
        autocast_dtype: torch.dtype | None,
        max_skipped: int,
    ) -> None:
        """Keep the parts; workers of the loader start with :meth:`start`.

        Args:
            model: maps a batch to a dict of scalar losses, whose sum is minimised.
            data_loader: endless iterable of batches (dicts).
            optimizer: updates the model; its gradients may be fastreid's flat buffers.
            param_wrapper: second return value of fastreid's ``build_optimizer``.
            autocast_dtype: dtype of autocast; float16 scales the loss, None is full precision.
            max_skipped: steps with a non-finite loss that may be skipped.
        """
        model.train()
        self.model = model
        self.data_loader = data_loader
        self.optimizer = optimizer
        self.param_wrapper = param_wrapper
        self.device_type = next(model.parameters()).device.type
        self.autocast_dtype = autocast_dtype
        # Range of float16 is too small for unscaled gradients; bfloat16 has that of float32.
        needs_scaling = autocast_dtype == torch.float16
        self.grad_scaler = torch.amp.GradScaler(self.device_type) if needs_scaling else None
        if autocast_dtype is not None:
            name = str(autocast_dtype).removeprefix("torch.")
            scaling = "with" if needs_scaling else "without"
            logger.info("mixed precision: autocast to %s, %s loss scaling", name, scaling)
            if is_emulated(self.device_type):
                logger.warning(
                    "this CPU has no instructions for %s: a step may take forty times as long as "
                    "in float32; set SOLVER.AMP.ENABLED False",
                    name,
                )
        self.non_finite = NonFiniteLossPolicy(model, max_skipped)
        self.iteration = 0
        self._batches: Iterator[dict[str, Any]] | None = None
        self._data_time = 0.0
        self._records: list[list[dict[str, Any]]] = []

    def checkpointables(self) -> dict[str, Any]:
        """Return the parts of the step that a checkpoint holds, by their key in it.

        A step with a second optimizer adds it here, else ``--resume`` is not exact.
        """
        parts = {"optimizer": self.optimizer}
        if self.grad_scaler is not None:
            parts["grad_scaler"] = self.grad_scaler
        return parts

    def start(self) -> None:
        """Start reading batches."""
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
            False if nothing was updated: a loss was not finite, or gradients overflowed under loss
            scaling.

        Raises:
            FloatingPointError: a loss is not finite and no more steps may be skipped.
            RuntimeError: the model is in eval mode.
            ValueError: the batch has one image under batch normalisation, or labels that the
                classifier does not have.
        """
        if not self.model.training:
            raise RuntimeError("expected the model in training mode, got eval; call model.train()")
        began = time.perf_counter()
        batch = next(self._batches)
        self._data_time = time.perf_counter() - began
        self.iteration = iteration
        self._records = []
        self.non_finite.before_forward()
        with explained(self.model, batch):
            is_applied = self.train_on(batch)
        if self._records:
            _write_metrics(self._records)
        return is_applied

    def train_on(self, batch: dict[str, Any]) -> bool:
        """Train on one batch; the method that a step of another kind overrides.

        Returns:
            Whether the model was updated.
        """
        losses = self.losses(batch)
        on_host = LossCopy(losses)
        self.backward(sum(losses.values()))
        return self.is_finite_everywhere(on_host, batch) and self.update()

    def losses(self, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
        """Return the model's losses for a batch by name, under autocast where that is on."""
        dtype = self.autocast_dtype
        with torch.autocast(self.device_type, dtype=dtype, enabled=dtype is not None):
            return self.model(batch)

    def backward(self, total: torch.Tensor) -> None:
        """Replace the gradients of the optimizer's parameters by those of a scalar loss."""
        # None would cut fastreid's flat gradient buffers off, see compat.keep_flat_gradients.
        self.optimizer.zero_grad(set_to_none=False)
        (total if self.grad_scaler is None else self.grad_scaler.scale(total)).backward()

    def is_finite_everywhere(self, losses: "LossCopy", batch: dict[str, Any]) -> bool:
        """Ask all processes whether these losses are finite; if so, keep them as metrics.

        Call it after :meth:`backward` and before :meth:`update`, on all processes, once for each
        set of losses; the names of the sets must differ. After False the buffers of the model are
        those from before the step.

        Raises:
            FloatingPointError: a loss is not finite and no more steps may be skipped.
        """
        values = losses.wait()
        records = comm.all_gather({"losses": values, "data_time": self._data_time})
        if all(is_finite(record["losses"]) for record in records):
            self._records.append(records)
            return True
        self._records = []
        self.non_finite.handle(self.iteration, values, batch)
        return False

    def update(self, optimizer: torch.optim.Optimizer | None = None) -> bool:
        """Update parameters from their gradients.

        Args:
            optimizer: optimizer to step; None = :attr:`optimizer`.

        Returns:
            False if loss scaling found an overflow and left the parameters alone.
        """
        optimizer = self.optimizer if optimizer is None else optimizer
        if self.grad_scaler is None:
            optimizer.step()
            has_stepped = True
        else:
            has_stepped = self._scaled_update(optimizer)
        if isinstance(self.param_wrapper, ContiguousParams):
            self.param_wrapper.assert_buffer_is_valid()
        return has_stepped

    def _scaled_update(self, optimizer: torch.optim.Optimizer) -> bool:
        """Step unless gradients overflowed; the hook tells so without another wait for the GPU."""
        _require_gradients(optimizer)
        stepped: list[bool] = []
        hook = optimizer.register_step_post_hook(lambda *_: stepped.append(True))
        self.grad_scaler.step(optimizer)
        hook.remove()
        self.grad_scaler.update()
        return bool(stepped)


def _require_gradients(optimizer: torch.optim.Optimizer) -> None:
    """Raise RuntimeError if no parameter has a gradient, at which torch's GradScaler asserts."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if all(parameter.grad is None for parameter in parameters):
        raise RuntimeError(f"nothing is learned: got {what_is_wrong(parameters, parameters)}")


class LossCopy:
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


def _write_metrics(passes: list[list[dict[str, Any]]]) -> None:
    """Write the mean loss terms of all processes under fastreid's names, on the main process.

    Args:
        passes: for each set of losses of the step the records of all processes.
    """
    if not comm.is_main_process():
        return
    storage = get_event_storage()
    # The slowest loader is the one that all processes waited for.
    storage.put_scalar("data_time", max(record["data_time"] for record in passes[0]))
    means = {
        name: np.mean([record["losses"][name] for record in records])
        for records in passes
        for name in records[0]["losses"]
    }
    storage.put_scalar("total_loss", sum(means.values()))
    if len(means) > 1:
        storage.put_scalars(**means)
