"""Batch normalisation over all processes (``NORM: syncBN``) on the CPU too.

torch's layer needs a GPU. Here mean and variance come from two sums over all processes, so that a
run of several CPU processes can be compared with one of a single process.

Letters: B batch of a process, C channels, h x w map.
"""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fastreid_ext.full_precision import at_least_float32
from fastreid_ext.processes import process_count, sum_over_all


def sync_batch_norm_on_cpu() -> None:
    """Let fastreid's ``SyncBatchNorm`` (``NORM: syncBN``) normalise tensors on the CPU."""
    from fastreid.layers.batch_norm import SyncBatchNorm

    SyncBatchNorm.forward = _forward


def _forward(self: nn.SyncBatchNorm, rows: Tensor) -> Tensor:
    """Normalise rows (B, C, ...), in training with the statistics of all processes' batches."""
    if rows.is_cuda:
        return nn.SyncBatchNorm.forward(self, rows)
    if not self.training or process_count() == 1:
        return _BatchNorm.forward(self, rows)
    self._check_input_dim(rows)
    wide = at_least_float32(rows)
    dims = [0, *range(2, rows.ndim)]
    shape = [1, -1, *[1] * (rows.ndim - 2)]
    count = sum_over_all(torch.tensor(float(rows.numel() // rows.shape[1])))
    mean = sum_over_all(wide.sum(dims)) / count  # (C,)
    centred = wide - mean.view(shape)
    variance = sum_over_all(centred.square().sum(dims)) / count
    _keep(self, mean.detach(), variance.detach() * count / (count - 1))
    normalised = centred * (variance + self.eps).rsqrt().view(shape)
    return (normalised * self.weight.view(shape) + self.bias.view(shape)).to(rows.dtype)


@torch.no_grad()
def _keep(norm: nn.SyncBatchNorm, mean: Tensor, variance: Tensor) -> None:
    """Update the running statistics as torch does."""
    norm.num_batches_tracked.add_(1)
    share = 1 / norm.num_batches_tracked if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), share)
    norm.running_var.lerp_(variance.to(norm.running_var.dtype), share)
