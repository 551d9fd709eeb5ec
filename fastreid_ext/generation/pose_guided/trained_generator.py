"""The trained parts of a pose-guided generator as one module, and their loss.

Letters: B rows of a batch, c x h x w a latent.

[0] "Pose-Diversified Augmentation with Diffusion Model for Person Re-Identification", 2024, eq. 1,
    https://arxiv.org/abs/2406.16042
[1] Hang et al., "Efficient Diffusion Training via Min-SNR Weighting Strategy", ICCV 2023
[2] Lin et al., "Common Diffusion Noise Schedules and Sample Steps are Flawed", WACV 2024
"""

import torch
from diffusers import DDIMScheduler
from torch import Tensor, nn

from fastreid_ext.diffusion.noising import NoiseSchedule, prediction_loss
from fastreid_ext.diffusion.pose_guided import PoseGuidedPipeline
from fastreid_ext.diffusion.pose_guided.guided_unet import (
    freeze_unread,
    predict,
    reference_features,
)
from fastreid_ext.generation.pose_guided.rows import Batch


class TrainedGenerator(nn.Module):
    """Denoising U-Net, reference U-Net and pose guider; VAE and image encoder stay outside.

    Args:
        pipeline: generator whose parts are trained, in place.
        min_snr: cap gamma of the weight of [1]; 0 = unweighted.
    """

    def __init__(self, pipeline: PoseGuidedPipeline, *, min_snr: float = 0.0) -> None:
        super().__init__()
        self.unet = pipeline.unet.requires_grad_(True)
        self.reference_unet = pipeline.reference_unet.requires_grad_(True)
        self.pose_guider = pipeline.pose_guider.requires_grad_(True)
        freeze_unread(self.unet)
        freeze_unread(self.reference_unet, is_reference=True)
        self.schedule = NoiseSchedule.from_scheduler(pipeline.scheduler.config)
        self.min_snr = min_snr

    def forward(self, batch: Batch) -> Tensor:
        """Compute the mean loss of a batch, eq. 1 of [0] for a model that predicts the noise.

        Rows without reference come first, see :class:`Batch`.
        """
        device = self.unet.device
        dropped = batch.dropped
        schedule = self._schedule_on(device)
        clean = batch.clean.to(device)
        noise = batch.noise.to(device)
        steps = batch.steps.to(device)
        context = batch.context.to(device)
        # Also for a batch whose rows are all dropped: every parameter needs a gradient under DDP.
        read = slice(min(dropped, len(context) - 1), None)
        features = reference_features(
            self.reference_unet, batch.reference.to(device)[read], context[read]
        )
        if dropped == len(context):
            features = {name: tokens[:0] for name, tokens in features.items()}
        guidance = self.pose_guider(batch.conditions.to(device).float() / 255)
        noisy = schedule.add_noise(clean, noise, steps)
        predicted = predict(self.unet, noisy, steps, context, guidance, features)
        losses = prediction_loss(
            predicted.float(),
            clean,
            noise,
            schedule.signal[steps],
            predicts=schedule.prediction_type,
            loss_on="sample" if self.min_snr else "prediction",
            max_sample_weight=self.min_snr or 1.0,
        )
        return losses.mean()

    def _schedule_on(self, device: torch.device) -> NoiseSchedule:
        if self.schedule.signal.device != device:
            self.schedule = NoiseSchedule(
                self.schedule.signal.to(device), self.schedule.prediction_type
            )
        return self.schedule


def with_zero_terminal_snr(scheduler: DDIMScheduler) -> DDIMScheduler:
    """Make the schedule end in pure noise, predict the velocity, and sample from its end [2]."""
    return DDIMScheduler.from_config(
        scheduler.config,
        rescale_betas_zero_snr=True,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
    )
