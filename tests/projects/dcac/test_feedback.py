"""The part of the denoising loss in a gradient: a hand-computed case."""

import pytest
import torch
from torch import nn

from projects.DCAC.miniature.feedback import compared


class TwoLosses(nn.Module):
    """Losses w0 + w1 and 0.5 w0 of a backbone with the weights w: gradients (1, 1) and (0.5, 0)."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Linear(2, 1, bias=False)
        self.other = nn.Parameter(torch.ones(1))

    def forward(self, batch):
        first, second = self.backbone.weight[0]
        return {
            "loss_cls": first,
            "loss_prototype": second * self.other.squeeze(),
            "loss_diffusion": 0.5 * first,
        }


def test_compared_gradients_by_hand():
    ratio, cosine = compared(TwoLosses(), {})
    assert ratio == pytest.approx(0.5 / 2**0.5)
    assert cosine == pytest.approx(1 / 2**0.5)
