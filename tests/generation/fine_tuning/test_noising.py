"""One pass of training: noise of the model's own schedule, and the loss of what it predicts."""

import copy
import dataclasses

import pytest
import torch
from diffusers import DDPMScheduler
from torch.nn import functional as F

from fastreid_ext.config import load_config
from fastreid_ext.diffusion.stable_diffusion import read_base
from fastreid_ext.generation.fine_tuning.noising import Noising
from fastreid_ext.generation.fine_tuning.settings import FineTuningSettings
from fastreid_ext.generation.fine_tuning.training_rows import Pass


@pytest.fixture(scope="module")
def base(tiny_pipeline_folder):
    return read_base(
        tiny_pipeline_folder, name="tiny@0", device=torch.device("cpu"), dtype=torch.float32
    )


def predicting(base, what):
    scheduler = copy.copy(base.scheduler)
    scheduler.register_to_config(prediction_type=what)
    return dataclasses.replace(base, scheduler=scheduler)


def taken(base):
    generator = torch.Generator().manual_seed(0)
    shape = (3, *base.latent_shape((32, 16)))
    clean, noise = (torch.randn(shape, generator=generator) for _ in range(2))
    return Pass(clean=clean, noise=noise, steps=torch.tensor([5, 400, 950]))


@pytest.mark.parametrize("what", ["epsilon", "v_prediction"])
def test_errors_are_those_of_diffusers_dreambooth_script(base, what):
    """Its lines: the target is the noise, or the scheduler's velocity; the loss is plain MSE."""
    model, one = predicting(base, what), taken(base)
    context = base.encode_prompts(["a man"] * 3)
    found = Noising(model, FineTuningSettings()).errors(one, context)
    scheduler = DDPMScheduler.from_config(model.scheduler.config)
    assert scheduler.config.prediction_type == what
    noisy = scheduler.add_noise(one.clean, one.noise, one.steps)
    with torch.no_grad():
        predicted = base.unet(noisy, one.steps, context).sample
    target = one.noise
    if what == "v_prediction":
        target = scheduler.get_velocity(one.clean, one.noise, one.steps)
    expected = F.mse_loss(predicted, target, reduction="none").mean(dim=(1, 2, 3))
    torch.testing.assert_close(found.detach(), expected)


def test_the_configuration_chooses_the_loss(base):
    keys = "GENERATION.FINE_TUNING."
    pairs = [f"{keys}LOSS_ON", "sample", f"{keys}MAX_SAMPLE_WEIGHT", "2.0"]
    pairs += [f"{keys}PRIOR_WEIGHT", "0.25"]
    settings = FineTuningSettings.from_config(load_config("", ["MODEL.DEVICE", "cpu", *pairs]))
    assert (settings.loss_on, settings.max_sample_weight) == ("sample", 2.0)
    assert settings.prior_weight == 0.25
    one, context = taken(base), base.encode_prompts(["a man"] * 3)
    plain = Noising(base, FineTuningSettings()).errors(one, context)
    capped = Noising(base, settings).errors(one, context)
    signal = DDPMScheduler.from_config(base.scheduler.config).alphas_cumprod[one.steps]
    weight = (signal / (1 - signal)).clamp(max=2.0) * (1 - signal) / signal
    torch.testing.assert_close(capped, plain * weight)
