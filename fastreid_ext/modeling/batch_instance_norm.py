"""Batch-instance normalisation: a gate in each channel between batch and instance statistics.

The tensors of the batch normalisation keep the names of the plain layer; the gate and the scale and
shift of the instance normalisation are beside them.

Letters: B batch, C channels, H x W map.

[0] Choi et al., "Meta Batch-Instance Normalization for Generalizable Person Re-Identification",
    CVPR 2021, section 3.2, https://arxiv.org/abs/2011.14670
"""

import torch
from torch import Tensor, nn

from fastreid_ext.modeling.grouped_batch_norm import is_plain

GATES = r".*\.gate"  # names of all gates of a model, as a regular expression


class BatchInstanceNorm(nn.BatchNorm2d):
    """Gate times batch normalisation plus (1 - gate) times instance normalisation, eq. 1 of [0].

    Attributes:
        gate: (C,) gates in [0, 1]; whoever trains them keeps them in this range.
        instance: instance normalisation with a scale and shift of its own.

    Example:
        >>> norm = BatchInstanceNorm(1, gate=0.0)
        >>> norm(torch.tensor([[[[1.0, 3.0]]], [[[5.0, 7.0]]]])).flatten().round().tolist()
        [-1.0, 1.0, -1.0, 1.0]

    Args:
        channels: number C of channels.
        gate: start value of all gates in [0, 1]; 1 = batch normalisation.
        settings: keyword arguments of torch's batch normalisation, such as ``eps``.
    """

    def __init__(self, channels: int, *, gate: float = 1.0, **settings: float) -> None:
        super().__init__(channels, **settings)
        self.gate = nn.Parameter(torch.full((channels,), gate))
        self.instance = nn.InstanceNorm2d(channels, eps=self.eps, affine=True)

    @classmethod
    def from_batch_norm(cls, norm: nn.BatchNorm2d, gate: float) -> "BatchInstanceNorm":
        """Build it around the parameters and running statistics of a plain one, which it shares."""
        mixed = cls(norm.num_features, gate=gate, eps=norm.eps, momentum=norm.momentum)
        mixed.weight = norm.weight
        mixed.bias = norm.bias
        for name, buffer in norm.named_buffers(recurse=False):
            setattr(mixed, name, buffer)
        return mixed.to(norm.weight.device).train(norm.training)

    def forward(self, features: Tensor) -> Tensor:
        """Normalise features (B, C, H, W)."""
        gate = self.gate[:, None, None]
        return gate * super().forward(features) + (1 - gate) * self.instance(features)


def mix_norms(backbone: nn.Module, gate: float) -> None:
    """Replace every batch normalisation of a backbone, in place, after its weights are loaded.

    The two halves of IBN layers stay as they are.

    Args:
        backbone: backbone with plain batch normalisation of maps.
        gate: start value of all gates in [0, 1].

    Raises:
        ValueError: the backbone has none, or of another kind.
    """
    found = 0
    for parent in list(backbone.modules()):
        if type(parent).__name__ == "IBN":
            continue
        for name, child in parent.named_children():
            if is_plain(child, "MODEL.BIN.ENABLED"):
                setattr(parent, name, BatchInstanceNorm.from_batch_norm(child, gate))
                found += 1
    if not found:
        raise ValueError(
            "expected a backbone with batch normalisation for MODEL.BIN.ENABLED, got "
            f"{type(backbone).__name__} without: it normalises each image by itself; set it to "
            "False, or take build_resnet_backbone"
        )


def norms_of(model: nn.Module) -> dict[str, BatchInstanceNorm]:
    """Map names to the batch-instance normalisations of a model, in the order of its modules."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, BatchInstanceNorm)
    }


def with_instance_norms(model: nn.Module, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Complete the weights of a plain model: gates and instance normalisations begin as built.

    Args:
        model: model with batch-instance normalisation, or any other.
        weights: tensors of a file by their names.

    Returns:
        The weights, with an entry for each tensor that a plain layer of the file does not have.
    """
    completed = dict(weights)
    for path, norm in norms_of(model).items():
        if f"{path}.weight" not in weights:
            continue
        for name in ("gate", "instance.weight", "instance.bias"):
            completed.setdefault(f"{path}.{name}", norm.get_parameter(name).detach())
    return completed
