"""Train the miniature autoencoder: images to latents of an eighth of their numbers and back.

Letters: B batch, H x W pixels.
"""

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import functional as F

from projects.DiffusionReID.miniature.captioned_persons import CaptionedPersons, random_mirror
from projects.DiffusionReID.miniature.fitting import Progress, Schedule, fit

EDGE_WEIGHT = 1.0  # of the differences of neighbouring pixels: keeps edges sharp
KL_WEIGHT = 1e-4  # of the mean divergence per latent number, in nats
_MEASURED_AT_ONCE = 256


def train_autoencoder(
    autoencoder: AutoencoderKL, persons: CaptionedPersons, schedule: Schedule, progress: Progress
) -> list[float]:
    """Train in place and set the scaling factor; return the losses."""

    def loss_of(rng: np.random.Generator) -> Tensor:
        rows = torch.from_numpy(rng.integers(len(persons), size=schedule.batch_size))
        images = random_mirror(persons.images[rows], rng).to(autoencoder.device)
        return autoencoder_loss(autoencoder, images, rng)

    losses = fit(autoencoder, loss_of, schedule, progress)
    latents = encode(autoencoder, persons.images[:: max(len(persons) // 1024, 1)])
    factor = autoencoder.config.scaling_factor / latents.std().item()
    autoencoder.register_to_config(scaling_factor=factor)
    return losses


def autoencoder_loss(
    autoencoder: AutoencoderKL, images: Tensor, rng: np.random.Generator
) -> Tensor:
    """Absolute error of pixels and of their differences, and a small divergence.

    Args:
        autoencoder: autoencoder that is being trained.
        images: (B, 3, H, W) in [-1, 1].
        rng: generator that samples the posterior.

    Returns:
        Scalar.
    """
    posterior = autoencoder.encode(images).latent_dist
    noise = rng.standard_normal(posterior.mean.shape, dtype=np.float32)
    latents = posterior.mean + posterior.std * torch.from_numpy(noise).to(images.device)
    rebuilt = autoencoder.decode(latents).sample.float()
    divergence = posterior.kl().float().mean() / posterior.mean[0].numel()
    return (
        F.l1_loss(rebuilt, images)
        + EDGE_WEIGHT * edge_loss(rebuilt, images)
        + KL_WEIGHT * divergence
    )


def edge_loss(rebuilt: Tensor, images: Tensor) -> Tensor:
    """Mean absolute error of the differences of neighbours, down and across.

    Args:
        rebuilt: reconstructed images (B, C, H, W).
        images: original images (B, C, H, W).
    """
    error = rebuilt - images
    return error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()


@torch.no_grad()
def encode(autoencoder: AutoencoderKL, images: Tensor) -> Tensor:
    """Return the scaled mean latents (N, C, H/4, W/4) of images (N, 3, H, W) uint8, on the CPU."""
    parts = []
    for chunk in images.split(_MEASURED_AT_ONCE):
        pixels = chunk.to(autoencoder.device).float() / 127.5 - 1
        parts.append(autoencoder.encode(pixels).latent_dist.mean.cpu())
    return torch.cat(parts) * autoencoder.config.scaling_factor
