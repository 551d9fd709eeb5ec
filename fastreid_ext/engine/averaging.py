"""An exponential moving average of the model, updated by a hook during any training."""

import logging
from typing import Any

import torch
import torch.distributed as dist
from fastreid.engine.hooks import HookBase
from fastreid.utils import comm
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from fastreid_ext.engine.checkpoint import AtomicCheckpointer
from fastreid_ext.engine.saved_weights import load_saved_weights, saved_weights

logger = logging.getLogger(__name__)

NAME = "model_ema"  # checkpoint of the averaged model


class AveragedWeights(HookBase):
    """Keep an exponential moving average of a model's parameters.

    After each step: average <- decay * average + (1 - decay) * parameter. It starts at the weights
    with which training starts. A step that was skipped (non-finite loss, overflow under loss
    scaling) does not count. Buffers, such as the running statistics of batch normalisation, are
    copied. The averages are in every checkpoint, so that resuming is exact, and the averaged model
    is written as ``model_ema.pth`` when training ends.

    ``averaged.module`` is the averaged model; methods with a mean teacher train on its outputs.

    Args:
        model: model in training, wrapped by DDP or not.
        decay: share of the average that stays in each step, in [0, 1).
        output_dir: folder of ``model_ema.pth``; "" writes none.
    """

    checkpoint_name = "ema"

    def __init__(self, model: nn.Module, *, decay: float, output_dir: str = "") -> None:
        self._model = getattr(model, "module", model)
        self._output_dir = output_dir
        self.averaged = AveragedModel(self._model, multi_avg_fn=get_ema_multi_avg_fn(decay))
        self.averaged.requires_grad_(False)
        for parameter in self.averaged.parameters():
            parameter.grad = None  # a copy of fastreid's flat gradients

    def before_train(self) -> None:
        """Copy the weights with which a new training starts."""
        if not self.averaged.n_averaged:  # not resumed
            self.averaged.update_parameters(self._model)

    def after_step(self) -> None:
        """Move the averages towards the parameters of now."""
        if self.trainer.step_applied:
            self.averaged.update_parameters(self._model)

    def after_epoch(self) -> None:
        """Give all processes the buffers of the main one; write the model after the last epoch."""
        if comm.get_world_size() > 1:
            for buffer in self.averaged.module.buffers():
                dist.broadcast(buffer, src=0)
        if self.trainer.epoch + 1 == self.trainer.max_epoch:
            checkpointer = AtomicCheckpointer(
                self.averaged.module,
                self._output_dir,
                save_to_disk=comm.is_main_process(),
            )
            checkpointer.save(NAME, tag=False)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the averages and their number of updates."""
        return saved_weights(self.averaged)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the averages of a checkpoint."""
        load_saved_weights(self.averaged, state)
