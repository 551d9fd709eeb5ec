"""The gradient check on plain tensors; whole runs are in test_training.py."""

import re

import pytest
import torch
from torch import nn

from fastreid_ext.engine.hooks import what_is_wrong
from fastreid_ext.engine.modes import modes_kept


def group(value: float, gradient: float | None) -> list[torch.Tensor]:
    parameter = nn.Parameter(torch.full((3,), value))
    parameter.grad = None if gradient is None else torch.full((3,), gradient)
    return [parameter]


@pytest.mark.parametrize(
    ("value", "gradient", "words"),
    [
        (1.0, None, r"no gradient \(parameters unchanged\).*set_to_none=True"),
        (2.0, float("nan"), r"NaN or infinite gradients \(parameters moved\)"),
        (1.0, 0.0, r"gradients that are all zero \(parameters unchanged\).*MODEL\.LOSSES\.NAME"),
        (1.0, 0.5, r"gradients but unchanged parameters.*other tensors"),
        (2.0, 0.5, r"^$"),
    ],
)
def test_nameswhat_is_wrong_and_why(value, gradient, words):
    assert re.search(words, what_is_wrong(group(value, gradient), group(1.0, None)))


def test_modes_are_those_of_before():
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout())
    model[0].eval()
    with modes_kept(model):
        model.train()
    assert (model.training, model[0].training, model[1].training) == (True, False, True)
