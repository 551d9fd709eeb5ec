"""Noising and its loss: as loops, as diffusers computes its parts, and at the edges."""

import copy
import dataclasses

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from torch.nn import functional as F

from fastreid_ext.diffusion.noising import NoiseSchedule, denoising_loss, prediction_loss
from fastreid_ext.diffusion.stable_diffusion import read_base


@pytest.fixture(scope="module")
def base(tiny_pipeline_folder):
    return read_base(
        tiny_pipeline_folder, name="tiny@0", device=torch.device("cpu"), dtype=torch.float32
    )


def predicting(base, what):
    scheduler = copy.copy(base.scheduler)
    scheduler.register_to_config(prediction_type=what)
    return dataclasses.replace(base, scheduler=scheduler)


def batch_of(base):
    """Clean latents, noise and steps of three rows."""
    generator = torch.Generator().manual_seed(0)
    shape = (3, *base.latent_shape((32, 16)))
    clean = torch.randn(shape, generator=generator)
    noise = torch.randn(shape, generator=generator)
    return clean, noise, torch.tensor([5, 400, 950])


@pytest.mark.parametrize("what", ["epsilon", "v_prediction"])
def test_denoising_loss_equals_that_of_diffusers_dreambooth_script(base, what):
    """Its lines: the target is the noise, or the scheduler's velocity; the loss is plain MSE."""
    model = predicting(base, what)
    clean, noise, steps = batch_of(base)
    context = base.encode_prompts(["a man"] * 3)
    schedule = NoiseSchedule.from_scheduler(model.scheduler.config)
    found = denoising_loss(model.unet, schedule, clean, noise, steps, context)
    scheduler = DDPMScheduler.from_config(model.scheduler.config)
    assert scheduler.config.prediction_type == what
    noisy = scheduler.add_noise(clean, noise, steps)
    torch.testing.assert_close(schedule.add_noise(clean, noise, steps), noisy)
    with torch.no_grad():
        predicted = base.unet(noisy, steps, context).sample
    target = noise
    if what == "v_prediction":
        target = scheduler.get_velocity(clean, noise, steps)
    expected = F.mse_loss(predicted, target, reduction="none").mean(dim=(1, 2, 3))
    torch.testing.assert_close(found.detach(), expected)


def test_denoising_loss_on_sample_is_weighted_and_capped(base):
    batch = batch_of(base)
    context = base.encode_prompts(["a man"] * 3)
    schedule = NoiseSchedule.from_scheduler(base.scheduler.config)
    plain = denoising_loss(base.unet, schedule, *batch, context)
    capped = denoising_loss(
        base.unet, schedule, *batch, context, loss_on="sample", max_sample_weight=2.0
    )
    signal = DDPMScheduler.from_config(base.scheduler.config).alphas_cumprod[batch[2]]
    weight = (signal / (1 - signal)).clamp(max=2.0) * (1 - signal) / signal
    torch.testing.assert_close(capped, plain * weight)


PREDICTS = ("epsilon", "v_prediction", "sample")
CAP = 5.0


def sampled(rows=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (rows, 4, 3, 2)
    clean = torch.randn(shape, generator=generator, dtype=torch.float64)
    noise = torch.randn(shape, generator=generator, dtype=torch.float64)
    predicted = torch.randn(shape, generator=generator, dtype=torch.float64)
    signal = torch.rand(rows, generator=generator, dtype=torch.float64) * 0.98 + 0.01
    return predicted, clean, noise, signal


def naive(predicted, clean, noise, signal, predicts, loss_on):
    """The formula of each row, from the clean latent or the noise that the model implies."""
    losses = []
    for p, x, e, a2 in zip(predicted, clean, noise, signal, strict=True):
        alpha = a2.sqrt()
        sigma = (1 - a2).sqrt()
        z = alpha * x + sigma * e
        if predicts == "epsilon":
            clean_hat = (z - sigma * p) / alpha
        elif predicts == "v_prediction":
            clean_hat = alpha * z - sigma * p
        else:
            clean_hat = p
        noise_hat = (z - alpha * clean_hat) / sigma
        if loss_on == "prediction":
            implied = {"epsilon": noise_hat - e, "sample": clean_hat - x}
            implied["v_prediction"] = (
                alpha * noise_hat - sigma * clean_hat - (alpha * e - sigma * x)
            )
            losses.append((implied[predicts] ** 2).mean())
        else:
            weight = min(alpha**2 / sigma**2, torch.tensor(CAP))
            losses.append(weight * ((clean_hat - x) ** 2).mean())
    return torch.stack(losses)


@pytest.mark.parametrize("loss_on", ["prediction", "sample"])
@pytest.mark.parametrize("predicts", PREDICTS)
def test_prediction_loss_equals_the_formula_written_as_a_loop(predicts, loss_on):
    parts = sampled()
    got = prediction_loss(*parts, predicts=predicts, loss_on=loss_on, max_sample_weight=CAP)
    torch.testing.assert_close(got, naive(*parts, predicts, loss_on))


@pytest.mark.parametrize("predicts", PREDICTS)
def test_prediction_loss_equals_that_of_diffusers_clean_latent(predicts):
    scheduler = DDIMScheduler(
        beta_schedule="scaled_linear", prediction_type=predicts, clip_sample=False
    )
    predicted, clean, noise, _ = sampled(4)
    steps = torch.tensor([3, 200, 600, 990])
    signal = scheduler.alphas_cumprod[steps].double()
    noisy = scheduler.add_noise(clean, noise, steps)
    scheduler.set_timesteps(1000)
    weight = (signal / (1 - signal)).clamp(max=CAP)
    implied = [
        scheduler.step(predicted[i : i + 1], int(steps[i]), noisy[i : i + 1]).pred_original_sample
        for i in range(4)
    ]
    expected = weight * (torch.cat(implied) - clean).square().mean(dim=(1, 2, 3))
    got = prediction_loss(
        predicted, clean, noise, signal, predicts=predicts, loss_on="sample", max_sample_weight=CAP
    )
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-6)


def test_prediction_loss_of_velocity_equals_that_of_diffusers_dreambooth_script():
    scheduler = DDIMScheduler(beta_schedule="scaled_linear", prediction_type="v_prediction")
    predicted, clean, noise, _ = sampled(4)
    steps = torch.tensor([3, 200, 600, 990])
    target = scheduler.get_velocity(clean, noise, steps)
    expected = torch.nn.functional.mse_loss(predicted, target, reduction="none")
    signal = scheduler.alphas_cumprod[steps].double()
    got = prediction_loss(predicted, clean, noise, signal, predicts="v_prediction")
    torch.testing.assert_close(got, expected.mean(dim=(1, 2, 3)), rtol=1e-6, atol=1e-6)


def test_loss_on_sample_without_a_cap_equals_loss_on_prediction():
    parts = sampled()
    of_noise = prediction_loss(*parts, loss_on="prediction")
    of_clean = prediction_loss(*parts, loss_on="sample", max_sample_weight=float("inf"))
    torch.testing.assert_close(of_noise, of_clean)


@pytest.mark.parametrize("predicts", PREDICTS)
def test_prediction_loss_is_zero_for_a_perfect_prediction(predicts):
    _, clean, noise, signal = sampled()
    alpha = signal.sqrt()[:, None, None, None]
    sigma = (1 - signal).sqrt()[:, None, None, None]
    perfect = {"epsilon": noise, "sample": clean, "v_prediction": alpha * noise - sigma * clean}
    for loss_on in ("prediction", "sample"):
        losses = prediction_loss(
            perfect[predicts], clean, noise, signal, predicts=predicts, loss_on=loss_on
        )
        assert not losses.any()


def test_prediction_loss_of_half_precision_is_computed_in_float32_and_extremes_stay_finite():
    predicted, clean, noise, _ = sampled(2)
    predicted = predicted.bfloat16()
    clean = clean.bfloat16()
    noise = noise.bfloat16()
    signal = torch.tensor([0.0047, 0.99915])  # SD's last and first steps
    for predicts in PREDICTS:
        losses = prediction_loss(
            predicted * 1e4, clean, noise, signal, predicts=predicts, loss_on="sample"
        )
        assert losses.dtype == torch.float32
        assert losses.isfinite().all()


def test_prediction_loss_gradcheck():
    predicted, *others = sampled(3)

    def loss(predicted):
        return prediction_loss(predicted, *others, loss_on="sample")

    assert torch.autograd.gradcheck(loss, (predicted.requires_grad_(),))


def test_prediction_loss_refuses_wrong_shapes_and_unknown_kinds():
    predicted, clean, noise, signal = sampled()
    with pytest.raises(ValueError, match=r"of one shape and a signal \(B,\), got"):
        prediction_loss(predicted, clean, noise, signal[:1])
    with pytest.raises(ValueError, match=r"predicts epsilon, v_prediction or sample .*got 'flow'"):
        prediction_loss(predicted, clean, noise, signal, predicts="flow")
