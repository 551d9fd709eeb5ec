"""Module that mixes the feature maps of a source and a target image: IDM's.

Letters: n pairs, C channels, H x W map.

[0] Dai et al., "IDM: An Intermediate Domain Module for Domain Adaptive Person Re-ID", ICCV 2021,
    https://arxiv.org/abs/2108.02413
[1] its code, https://github.com/SikaStar/IDM
"""

import torch
from torch import Tensor, nn

STAGES = 5  # stem and four stages, after each of which the module can stand


class DomainMixing(nn.Module):
    """Append the mixture of each pair to a batch [source; target], in training.

    The shares of a pair come from the mean and the maximum of both maps over their pixels, by three
    linear layers without an activation between them [1] and a softmax; the maps get no gradient
    this way.

    Example:
        >>> mixing = DomainMixing(channels=4)
        >>> mixing(torch.rand(6, 4, 8, 4)).shape, mixing.take_shares().shape
        (torch.Size([9, 4, 8, 4]), torch.Size([3, 2]))
        >>> mixing.eval()(torch.rand(6, 4, 8, 4)).shape
        torch.Size([6, 4, 8, 4])

    Args:
        channels: number C of channels of the maps, a multiple of 2.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pair = nn.Linear(2 * channels, channels)
        self.hidden = nn.Linear(channels, channels // 2)
        self.share = nn.Linear(channels // 2, 2)
        self._shares: Tensor | None = None

    def forward(self, features: Tensor) -> Tensor:
        """Map features (2n, C, H, W) to (3n, C, H, W); in evaluation they pass unchanged."""
        if not self.training:
            return features
        source, target = features.chunk(2)
        self._shares = self.shares(source, target)
        weights = self._shares.to(features.dtype)[..., None, None, None]
        return torch.cat([features, weights[:, 0] * source + weights[:, 1] * target])

    def shares(self, source: Tensor, target: Tensor) -> Tensor:
        """Compute the shares (n, 2) of source and target; each row sums to 1."""
        pairs = self.pair(_pooled(source)) + self.pair(_pooled(target))
        return self.share(self.hidden(pairs)).softmax(dim=1)

    def take_shares(self) -> Tensor:
        """Return the shares (n, 2) of the last forward pass, once."""
        shares = self._shares
        self._shares = None
        if shares is None:
            raise RuntimeError("expected a forward pass in training before its shares are taken")
        return shares

    def before(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Mix the input of a module; to be its forward pre-hook."""
        return (self(inputs[0]), *inputs[1:])

    def after(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        """Mix the output of a module; to be its forward hook."""
        return self(output)


def mix_after(backbone: nn.Module, stage: int, width: int) -> DomainMixing:
    """Build the module and let a backbone call it after one of its stages.

    Args:
        backbone: backbone of four stages, ``layer1`` to ``layer4``, each a sequence of blocks that
            begin with a convolution ``conv1``.
        stage: number of the stage, 1 to 4; 0 is the stem with its pooling.
        width: number of channels of the backbone's output.

    Raises:
        ValueError: the backbone has no such stages.
    """
    if not all(hasattr(backbone, f"layer{number}") for number in range(1, STAGES)):
        raise ValueError(
            "expected a backbone of four stages, layer1 to layer4, for IDM's module, got "
            f"{type(backbone).__name__}; take build_resnet_backbone"
        )
    if stage == STAGES - 1:
        mixing = DomainMixing(width)
        backbone.register_forward_hook(mixing.after)
        return mixing
    block = getattr(backbone, f"layer{stage + 1}")[0]
    mixing = DomainMixing(block.conv1.in_channels)
    block.register_forward_pre_hook(mixing.before)
    return mixing


def _pooled(maps: Tensor) -> Tensor:
    """Join mean and maximum (n, 2C) over the pixels of maps (n, C, H, W), without gradient."""
    maps = maps.detach()
    return torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1)
