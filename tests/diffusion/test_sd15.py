"""The architecture of Stable Diffusion 1.5: published numbers of parameters, and its schedule."""

import pytest
import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel

from fastreid_ext.diffusion import sd15


@pytest.mark.parametrize(
    ("kind", "settings", "parameters"),
    [
        (UNet2DConditionModel, sd15.UNET, 859_520_964),
        (AutoencoderKL, sd15.VAE, 83_653_863),
    ],
)
def test_parts_have_as_many_parameters_as_the_published_weights(kind, settings, parameters):
    with torch.device("meta"):
        part = kind.from_config(dict(settings))
    assert sum(p.numel() for p in part.parameters()) == parameters


def test_schedule_is_linear_in_the_root_of_the_variance():
    """As in CompVis' code: 1000 steps from 0.00085 to 0.012."""
    scheduler = DDPMScheduler.from_config(dict(sd15.SCHEDULER))
    first = 0.00085**0.5
    last = 0.012**0.5
    signal = 1.0
    for step in range(1000):
        beta = (first + (last - first) * step / 999) ** 2
        signal *= 1 - beta
        assert float(scheduler.alphas_cumprod[step]) == pytest.approx(signal, rel=1e-4)
    assert scheduler.config.prediction_type == "epsilon"
