"""A neck and a classifier for the maps of the third stage of a ResNet: UNRN's second head.

Letters: B batch, C classes.
"""

import torch
import torch.nn.functional as F
from fastreid.layers import get_norm
from torch import Tensor, nn

_RANDOM_ROWS = 0.001  # standard deviation of the rows


class SideHead(nn.Module):
    """Neck and classifier of pooled maps of an inner stage.

    Args:
        width: number of channels of the maps.
        classes: number of rows of the classifier.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.bottleneck = get_norm("BN", width, bias_freeze=True)
        self.weight = nn.Parameter(_RANDOM_ROWS * torch.randn(classes, width))

    def forward(self, pooled: Tensor) -> Tensor:
        """Compute logits (B, C) of pooled maps (B, width, 1, 1)."""
        return F.linear(self.bottleneck(pooled)[..., 0, 0], self.weight)


class SideMaps:
    """Keeps the maps that a backbone's third stage gives in training, until they are taken.

    Args:
        backbone: backbone of four stages, ``layer1`` to ``layer4``.
    """

    def __init__(self, backbone: nn.Module) -> None:
        self._maps: Tensor | None = None
        fourth_stage(backbone).register_forward_pre_hook(self._keep)

    def take(self) -> Tensor:
        """Return the maps (B, C, H, W) of the last forward pass, once."""
        maps = self._maps
        self._maps = None
        if maps is None:
            raise RuntimeError("expected a forward pass in training before its maps are taken")
        return maps

    def _keep(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if module.training:
            self._maps = inputs[0]


def fourth_stage(backbone: nn.Module) -> nn.Module:
    """Return the first block of the fourth stage, whose input is the output of the third.

    Raises:
        ValueError: the backbone has no such stage.
    """
    if not hasattr(backbone, "layer4"):
        raise ValueError(
            "expected a backbone of four stages, layer1 to layer4, for MODEL.UNRN.SIDE_HEAD, got "
            f"{type(backbone).__name__}; take build_resnet_backbone, or set it to False"
        )
    return backbone.layer4[0]
