"""Learn a person without forgetting people: a denoising loss with prior preservation.

Letters: B rows of a batch, K identities, x a clean latent, e the noise, z_t = alpha_t x + sigma_t e
with alpha_t^2 + sigma_t^2 = 1, hats for what the model predicts. Equation 1 of [0] is

    w_t || x^ - x ||^2  +  lambda w_t' || x^_pr - x_pr ||^2,

the first of images of the person, the second of the reference set, which the model itself drew.
Since x^ - x = -(sigma_t / alpha_t) (e^ - e), w_t = alpha_t^2 / sigma_t^2 turns each term into the
plain error of the noise, which is what a model that predicts noise is usually trained on [1]. A
model that predicts the velocity v = alpha_t e - sigma_t x is trained on the plain error of v, which
is 1 / sigma_t^2 times that of x. Capping w_t gives the first steps of the noising, with their
large w_t, less weight ([2] does so with cap 5).

[0] Niu et al., "Synthesizing Efficient Data with Diffusion Models for Person Re-Identification
    Pre-Training", 2024, eq. 1, https://arxiv.org/abs/2406.06045
[1] Ruiz et al., "DreamBooth: Fine Tuning Text-to-Image Diffusion Models for Subject-Driven
    Generation", CVPR 2023, eq. 2, https://arxiv.org/abs/2208.12242
[2] Hang et al., "Efficient Diffusion Training via Min-SNR Weighting Strategy", ICCV 2023, section
    3.4, https://arxiv.org/abs/2303.09556
"""

from collections.abc import Callable

import torch
from torch import Tensor

from fastreid_ext.full_precision import in_full_precision

LOSS_TARGETS = ("prediction", "sample")
# Squared error of the clean latent x^ as a multiple of the squared error of what is predicted.
_CLEAN_PER_OWN: dict[str, Callable[[Tensor], Tensor]] = {
    "epsilon": lambda signal: (1 - signal) / signal,
    "v_prediction": lambda signal: 1 - signal,
    "sample": torch.ones_like,
}


@in_full_precision
def denoising_errors(
    predicted: Tensor,
    clean: Tensor,
    noise: Tensor,
    signal: Tensor,
    *,
    predicts: str = "epsilon",
    loss_on: str = "prediction",
    max_sample_weight: float = 5.0,
) -> Tensor:
    """Return the weighted squared error of each row, in float32 at least.

    Args:
        predicted: (B, ...) what the model says of z_t.
        clean: (B, ...) x, scaled latents.
        noise: (B, ...) e, of variance 1.
        signal: (B,) alpha_t^2 in (0, 1), ``alphas_cumprod`` of diffusers.
        predicts: what ``predicted`` is, as schedulers' ``prediction_type`` names it: "epsilon",
            "v_prediction" or "sample".
        loss_on: "prediction": the plain squared error of what the model predicts; "sample":
            w_t ||x^ - x||^2.
        max_sample_weight: cap of w_t = alpha_t^2 / sigma_t^2, for "sample" alone.

    Returns:
        (B,), means over the numbers of a row.
    """
    shapes = [tuple(part.shape) for part in (predicted, clean, noise)]
    if len(set(shapes)) > 1 or signal.shape != predicted.shape[:1]:
        raise ValueError(
            f"expected prediction, clean latents and noise of one shape and a signal (B,), got "
            f"{shapes} and {tuple(signal.shape)}"
        )
    if predicts not in _CLEAN_PER_OWN or loss_on not in LOSS_TARGETS:
        raise ValueError(
            f"expected a model that predicts epsilon, v_prediction or sample and a loss on "
            f"prediction or sample, got '{predicts}' and '{loss_on}'"
        )
    own = (predicted - _target(clean, noise, signal, predicts)).square().flatten(1).mean(dim=1)
    if loss_on == "prediction":
        return own
    weight = (signal / (1 - signal)).clamp(max=max_sample_weight)
    return weight * _CLEAN_PER_OWN[predicts](signal) * own


def prior_preservation_loss(
    errors: Tensor, owners: Tensor, is_prior: Tensor, *, prior_weight: float, count: int
) -> Tensor:
    """Return eq. 1 of each identity: mean of its own rows plus lambda times that of its prior rows.

    The losses of several identities may be summed: a row's gradient is then what it would be if its
    identity were alone, and what is not finite stays with its identity.

    Args:
        errors: (B,) of :func:`denoising_errors`.
        owners: (B,) whose row it is, 0..K-1.
        is_prior: (B,) bool, whether the row is of the reference set.
        prior_weight: lambda.
        count: K.

    Returns:
        (K,), 0 for an identity without rows; a term without rows is 0.
    """
    if not errors.shape == owners.shape == is_prior.shape or errors.ndim != 1:
        raise ValueError(
            f"expected errors, owners and is_prior (B,), got {tuple(errors.shape)}, "
            f"{tuple(owners.shape)} and {tuple(is_prior.shape)}"
        )
    terms = 2 * owners + is_prior  # own 0, prior 0, own 1, prior 1, ...
    none = errors.new_zeros(2 * count)
    rows = none.index_add(0, terms, torch.ones_like(errors)).clamp_min(1)
    # Added up by index, not by a product with a matrix of weights: 0 * nan is nan.
    sums = none.index_add(0, terms, errors)
    own, prior = (sums / rows).view(count, 2).unbind(dim=1)
    return own + prior_weight * prior


def _target(clean: Tensor, noise: Tensor, signal: Tensor, predicts: str) -> Tensor:
    if predicts == "epsilon":
        return noise
    if predicts == "sample":
        return clean
    per_row = signal.reshape(-1, *[1] * (clean.ndim - 1))
    return per_row.sqrt() * noise - (1 - per_row).sqrt() * clean
