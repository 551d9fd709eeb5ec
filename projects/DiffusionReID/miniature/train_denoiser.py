"""Train the miniature U-Net: noise prediction on cached latents, told captions by CLIP.

Letters: B batch, h x w latent.

[0] Hang et al., "Efficient Diffusion Training via Min-SNR Weighting Strategy", ICCV 2023, eq. 7,
    https://arxiv.org/abs/2303.09556
"""

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from projects.DiffusionReID.miniature.captioned_persons import CaptionedPersons
from projects.DiffusionReID.miniature.fitting import Progress, Schedule, fit
from projects.DiffusionReID.miniature.train_autoencoder import encode
from projects.DiffusionReID.miniature.training_texts import sample_prompt

UNPROMPTED_SHARE = 0.1  # of images with an empty prompt, for classifier-free guidance
SNR_CAP = 5.0  # gamma of [0]


def train_denoiser(
    pipeline: StableDiffusionPipeline,
    persons: CaptionedPersons,
    schedule: Schedule,
    progress: Progress,
) -> list[float]:
    """Train the pipeline's U-Net in place, the rest frozen; return the losses."""
    for part in (pipeline.vae, pipeline.text_encoder):
        part.requires_grad_(False).eval()
    latents = encode(pipeline.vae, persons.images)

    def loss_of(rng: np.random.Generator) -> Tensor:
        rows = rng.integers(len(persons), size=schedule.batch_size)
        prompts = [
            "" if rng.random() < UNPROMPTED_SHARE else sample_prompt(persons.captions[row], rng)
            for row in rows
        ]
        clean = latents[torch.from_numpy(rows)].to(pipeline.device)
        return denoising_loss(pipeline, clean, encode_prompts(pipeline, prompts), rng)

    return fit(pipeline.unet, loss_of, schedule, progress)


def denoising_loss(
    pipeline: StableDiffusionPipeline, latents: Tensor, prompts: Tensor, rng: np.random.Generator
) -> Tensor:
    """Squared error of the predicted noise, each step weighted by min(SNR, gamma) / SNR of [0].

    Args:
        pipeline: its U-Net is in training.
        latents: (B, C, h, w) scaled.
        prompts: encoded prompts (B, tokens, width).
        rng: generator that samples noise and steps.

    Returns:
        Scalar.
    """
    scheduler = pipeline.scheduler
    device = latents.device
    steps = torch.from_numpy(rng.integers(scheduler.config.num_train_timesteps, size=len(latents)))
    noise = torch.from_numpy(rng.standard_normal(latents.shape, dtype=np.float32)).to(device)
    noisy = scheduler.add_noise(latents, noise, steps.to(device))
    predicted = pipeline.unet(noisy, steps.to(device), prompts).sample.float()
    error = (predicted - noise).pow(2).mean(dim=(1, 2, 3))
    return (snr_weights(scheduler.alphas_cumprod[steps.cpu()]).to(device) * error).mean()


def snr_weights(alphas_cumprod: Tensor) -> Tensor:
    """Return the weights (B,) in (0, 1] of the noise error, of the share of signal power (B,)."""
    ratio = alphas_cumprod / (1 - alphas_cumprod)
    return ratio.clamp(max=SNR_CAP) / ratio


@torch.no_grad()
def encode_prompts(pipeline: StableDiffusionPipeline, prompts: list[str]) -> Tensor:
    """Return the text encoder's states (B, tokens, width), padded as the pipeline pads."""
    ids = pipeline.tokenizer(
        prompts, padding="max_length", truncation=True, return_tensors="pt"
    ).input_ids
    return pipeline.text_encoder(ids.to(pipeline.device))[0]
