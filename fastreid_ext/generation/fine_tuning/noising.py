"""The noise schedule a model was trained with, and one pass of training on it.

Letters: B rows, c x h x w a latent, T steps of the schedule, L tokens, C width of the text encoder.
"""

from diffusers import DDPMScheduler
from torch import Tensor

from fastreid_ext.diffusion.stable_diffusion import StableDiffusion
from fastreid_ext.generation.fine_tuning.prior_preservation import denoising_errors
from fastreid_ext.generation.fine_tuning.settings import FineTuningSettings
from fastreid_ext.generation.fine_tuning.training_rows import Pass


class Noising:
    """Adds noise to latents and asks the U-Net for it.

    Attributes:
        steps: T, 1000 in SD.
    """

    def __init__(self, base: StableDiffusion, settings: FineTuningSettings) -> None:
        # Whatever class draws, DDPM reads the schedule of its configuration.
        schedule = DDPMScheduler.from_config(base.scheduler.config)
        self._base, self._settings = base, settings
        self._signal = schedule.alphas_cumprod.float().to(base.device)  # alpha_t^2
        self._predicts = schedule.config.prediction_type
        self.steps = len(self._signal)

    def errors(self, taken: Pass, context: Tensor) -> Tensor:
        """Return the error of each row (B,), with a gradient if the U-Net has one.

        Args:
            taken: of B rows.
            context: (B, L, C) embeddings of the prompts, in the U-Net's type.
        """
        signal = self._signal[taken.steps]
        per_row = signal[:, None, None, None]
        noisy = per_row.sqrt() * taken.clean + (1 - per_row).sqrt() * taken.noise
        predicted = self._base.unet(
            noisy.to(self._base.dtype),
            taken.steps,
            encoder_hidden_states=context,
            return_dict=False,
        )[0]
        return denoising_errors(
            predicted,
            taken.clean,
            taken.noise,
            signal,
            predicts=self._predicts,
            loss_on=self._settings.loss_on,
            max_sample_weight=self._settings.max_sample_weight,
        )
