"""Latents of images, held against the VAE of diffusers; their shapes and what is refused."""

import pytest
import torch
from diffusers import AutoencoderKL

from fastreid_ext.diffusion import sd15
from fastreid_ext.diffusion.latents import encode_posterior, latent_shape, pixels_per_latent
from fastreid_ext.diffusion.stable_diffusion import read_part


@pytest.fixture(scope="module")
def vae(tiny_pipeline_folder) -> AutoencoderKL:
    return read_part(AutoencoderKL, tiny_pipeline_folder / "vae", torch.float32)


@pytest.mark.parametrize("count", [1, 8, 9, 17])  # eight are encoded at once
def test_posterior_of_each_image_is_that_of_the_vae_scaled(vae, count):
    generator = torch.Generator().manual_seed(count)
    images = torch.randint(0, 256, (count, 3, 32, 16), dtype=torch.uint8, generator=generator)
    mean, std = encode_posterior(vae, images)
    assert mean.shape == std.shape == (count, 4, 8, 4)
    assert mean.dtype == std.dtype == torch.float32
    for row, image in enumerate(images):
        with torch.no_grad():
            posterior = vae.encode(image[None] / 127.5 - 1).latent_dist
        scale = vae.config.scaling_factor
        torch.testing.assert_close(mean[row], scale * posterior.mean[0], rtol=1e-4, atol=1e-5)
        deviation = (posterior.logvar[0] / 2).exp()
        torch.testing.assert_close(std[row], scale * deviation, rtol=1e-4, atol=1e-5)


def test_posterior_has_no_gradient(vae):
    mean, std = encode_posterior(vae, torch.zeros(1, 3, 32, 16, dtype=torch.uint8))
    assert not mean.requires_grad
    assert not std.requires_grad


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(1, 3, 32, 16),
        torch.zeros(3, 32, 16, dtype=torch.uint8),
        torch.zeros(1, 4, 32, 16, dtype=torch.uint8),
    ],
)
def test_posterior_refuses_other_images(vae, images):
    with pytest.raises(ValueError, match=r"expected images \(B, 3, H, W\) uint8, got .*before any"):
        encode_posterior(vae, images)


@pytest.mark.parametrize("size", [(32, 18), (0, 16), (2, 16), (32,), (32, 16, 4)])
def test_latent_shape_refuses_other_sizes(vae, size):
    expected = r"multiples of 4 \(INPUT\.CLEAN_VIEW\.SIZE\), got \[.*one latent for 4 x 4 pixels"
    with pytest.raises(ValueError, match=expected):
        latent_shape(vae, size, "INPUT.CLEAN_VIEW.SIZE")


def test_latents_of_stable_diffusion_have_an_eighth_of_the_pixels():
    with torch.device("meta"):
        vae = AutoencoderKL.from_config(dict(sd15.VAE))
        latent = vae.encode(torch.zeros(1, 3, 128, 64)).latent_dist.mean
    assert pixels_per_latent(vae) == 8
    assert latent_shape(vae, (128, 64), "SIZE") == tuple(latent.shape[1:]) == (4, 16, 8)
