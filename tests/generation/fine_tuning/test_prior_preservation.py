"""Equation 1 of Diffusion-ReID: as loops, as diffusers computes its parts, and at its edges."""

import pytest
import torch
from diffusers import DDIMScheduler

from fastreid_ext.generation.fine_tuning.prior_preservation import (
    denoising_errors,
    prior_preservation_loss,
)

PREDICTS = ("epsilon", "v_prediction", "sample")
CAP = 5.0


def drawn(rows=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    clean, noise, predicted = (
        torch.randn(rows, 4, 3, 2, generator=generator, dtype=torch.float64) for _ in range(3)
    )
    signal = torch.rand(rows, generator=generator, dtype=torch.float64) * 0.98 + 0.01
    return predicted, clean, noise, signal


def naive(predicted, clean, noise, signal, predicts, loss_on):
    """The formula of each row, from the clean latent or the noise that the model implies."""
    errors = []
    for p, x, e, a2 in zip(predicted, clean, noise, signal, strict=True):
        alpha, sigma = a2.sqrt(), (1 - a2).sqrt()
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
            errors.append((implied[predicts] ** 2).mean())
        else:
            weight = min(alpha**2 / sigma**2, torch.tensor(CAP))
            errors.append(weight * ((clean_hat - x) ** 2).mean())
    return torch.stack(errors)


@pytest.mark.parametrize("loss_on", ["prediction", "sample"])
@pytest.mark.parametrize("predicts", PREDICTS)
def test_errors_equal_the_formula_written_as_a_loop(predicts, loss_on):
    parts = drawn()
    got = denoising_errors(*parts, predicts=predicts, loss_on=loss_on, max_sample_weight=CAP)
    torch.testing.assert_close(got, naive(*parts, predicts, loss_on))


@pytest.mark.parametrize("predicts", PREDICTS)
def test_errors_equal_those_of_what_diffusers_makes_of_a_prediction(predicts):
    scheduler = DDIMScheduler(
        beta_schedule="scaled_linear", prediction_type=predicts, clip_sample=False
    )
    predicted, clean, noise, _ = drawn(4)
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
    got = denoising_errors(
        predicted, clean, noise, signal, predicts=predicts, loss_on="sample", max_sample_weight=CAP
    )
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-6)


def test_velocity_loss_equals_that_of_diffusers_dreambooth_script():
    scheduler = DDIMScheduler(beta_schedule="scaled_linear", prediction_type="v_prediction")
    predicted, clean, noise, _ = drawn(4)
    steps = torch.tensor([3, 200, 600, 990])
    target = scheduler.get_velocity(clean, noise, steps)
    expected = torch.nn.functional.mse_loss(predicted, target, reduction="none")
    signal = scheduler.alphas_cumprod[steps].double()
    got = denoising_errors(predicted, clean, noise, signal, predicts="v_prediction")
    torch.testing.assert_close(got, expected.mean(dim=(1, 2, 3)), rtol=1e-6, atol=1e-6)


def test_without_a_cap_both_parameterisations_are_one():
    parts = drawn()
    of_noise = denoising_errors(*parts, loss_on="prediction")
    of_clean = denoising_errors(*parts, loss_on="sample", max_sample_weight=float("inf"))
    torch.testing.assert_close(of_noise, of_clean)


@pytest.mark.parametrize("predicts", PREDICTS)
def test_is_zero_for_a_perfect_prediction(predicts):
    _, clean, noise, signal = drawn()
    alpha, sigma = (part.sqrt()[:, None, None, None] for part in (signal, 1 - signal))
    perfect = {"epsilon": noise, "sample": clean, "v_prediction": alpha * noise - sigma * clean}
    for loss_on in ("prediction", "sample"):
        errors = denoising_errors(
            perfect[predicts], clean, noise, signal, predicts=predicts, loss_on=loss_on
        )
        assert not errors.any()


def test_gradcheck():
    predicted, *others = drawn(3)
    owners, is_prior = torch.tensor([0, 1, 1]), torch.tensor([False, False, True])

    def loss(predicted):
        errors = denoising_errors(predicted, *others, loss_on="sample")
        return prior_preservation_loss(errors, owners, is_prior, prior_weight=0.7, count=2)

    assert torch.autograd.gradcheck(loss, (predicted.requires_grad_(),))


def test_half_precision_is_computed_in_float32_and_extremes_stay_finite():
    predicted, clean, noise, _ = (part.bfloat16() for part in drawn(2))
    signal = torch.tensor([0.0047, 0.99915])  # SD's last and first steps
    for predicts in PREDICTS:
        errors = denoising_errors(
            predicted * 1e4, clean, noise, signal, predicts=predicts, loss_on="sample"
        )
        assert errors.dtype == torch.float32
        assert errors.isfinite().all()


def looped(errors, owners, is_prior, prior_weight, count):
    losses = []
    for k in range(count):
        own = [errors[i] for i in range(len(errors)) if owners[i] == k and not is_prior[i]]
        prior = [errors[i] for i in range(len(errors)) if owners[i] == k and is_prior[i]]
        own_mean = sum(own) / len(own) if own else 0.0
        losses.append(own_mean + prior_weight * (sum(prior) / len(prior) if prior else 0.0))
    return torch.tensor(losses)


OWNERS = torch.tensor([0, 0, 1, 0, 1, 3])
IS_PRIOR = torch.tensor([False, True, False, False, True, False])


def test_loss_of_each_identity_equals_loops():
    errors = torch.rand(6, generator=torch.Generator().manual_seed(0))
    got = prior_preservation_loss(errors, OWNERS, IS_PRIOR, prior_weight=0.3, count=4)
    torch.testing.assert_close(got, looped(errors, OWNERS, IS_PRIOR, 0.3, 4))
    assert got[2] == 0


def test_an_identitys_gradient_does_not_depend_on_the_others():
    errors = torch.rand(6, requires_grad=True)
    total = prior_preservation_loss(errors, OWNERS, IS_PRIOR, prior_weight=0.3, count=4).sum()
    (together,) = torch.autograd.grad(total, errors)
    is_first = OWNERS == 0
    alone = errors[is_first].detach().requires_grad_()
    owners = torch.zeros(3, dtype=torch.long)
    prior_preservation_loss(
        alone, owners, IS_PRIOR[is_first], prior_weight=0.3, count=1
    ).sum().backward()
    torch.testing.assert_close(together[is_first], alone.grad)


def test_what_is_not_finite_stays_with_its_identity():
    errors = torch.ones(6)
    errors[4] = float("nan")
    errors.requires_grad_()
    losses = prior_preservation_loss(errors, OWNERS, IS_PRIOR, prior_weight=1.0, count=4)
    assert losses.isnan().tolist() == [False, True, False, False]
    losses.sum().backward()
    assert errors.grad.isfinite().all()


def test_says_what_it_wanted():
    predicted, clean, noise, signal = drawn()
    with pytest.raises(ValueError, match=r"of one shape and a signal \(B,\), got"):
        denoising_errors(predicted, clean, noise, signal[:1])
    with pytest.raises(ValueError, match=r"predicts epsilon, v_prediction or sample .*got 'flow'"):
        denoising_errors(predicted, clean, noise, signal, predicts="flow")
    with pytest.raises(ValueError, match=r"expected errors, owners and is_prior \(B,\), got"):
        prior_preservation_loss(signal, OWNERS[:1], IS_PRIOR, prior_weight=1.0, count=4)
