"""Layers between condition and U-Net: their sizes, and ConditionNet written as formulas."""

import pytest
import torch
from torch import Tensor

from fastreid_ext.modeling.diffusion_branch.bottlenecks import BOTTLENECKS, build_bottleneck

# Of batch normalisation: a weight and a bias for each of 768 or 96 channels.
PARAMETERS = {
    "identity": 0,
    "silu": 0,
    "bn": 2 * 768,
    "bn_silu": 2 * 768,
    "condition_net": 2 * 768 + 768 * 96 + 2 * 96 + 96 * 768,
}


@pytest.mark.parametrize("kind", BOTTLENECKS)
def test_bottleneck_has_the_papers_parameters_and_keeps_the_width(kind):
    layers = build_bottleneck(kind, 768)
    assert sum(p.numel() for p in layers.parameters()) == PARAMETERS[kind]
    assert layers(torch.randn(4, 768)).shape == (4, 768)


def normalised(rows: Tensor) -> Tensor:
    """Normalise each channel over the batch, as a new layer does in training."""
    mean = rows.mean(dim=0)
    variance = (rows - mean).square().mean(dim=0)
    return (rows - mean) / (variance + 1e-5).sqrt()


def swish(rows: Tensor) -> Tensor:
    return rows / (1 + (-rows).exp())


@pytest.mark.parametrize("kind", BOTTLENECKS)
def test_bottleneck_equals_its_formula(kind):
    torch.manual_seed(0)
    rows = 3 * torch.randn(6, 16, dtype=torch.float64) + 1
    layers = build_bottleneck(kind, 16).double()
    matrices = [p for p in layers.parameters() if p.ndim == 2]
    expected = {
        "identity": lambda: rows,
        "silu": lambda: swish(rows),
        "bn": lambda: normalised(rows),
        "bn_silu": lambda: swish(normalised(rows)),
        "condition_net": lambda: (
            swish(normalised(swish(normalised(rows)) @ matrices[0].T)) @ matrices[1].T
        ),
    }
    torch.testing.assert_close(layers(rows), expected[kind]())
