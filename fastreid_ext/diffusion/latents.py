"""Latents of images: the posterior of the VAE, and the shape of a latent.

Letters: B batch, H x W pixels, c x h x w a latent (4 channels and 1/8 of the pixels in SD).
"""

from collections.abc import Sequence

import torch
from diffusers import AutoencoderKL
from torch import Tensor

_ENCODED_AT_ONCE = 8  # images of 512 x 512 in the VAE; more would only raise the peak of memory


@torch.no_grad()
def encode_posterior(vae: AutoencoderKL, images: Tensor) -> tuple[Tensor, Tensor]:
    """Encode images to the mean and standard deviation of a VAE's posterior.

    Both are *scaled*: multiplied by the VAE's scaling factor (0.18215 in SD v1).

    Args:
        vae: autoencoder that encodes, on its own device and in its own dtype.
        images: (B, 3, H, W) uint8 RGB; H and W multiples of :func:`pixels_per_latent`.

    Returns:
        Mean and standard deviation, each (B, c, h, w) float32, on the device of the VAE.

    Raises:
        ValueError: images of another shape or dtype.
    """
    if images.ndim != 4 or images.shape[1] != 3 or images.dtype != torch.uint8:
        raise ValueError(
            f"expected images (B, 3, H, W) uint8, got {tuple(images.shape)} {images.dtype}; "
            "give RGB before any normalisation"
        )
    latent_shape(vae, images.shape[2:], "the size of the images")
    parts = []
    for chunk in images.split(_ENCODED_AT_ONCE):
        pixels = chunk.to(vae.device).to(vae.dtype) / 127.5 - 1
        posterior = vae.encode(pixels).latent_dist
        parts.append(torch.stack([posterior.mean, posterior.std]).float())
    mean, std = torch.cat(parts, dim=1) * vae.config.scaling_factor
    return mean, std


def pixels_per_latent(vae: AutoencoderKL) -> int:
    """Return the edge in pixels of the square behind one place of a latent: 8 in SD."""
    return 2 ** (len(vae.config.block_out_channels) - 1)


def latent_shape(vae: AutoencoderKL, size: Sequence[int], key: str) -> tuple[int, int, int]:
    """Compute the shape (c, h, w) of the latent of an image.

    Args:
        vae: autoencoder that encodes the image.
        size: height H and width W of the image in pixels.
        key: configuration key that holds ``size``, for messages.

    Raises:
        ValueError: H or W is not a multiple of :func:`pixels_per_latent`.
    """
    unit = pixels_per_latent(vae)
    if len(size) != 2 or any(edge < unit or edge % unit for edge in size):
        raise ValueError(
            f"expected a height and a width that are multiples of {unit} ({key}), got "
            f"{list(size)}; the VAE has one latent for {unit} x {unit} pixels"
        )
    return vae.config.latent_channels, size[0] // unit, size[1] // unit
