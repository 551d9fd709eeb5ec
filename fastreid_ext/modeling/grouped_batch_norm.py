"""Batch normalisation over groups of consecutive images of a batch, as on several GPUs.

Codes that train on four GPUs give each a consecutive part of the batch, and each part its own batch
statistics. In unsupervised and domain-adaptive Re-ID that is worth up to 20 points of mAP: a part
of 16 images holds 4 identities, and normalises away what they share. Groups of the same size give
the same result on one GPU. fastreid's GhostBN is not that: it takes every n-th image into a group,
so each group holds images of all identities.

Letters: B batch, n images of a group, C channels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

_GROUPABLE = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class GroupedBatchNorm(_BatchNorm):
    """Batch normalisation whose statistics in training are those of each group of images.

    The running statistics are those of the first group, as with several processes that keep the
    buffers of the main one. In evaluation it is plain batch normalisation.

    Example:
        >>> norm = GroupedBatchNorm(1, group=2)
        >>> norm(torch.tensor([[0.0], [2.0], [100.0], [102.0]])).flatten().round().tolist()
        [-1.0, 1.0, -1.0, 1.0]

    Args:
        channels: number C of channels.
        group: number n of images of a group; B must be a multiple of it, or not above it. 0 = the
            whole batch.
        settings: keyword arguments of torch's batch normalisation, such as ``eps``.
    """

    def __init__(self, channels: int, *, group: int, **settings: float) -> None:
        super().__init__(channels, **settings)
        self.group = group

    @classmethod
    def from_batch_norm(cls, norm: _BatchNorm, group: int) -> "GroupedBatchNorm":
        """Build it around the parameters and running statistics of a plain one, which it shares."""
        grouped = cls(
            norm.num_features,
            group=group,
            eps=norm.eps,
            momentum=norm.momentum,
            affine=norm.affine,
            track_running_stats=norm.track_running_stats,
            device="meta",
        )
        for name, parameter in norm.named_parameters(recurse=False):
            setattr(grouped, name, parameter)
        for name, buffer in norm.named_buffers(recurse=False):
            setattr(grouped, name, buffer)
        return grouped.train(norm.training)

    def forward(self, features: Tensor) -> Tensor:
        """Normalise features (B, C, ...).

        Raises:
            ValueError: in training, B is above n and no multiple of it.
        """
        if not self.training or not self.group or len(features) <= self.group:
            return super().forward(features)
        if len(features) % self.group:
            raise ValueError(
                f"expected batches of a multiple of MODEL.BN_GROUP {self.group} images, got "
                f"{len(features)}; change SOLVER.IMS_PER_BATCH or MODEL.BN_GROUP"
            )
        first, *others = features.split(self.group)
        normalised = [super().forward(first)]
        normalised += [
            F.batch_norm(part, None, None, self.weight, self.bias, training=True, eps=self.eps)
            for part in others
        ]
        return torch.cat(normalised)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"expected features (B, C, ...), got {tuple(input.shape)}")


def group_batch_norms(model: nn.Module, group: int) -> None:
    """Replace every batch normalisation of a model, in place; names of parameters stay.

    Args:
        model: model with plain batch normalisation.
        group: number of images of a group.

    Raises:
        ValueError: the model has none, or normalises over several processes.
    """
    found = 0
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if is_plain(child, f"MODEL.BN_GROUP {group}"):
                setattr(parent, name, GroupedBatchNorm.from_batch_norm(child, group))
                found += 1
    if not found:
        raise ValueError(
            f"expected a model with batch normalisation for MODEL.BN_GROUP {group}, got one "
            "without; set MODEL.BN_GROUP 0"
        )


def is_plain(module: nn.Module, key: str) -> bool:
    """Tell whether a module is batch normalisation that can be replaced by another kind.

    Args:
        module: any module of a model.
        key: key and value that ask for the replacement, for the error.

    Raises:
        ValueError: it normalises over several processes or is fastreid's GhostBN.
    """
    if isinstance(module, nn.SyncBatchNorm) or type(module).__name__ == "GhostBatchNorm":
        raise ValueError(
            f"expected plain batch normalisation for {key}, got {type(module).__name__}; set "
            "MODEL.BACKBONE.NORM and MODEL.HEADS.NORM to BN"
        )
    return isinstance(module, _GROUPABLE)
