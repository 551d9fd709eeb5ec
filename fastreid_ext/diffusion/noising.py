"""Noise of the schedule a model was trained with, and the loss of denoising it.

Letters: B rows of a batch, c x h x w a latent, T steps of the schedule, L tokens of a prompt, C
width of the text encoder; x a clean latent, e noise of variance 1, z_t = alpha_t x + sigma_t e with
alpha_t^2 + sigma_t^2 = 1, hats for what the model predicts.

Since x^ - x = -(sigma_t / alpha_t) (e^ - e), the weight w_t = alpha_t^2 / sigma_t^2 turns the
squared error of x into the plain error of the noise, which is what a model that predicts noise is
usually trained on [0]. A model that predicts the velocity v = alpha_t e - sigma_t x is trained on
the plain error of v, which is 1 / sigma_t^2 times that of x. Capping w_t gives the first steps of
the noising, with their large w_t, less weight ([1] does so with cap 5).

[0] Ho et al., "Denoising Diffusion Probabilistic Models", NeurIPS 2020, section 3.4,
    https://arxiv.org/abs/2006.11239
[1] Hang et al., "Efficient Diffusion Training via Min-SNR Weighting Strategy", ICCV 2023, section
    3.4, https://arxiv.org/abs/2303.09556
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from torch import Tensor

from fastreid_ext.full_precision import in_full_precision

LOSS_TARGETS = ("prediction", "sample")
# Squared error of the clean latent x^ as a multiple of the squared error of what is predicted.
_CLEAN_PER_PREDICTION: dict[str, Callable[[Tensor], Tensor]] = {
    "epsilon": lambda signal: (1 - signal) / signal,
    "v_prediction": lambda signal: 1 - signal,
    "sample": torch.ones_like,
}


@dataclasses.dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """Share of the clean latent that is left at each step of the noising.

    Attributes:
        signal: (T,) float32 alpha_t^2 in (0, 1), ``alphas_cumprod`` of diffusers.
        prediction_type: quantity that the model predicts, in diffusers' words: "epsilon",
            "v_prediction" or "sample".
    """

    signal: Tensor
    prediction_type: str

    @classmethod
    def from_scheduler(
        cls, config: Mapping[str, Any], device: str | torch.device = "cpu"
    ) -> "NoiseSchedule":
        """Read the schedule from the configuration of any scheduler of diffusers.

        Args:
            config: configuration of the model's own scheduler.
            device: device on which the models compute.

        Example:
            >>> from diffusers import DDIMScheduler
            >>> schedule = NoiseSchedule.from_scheduler(DDIMScheduler().config)
            >>> len(schedule), schedule.prediction_type
            (1000, 'epsilon')
        """
        schedule = DDPMScheduler.from_config(config)
        signal = schedule.alphas_cumprod.float().to(device)
        return cls(signal, schedule.config.prediction_type)

    def __len__(self) -> int:
        """Return T, the number of steps (1000 in Stable Diffusion)."""
        return len(self.signal)

    def add_noise(self, clean: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
        """Compute z_t of clean latents at the given steps.

        Args:
            clean: (B, c, h, w) scaled latents x.
            noise: (B, c, h, w) noise e of variance 1.
            steps: (B,) integer steps in [0, T).
        """
        signal = self.signal[steps][:, None, None, None]
        return signal.sqrt() * clean + (1 - signal).sqrt() * noise


def denoising_loss(
    unet: UNet2DConditionModel,
    schedule: NoiseSchedule,
    clean: Tensor,
    noise: Tensor,
    steps: Tensor,
    context: Tensor,
    *,
    loss_on: str = "prediction",
    max_sample_weight: float = 5.0,
) -> Tensor:
    """Add noise to latents, let the U-Net predict, and compute the loss of each row.

    Args:
        unet: U-Net that predicts from noisy latents.
        schedule: noise schedule that the U-Net was trained with.
        clean: (B, c, h, w) scaled latents, float32.
        noise: (B, c, h, w) noise of variance 1, float32.
        steps: (B,) integer steps in [0, T).
        context: (B, L, C) embeddings of the prompts, in the U-Net's dtype.
        loss_on: "prediction" or "sample", see :func:`prediction_loss`.
        max_sample_weight: upper limit of w_t for "sample".

    Returns:
        (B,) losses, with a gradient where the U-Net or ``context`` has one.
    """
    noisy = schedule.add_noise(clean, noise, steps)
    predicted = unet(
        noisy.to(context.dtype), steps, encoder_hidden_states=context, return_dict=False
    )[0]
    return prediction_loss(
        predicted,
        clean,
        noise,
        schedule.signal[steps],
        predicts=schedule.prediction_type,
        loss_on=loss_on,
        max_sample_weight=max_sample_weight,
    )


@in_full_precision
def prediction_loss(
    predicted: Tensor,
    clean: Tensor,
    noise: Tensor,
    signal: Tensor,
    *,
    predicts: str = "epsilon",
    loss_on: str = "prediction",
    max_sample_weight: float = 5.0,
) -> Tensor:
    """Compute the weighted squared error of each row, in float32 or wider.

    Args:
        predicted: (B, ...) output of the model for z_t.
        clean: (B, ...) scaled latents x.
        noise: (B, ...) noise e of variance 1.
        signal: (B,) alpha_t^2 in (0, 1).
        predicts: quantity in ``predicted``: "epsilon", "v_prediction" or "sample".
        loss_on: "prediction" for the plain squared error of ``predicted``, "sample" for
            w_t ||x^ - x||^2.
        max_sample_weight: upper limit of w_t = alpha_t^2 / sigma_t^2, used by "sample" alone.

    Returns:
        (B,) means over the elements of a row.

    Raises:
        ValueError: shapes differ, or an unknown ``predicts`` or ``loss_on``.

    Example:
        >>> noise = torch.randn(2, 4, 8, 4)
        >>> prediction_loss(noise, torch.zeros_like(noise), noise, torch.tensor([0.9, 0.1]))
        tensor([0., 0.])
    """
    shapes = [tuple(part.shape) for part in (predicted, clean, noise)]
    if len(set(shapes)) > 1 or signal.shape != predicted.shape[:1]:
        raise ValueError(
            f"expected prediction, clean latents and noise of one shape and a signal (B,), got "
            f"{shapes} and {tuple(signal.shape)}"
        )
    if predicts not in _CLEAN_PER_PREDICTION or loss_on not in LOSS_TARGETS:
        raise ValueError(
            f"expected a model that predicts epsilon, v_prediction or sample and a loss on "
            f"prediction or sample, got '{predicts}' and '{loss_on}'"
        )
    target = prediction_target(clean, noise, signal, predicts)
    error = (predicted - target).square().flatten(1).mean(dim=1)
    if loss_on == "prediction":
        return error
    weight = (signal / (1 - signal)).clamp(max=max_sample_weight)
    return weight * _CLEAN_PER_PREDICTION[predicts](signal) * error


def prediction_target(clean: Tensor, noise: Tensor, signal: Tensor, predicts: str) -> Tensor:
    """Compute the output of a perfect model.

    Args:
        clean: (B, ...) scaled latents x.
        noise: (B, ...) noise e of variance 1.
        signal: (B,) alpha_t^2 in (0, 1).
        predicts: "epsilon" for e, "sample" for x, "v_prediction" for alpha_t e - sigma_t x.

    Returns:
        (B, ...) target of the prediction.
    """
    if predicts == "epsilon":
        return noise
    if predicts == "sample":
        return clean
    per_row = signal.reshape(-1, *[1] * (clean.ndim - 1))
    return per_row.sqrt() * noise - (1 - per_row).sqrt() * clean
