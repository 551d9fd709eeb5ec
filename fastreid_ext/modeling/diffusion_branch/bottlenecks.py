"""Layers between a condition and the U-Net ("more intricate conditioning" in DCAC's ablation).

Letters: B batch, C width of the condition.
"""

from collections.abc import Callable

from torch import nn

_NARROWER = 8  # times narrower than the condition is the middle of ConditionNet: 96 of 768


def build_bottleneck(kind: str, width: int) -> nn.Module:
    """Build layers from conditions (B, C) to conditions (B, C).

    Args:
        kind: name of the layers, a key of :data:`BOTTLENECKS`.
        width: width C of the condition.

    Example:
        >>> layers = build_bottleneck("condition_net", width=768)
        >>> sum(parameter.numel() for parameter in layers.parameters())
        149184
    """
    return BOTTLENECKS[kind](width)


def _condition_net(width: int) -> nn.Module:
    middle = width // _NARROWER
    return nn.Sequential(
        nn.BatchNorm1d(width),
        nn.SiLU(),
        nn.Linear(width, middle, bias=False),
        nn.BatchNorm1d(middle),
        nn.SiLU(),
        nn.Linear(middle, width, bias=False),
    )


BOTTLENECKS: dict[str, Callable[[int], nn.Module]] = {
    "identity": lambda width: nn.Identity(),
    "silu": lambda width: nn.SiLU(),
    "bn": nn.BatchNorm1d,
    "bn_silu": lambda width: nn.Sequential(nn.BatchNorm1d(width), nn.SiLU()),
    "condition_net": _condition_net,
}
