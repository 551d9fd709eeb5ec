"""Denoise the latent of each image, conditioned on what a Re-ID model says of the image [0].

    L_diff = mean || e - U(z_t, t, c) ||^2,    z_t = alpha_t z + sigma_t e,    t uniform

The condition c is *one* token of the U-Net's cross-attention. Nothing is detached: the gradient
flows from the U-Net into the condition's prompts and, through the logits, into the Re-ID model.

Letters: B batch, N training identities, D dimension of a feature, C width of the cross-attention,
c x h x w a latent, T steps of the noise schedule.

[0] Li et al., "Unleashing the Potential of Pre-Trained Diffusion Models for Generalizable Person
    Re-Identification" (DCAC), Sensors 2025, section 4.3, https://arxiv.org/abs/2502.06619
"""

import contextlib

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn

from fastreid_ext.diffusion.device_transfer import to_device
from fastreid_ext.diffusion.latents import encode_posterior
from fastreid_ext.diffusion.noising import NoiseSchedule, denoising_loss, prediction_loss

TARGETS = ("noise", "latent")


class DiffusionBranch(nn.Module):
    """U-Net, condition and layers between them, used in training only.

    Args:
        unet: U-Net that predicts noise, with its trained parts.
        condition: module from logits (B, N), features (B, D) and targets (B,) to conditions (B, C).
        bottleneck: module from conditions (B, C) to conditions (B, C).
        schedule: noise schedule that the U-Net was trained with.
        autoencoder: frozen VAE that encodes clean images; None where batches bring their latents.
        target: "noise", or "latent" for the control without denoising: the U-Net computes the clean
            latent from the condition alone (its input is zero, its step the last).
    """

    # Checkpoints keep its trained parameters and its buffers apart from the model's.
    only_for_training = True

    def __init__(
        self,
        *,
        unet: UNet2DConditionModel,
        condition: nn.Module,
        bottleneck: nn.Module,
        schedule: NoiseSchedule,
        autoencoder: AutoencoderKL | None = None,
        target: str = "noise",
    ) -> None:
        super().__init__()
        self.unet = unet
        self.condition = condition
        self.bottleneck = bottleneck
        self.autoencoder = autoencoder
        self.target = target
        self.prediction_type = schedule.prediction_type
        self.register_buffer("signal", schedule.signal, persistent=False)

    def forward(self, logits: Tensor, features: Tensor, targets: Tensor, latents: Tensor) -> Tensor:
        """Compute the loss of a batch.

        Noise, steps and the sample of the VAE's posterior come from torch's generator on the CPU,
        whose state checkpoints hold.

        Args:
            logits: (B, N) of the training identities.
            features: (B, D) of the Re-ID model.
            targets: (B,) identities in [0, N).
            latents: (B, 2, c, h, w) scaled mean and deviation of the VAE's posterior.

        Returns:
            Scalar float32, the mean over the batch.
        """
        condition = self.bottleneck(self.condition(logits, features, targets))
        mean, deviation = latents.float().unbind(dim=1)
        clean = mean + deviation * _normal_like(mean)
        context = condition[:, None].to(self.unet.dtype)
        with self._autocast(mean.device):
            if self.target == "latent":
                return self._reconstruction(clean, context)
            steps = torch.randint(len(self.signal), (len(clean),))
            schedule = NoiseSchedule(self.signal, self.prediction_type)
            losses = denoising_loss(
                self.unet,
                schedule,
                clean,
                _normal_like(clean),
                to_device(steps, clean.device),
                context,
            )
        return losses.mean()

    def latents_of(self, images: Tensor) -> Tensor:
        """Encode clean images (B, 3, H, W) in [0, 255] to latents (B, 2, c, h, w).

        Raises:
            ValueError: the branch has no autoencoder.
        """
        if self.autoencoder is None:
            raise ValueError(
                "expected batches with 'latents' from MODEL.DIFFUSION.LATENT_CACHE, got one without"
            )
        return torch.stack(encode_posterior(self.autoencoder, images.to(torch.uint8)), dim=1)

    def _reconstruction(self, clean: Tensor, context: Tensor) -> Tensor:
        """Compute the loss of the control: the clean latent from the condition alone."""
        last = torch.full((len(clean),), len(self.signal) - 1, device=clean.device)
        nothing = torch.zeros_like(clean, dtype=context.dtype)
        predicted = self.unet(nothing, last, encoder_hidden_states=context, return_dict=False)[0]
        signal = self.signal[last]
        return prediction_loss(predicted, clean, nothing, signal, predicts="sample").mean()

    def _autocast(self, device: torch.device) -> contextlib.AbstractContextManager:
        """Compute in the dtype of frozen weights where these are of half precision."""
        dtypes = {p.dtype for p in self.unet.parameters() if not p.requires_grad}
        half = next((dtype for dtype in dtypes if dtype != torch.float32), None)
        if half is None:
            return contextlib.nullcontext()
        return torch.autocast(device.type, dtype=half)


def _normal_like(values: Tensor) -> Tensor:
    return to_device(torch.randn(values.shape), values.device)
