"""Losses by name: fastreid's four and those that users register.

An entry of ``LOSS_REGISTRY`` is called with the configuration and returns a loss: a callable that
returns a scalar with its weight. Its arguments:

- ``outputs``: dictionary that a head returns in training, with ``cls_outputs`` (B, C), logits with
  their margin; ``pred_class_logits`` (B, C), without margin and gradient; ``features`` (B, D);
- ``targets``: identities (B,).

A loss that is a ``torch.nn.Module`` may have parameters.
"""

import re
from collections.abc import Callable, Mapping, Sequence

from fastreid.config import CfgNode
from fastreid.modeling import losses as host
from torch import Tensor

from fastreid_ext.modeling.losses.weighted_triplet import weighted_triplet_loss
from fastreid_ext.names import unknown_name
from fastreid_ext.registries import LOSS_REGISTRY, registered_names

Loss = Callable[[Mapping[str, Tensor], Tensor], Tensor]


@LOSS_REGISTRY.register()
class CrossEntropyLoss:
    """Cross-entropy with smoothed labels of fastreid, set by ``MODEL.LOSSES.CE``.

    Example:
        >>> import torch
        >>> from fastreid.config import get_cfg
        >>> logits = torch.zeros(2, 10)  # (B, C)
        >>> loss = CrossEntropyLoss(get_cfg())({"cls_outputs": logits}, torch.tensor([3, 7]))
        >>> round(loss.item(), 4)  # log(10)
        2.3026
    """

    name = "loss_cls"

    def __init__(self, cfg: CfgNode) -> None:
        self.keys = cfg.MODEL.LOSSES.CE

    def __call__(self, outputs: Mapping[str, Tensor], targets: Tensor) -> Tensor:
        """Compute the loss of the logits (B, C)."""
        keys = self.keys
        logits = outputs["cls_outputs"]
        return keys.SCALE * host.cross_entropy_loss(logits, targets, keys.EPSILON, keys.ALPHA)


@LOSS_REGISTRY.register()
class TripletLoss:
    """Triplet loss of fastreid, set by ``MODEL.LOSSES.TRI``.

    Example:
        >>> import torch
        >>> from fastreid.config import get_cfg
        >>> features = torch.tensor([[0.0], [1.0], [5.0], [6.0]])  # (B, D)
        >>> TripletLoss(get_cfg())({"features": features}, torch.tensor([0, 0, 1, 1])).item()
        0.0
    """

    name = "loss_triplet"

    def __init__(self, cfg: CfgNode) -> None:
        self.keys = cfg.MODEL.LOSSES.TRI

    def __call__(self, outputs: Mapping[str, Tensor], targets: Tensor) -> Tensor:
        """Compute the loss of the features (B, D)."""
        keys = self.keys
        options = (keys.MARGIN, keys.NORM_FEAT, keys.HARD_MINING)
        return keys.SCALE * host.triplet_loss(outputs["features"], targets, *options)


@LOSS_REGISTRY.register()
class CircleLoss:
    """Pairwise circle loss of fastreid, set by ``MODEL.LOSSES.CIRCLE``.

    Example:
        >>> import torch
        >>> from fastreid.config import get_cfg
        >>> features = torch.eye(4).repeat(2, 1)  # (B, D): both images of an identity are equal
        >>> CircleLoss(get_cfg())({"features": features}, torch.arange(4).repeat(2)).item() < 1
        True
    """

    name = "loss_circle"

    def __init__(self, cfg: CfgNode) -> None:
        self.keys = cfg.MODEL.LOSSES.CIRCLE

    def __call__(self, outputs: Mapping[str, Tensor], targets: Tensor) -> Tensor:
        """Compute the loss of the features (B, D)."""
        keys = self.keys
        features = outputs["features"]
        return keys.SCALE * host.pairwise_circleloss(features, targets, keys.MARGIN, keys.GAMMA)


@LOSS_REGISTRY.register()
class Cosface:
    """Pairwise CosFace of fastreid, set by ``MODEL.LOSSES.COSFACE``; SCALE is unused there too.

    Example:
        >>> import torch
        >>> from fastreid.config import get_cfg
        >>> features = torch.eye(4).repeat(2, 1)  # (B, D): both images of an identity are equal
        >>> Cosface(get_cfg())({"features": features}, torch.arange(4).repeat(2)).item() < 1
        True
    """

    name = "loss_cosface"

    def __init__(self, cfg: CfgNode) -> None:
        self.keys = cfg.MODEL.LOSSES.COSFACE

    def __call__(self, outputs: Mapping[str, Tensor], targets: Tensor) -> Tensor:
        """Compute the loss of the features (B, D)."""
        keys = self.keys
        return host.pairwise_cosface(outputs["features"], targets, keys.MARGIN, keys.GAMMA)


# Losses that fastreid's meta-architectures compute themselves.
HOST_LOSSES = tuple(registered_names(LOSS_REGISTRY))


@LOSS_REGISTRY.register()
class WeightedTripletLoss:
    """Weighted regularised triplet loss, set by ``MODEL.LOSSES.WEIGHTED_TRIPLET``.

    Example:
        >>> import torch
        >>> from fastreid_ext.config import load_config
        >>> cfg = load_config("", ["MODEL.DEVICE", "cpu"])
        >>> features = torch.tensor([[0.0], [0.0], [9.0], [9.0]])  # (B, D)
        >>> loss = WeightedTripletLoss(cfg)({"features": features}, torch.tensor([0, 0, 1, 1]))
        >>> round(loss.item(), 4)  # log(1 + exp(0 - 9))
        0.0001
    """

    def __init__(self, cfg: CfgNode) -> None:
        self.keys = cfg.MODEL.LOSSES.WEIGHTED_TRIPLET

    def __call__(self, outputs: Mapping[str, Tensor], targets: Tensor) -> Tensor:
        """Compute the loss of the features (B, D)."""
        keys = self.keys
        return keys.SCALE * weighted_triplet_loss(
            outputs["features"], targets, is_squared=keys.SQUARED, clamp=keys.CLAMP
        )


def build_losses(cfg: CfgNode, names: Sequence[str] | None = None) -> dict[str, Loss]:
    """Build losses by the key they have among the losses of a step, e.g. ``loss_triplet``.

    The key of a registered loss is its attribute ``name``, or else ``loss_`` and its registered
    name in lower case without the word Loss: CenterLoss is ``loss_center``.

    Args:
        cfg: configuration that each loss reads.
        names: registered names of losses; None takes those of ``MODEL.LOSSES.NAME``.

    Raises:
        ValueError: a name is not registered.

    Example:
        >>> from fastreid.config import get_cfg
        >>> losses = build_losses(get_cfg(), ["CrossEntropyLoss", "TripletLoss"])
        >>> sorted(losses)
        ['loss_cls', 'loss_triplet']
    """
    built: dict[str, Loss] = {}
    for name in cfg.MODEL.LOSSES.NAME if names is None else names:
        known = registered_names(LOSS_REGISTRY)
        if name not in known:
            raise ValueError(unknown_name("MODEL.LOSSES.NAME", name, known))
        loss = LOSS_REGISTRY.get(name)(cfg)
        built[getattr(loss, "name", _key(name))] = loss
    return built


def _key(name: str) -> str:
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.removesuffix("Loss"))
    return f"loss_{words.lower()}"
