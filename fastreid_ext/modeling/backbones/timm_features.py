"""Backbones from any model of timm that gives a feature map."""

import logging

from torch import Tensor, nn

from fastreid_ext.modeling.backbones.timm_models import (
    TimmMap,
    new_timm_model,
    parameters_without_gradient,
    timm_map,
)

logger = logging.getLogger(__name__)


class MapForward:
    """Mixin whose ``forward`` gives the map (B, C, h, w) that ``map_shape`` describes."""

    map_shape: TimmMap

    def forward(self, images: Tensor) -> Tensor:
        """Turn normalised images (B, 3, height, width) into the map (B, C, h, w)."""
        return self.map_shape.to_map(self.forward_features(images))


def timm_backbone(name: str, image_size: tuple[int, int]) -> nn.Module:
    """Build timm's model ``name`` with random weights; its ``forward`` gives a map (B, C, h, w).

    The state dict has exactly timm's keys. Some models, ConvNeXt for one, have parameters on which
    the map does not depend, such as a norm after pooling. They are kept for their keys, and frozen,
    as parameters without gradient stop distributed training.

    Example:
        >>> import torch
        >>> backbone = timm_backbone("test_convnext", (64, 32))
        >>> backbone(torch.rand(2, 3, 64, 32)).shape
        torch.Size([2, 64, 2, 1])

    Args:
        name: name of the model in ``timm.list_models()``.
        image_size: height and width in pixels.
    """
    shape = timm_map(name, image_size)
    model = new_timm_model(name, image_size)
    unused = set(parameters_without_gradient(name, image_size))
    for key, parameter in model.named_parameters():
        if key in unused:
            parameter.requires_grad_(False)
    if unused:
        logger.info("%s: %s do not take part in the map", name, ", ".join(sorted(unused)))
    # timm chooses the class; a wrapper instead would put a prefix before every key.
    kind = type(model)
    model.__class__ = type(kind.__name__, (MapForward, kind), {})
    model.map_shape = shape
    return model
