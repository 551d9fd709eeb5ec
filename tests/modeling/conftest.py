"""Tiny networks with random weights, and loading with a path alone."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from fastreid_ext.config import load_config
from fastreid_ext.modeling.build import build_backbone
from fastreid_ext.modeling.pretrained import LoadReport, load_pretrained

IMAGENET = {"pixel_mean": [123.675, 116.28, 103.53], "pixel_std": [58.395, 57.12, 57.375]}


@pytest.fixture
def randomised() -> Callable[[nn.Module], nn.Module]:
    """Give a function that samples every parameter and statistic of a network."""

    def randomise(model: nn.Module) -> nn.Module:
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for name, value in model.state_dict().items():
                if name.endswith("running_var"):
                    value.uniform_(0.5, 1.5, generator=generator)
                elif value.is_floating_point() and value.ndim > 1:
                    value.normal_(0, value[0].numel() ** -0.5, generator=generator)
                elif value.is_floating_point():
                    value.normal_(0.5, 0.2, generator=generator)
        return model.eval()

    return randomise


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(2, 3, 64, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def backbone_of() -> Callable[..., nn.Module]:
    """Give a function that builds a backbone from KEY, VALUE, ... below MODEL.BACKBONE."""

    def build(name: str, depth: str, *keys: object) -> nn.Module:
        pairs = ["MODEL.DEVICE", "cpu", "INPUT.SIZE_TRAIN", "[64, 32]"]
        pairs += ["MODEL.BACKBONE.FEAT_DIM", "0"]
        for key, value in zip(
            ("NAME", "DEPTH", *keys[::2]), (name, depth, *keys[1::2]), strict=True
        ):
            pairs += [f"MODEL.BACKBONE.{key}", str(value)]
        torch.manual_seed(0)
        return build_backbone(load_config("", pairs)).eval()

    return build


@pytest.fixture
def load() -> Callable[..., LoadReport]:
    """Give load_pretrained with ImageNet's normalisation."""

    def load(backbone: nn.Module, path: object, **changes: object) -> LoadReport:
        return load_pretrained(backbone, path, **{**IMAGENET, **changes})

    return load
