"""Generate images with a diffusion model: one batch over many identities, one seed per image.

The loop replaces ``StableDiffusionPipeline.__call__``, to which it is equal in float32: the
pipeline keeps latents in the dtype of the weights, so a bfloat16 model rounds them at every step,
and its schedulers wait for the device once a step.

Letters: B batch, L tokens of a prompt, C text features, H height, W width.
"""

import dataclasses
import inspect
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from diffusers import SchedulerMixin
from fastreid.config import CfgNode
from numpy.typing import NDArray
from torch import Tensor

from fastreid_ext.diffusion.device_transfer import to_device, to_host
from fastreid_ext.diffusion.part_checks import expect_no_extra_input
from fastreid_ext.diffusion.schedulers import make_scheduler
from fastreid_ext.diffusion.stable_diffusion import StableDiffusion
from fastreid_ext.generation.fine_tuning.lora_bank import LoraBank
from fastreid_ext.generation.runs.settings import read_settings

NOT_FINITE = "the latents are not finite (NaN or infinite); a smaller FINE_TUNING.BASE_LR may help"
ONE_COLOUR = "the decoded image has one colour; the VAE may overflow in GENERATION.DTYPE float16"
_DECODED_AT_ONCE = 16  # images of 512 x 512 in the VAE; more would only raise the peak of memory


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """Settings of the sampler.

    Attributes:
        size: height and width of the generated images in pixels.
        scheduler: class name of a scheduler of diffusers.
        steps: number of denoising steps per image.
        guidance_scale: scale of classifier-free guidance; 1 and below turn it off.
        negative_prompt: text that guidance leads away from.
        batch_size: number of images generated at once.
    """

    size: tuple[int, int]
    scheduler: str
    steps: int
    guidance_scale: float
    negative_prompt: str
    batch_size: int

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "SamplingSettings":
        """Read ``GENERATION.SIZE`` and ``GENERATION.SAMPLING``."""
        sampling = cfg.GENERATION.SAMPLING
        return read_settings(
            cls,
            sampling,
            size=tuple(cfg.GENERATION.SIZE),
            guidance_scale=float(sampling.GUIDANCE_SCALE),
        )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ImageRequest:
    """An image to generate.

    Attributes:
        identity: name of the identity that the image shows.
        prompt: text, or its embedding (L, C) where the identity has its own text encoder or token.
        adapter: row of the adapter bank; -1 for the model without an adapter.
        seed: seed of all random numbers of this image.
        index: number of the image among those of the identity, from 0.
    """

    identity: str
    prompt: str | Tensor
    adapter: int = -1
    seed: int
    index: int = 0


@dataclasses.dataclass(frozen=True, eq=False)
class SampledImage:
    """Result of a request.

    Attributes:
        request: request that the image answers.
        pixels: (H, W, 3) uint8 RGB; None if the image failed.
        reason: cause of the failure; "" if there was none.
    """

    request: ImageRequest
    pixels: NDArray[np.uint8] | None
    reason: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class _Launched:
    """A batch that the device may still be working on, on its way to the host."""

    requests: Sequence[ImageRequest]
    pixels: Tensor  # (B, H, W, 3) uint8, on the host when `arrival` has come
    is_finite: Tensor  # (B,) bool, on the host when `arrival` has come
    arrival: torch.cuda.Event | None


def sample_images(
    base: StableDiffusion,
    bank: LoraBank | None,
    requests: Iterable[ImageRequest],
    settings: SamplingSettings,
) -> Iterator[SampledImage]:
    """Generate images and yield them in the order of the requests.

    A batch is yielded after the next one has been sent to the device, so the device never waits for
    a caller that needs less than a denoising step. Every batch has ``batch_size`` rows, the last
    one too, and rows are computed by themselves: an image depends on its request alone, not on the
    number of requests or its neighbours (for one device, dtype and batch size).

    Args:
        base: Stable Diffusion model that generates the images.
        bank: adapters on its U-Net; None if no request has one.
        requests: images to generate, read a batch ahead.
        settings: size, scheduler, steps and guidance of the sampler.

    Raises:
        ValueError: a setting does not fit the model.
    """
    check_sampling_settings(base, settings)
    denoiser = _Denoiser(base, bank, settings)
    in_flight: _Launched | None = None
    remaining = iter(requests)
    try:
        while batch := list(itertools.islice(remaining, settings.batch_size)):
            launched = denoiser.launch(batch)
            if in_flight is not None:
                yield from _arrived(in_flight)
            in_flight = launched
        if in_flight is not None:
            yield from _arrived(in_flight)
    finally:
        if bank is not None:
            bank.select_none()


def check_sampling_settings(base: StableDiffusion, settings: SamplingSettings) -> None:
    """Validate the settings against the model.

    Without this check the error would appear only after fine-tuning.

    Raises:
        ValueError: unknown scheduler, a size the VAE cannot encode, a U-Net with further inputs, or
            fewer than one step or image.
    """
    make_scheduler(settings.scheduler, base.scheduler.config)
    base.latent_shape(settings.size)
    expect_no_extra_input(base.unet.config, base.name)
    for name, number in (("STEPS", settings.steps), ("BATCH_SIZE", settings.batch_size)):
        if number < 1:
            raise ValueError(f"expected GENERATION.SAMPLING.{name} >= 1, got {number}; raise it")


class _Denoiser:
    """Denoising loop that sends batches to the device without waiting for them."""

    def __init__(
        self, base: StableDiffusion, bank: LoraBank | None, settings: SamplingSettings
    ) -> None:
        self._base = base
        self._bank = bank
        self._settings = settings
        self._scheduler = make_scheduler(settings.scheduler, base.scheduler.config)
        self._negative: Tensor | None = None
        if settings.guidance_scale > 1:
            (self._negative,) = base.encode_prompts([settings.negative_prompt])
        self._known: dict[str, Tensor] = {}  # prompts of the last batch and their embeddings
        self._adapters: list[int] = []

    @torch.inference_mode()
    def launch(self, batch: Sequence[ImageRequest]) -> _Launched:
        """Start a batch, filled up to the batch size with its last request."""
        filled = [*batch, *[batch[-1]] * (self._settings.batch_size - len(batch))]
        self._select([request.adapter for request in filled])
        latents = self._denoised(filled)
        is_finite = latents.isfinite().all(dim=(1, 2, 3))
        decoded = [self._base.decode(chunk) for chunk in latents.split(_DECODED_AT_ONCE)]
        pixels = torch.cat(decoded).permute(0, 2, 3, 1).contiguous()
        return _Launched(batch, *to_host(pixels, is_finite))

    def _select(self, adapters: list[int]) -> None:
        if self._bank is None or adapters == self._adapters:
            return
        self._bank.select(adapters * (1 if self._negative is None else 2), by_row=True)
        self._adapters = adapters

    def _embeddings(self, batch: Sequence[ImageRequest]) -> Tensor:
        """Encode prompts as (B, L, C), or with guidance (2 B, L, C), the negative prompt first."""
        texts = list(dict.fromkeys(r.prompt for r in batch if isinstance(r.prompt, str)))
        self._known = {text: self._known[text] for text in texts if text in self._known}
        if new := [text for text in texts if text not in self._known]:
            self._known |= zip(new, self._base.encode_prompts(new), strict=True)
        rows = [self._known[r.prompt] if isinstance(r.prompt, str) else r.prompt for r in batch]
        if self._negative is not None:
            rows = [self._negative] * len(rows) + rows
        return torch.stack(rows).to(self._base.dtype)

    def _denoised(self, batch: Sequence[ImageRequest]) -> Tensor:
        """Denoise to latents (B, 4, h, w) float32, scaled like the U-Net's."""
        base = self._base
        scheduler = self._scheduler
        embeddings = self._embeddings(batch)
        # On the CPU, where the numbers do not depend on the device.
        generators = [torch.Generator().manual_seed(request.seed) for request in batch]
        scheduler.set_timesteps(self._settings.steps)
        shape = base.latent_shape(self._settings.size)
        noise = torch.stack([torch.randn(shape, generator=generator) for generator in generators])
        latents = to_device(noise * scheduler.init_noise_sigma, base.device)
        extra = _extra_arguments(scheduler, generators)
        # The scheduler computes with steps on the host, and so never waits for the device.
        on_device = to_device(scheduler.timesteps, base.device)
        for step, step_on_device in zip(scheduler.timesteps, on_device, strict=True):
            inputs = latents if self._negative is None else torch.cat([latents, latents])
            inputs = scheduler.scale_model_input(inputs, step).to(base.dtype)
            predicted = base.unet(
                inputs, step_on_device, encoder_hidden_states=embeddings, return_dict=False
            )[0].float()
            if self._negative is not None:
                negative, positive = predicted.chunk(2)
                predicted = negative + self._settings.guidance_scale * (positive - negative)
            latents = scheduler.step(predicted, step, latents, **extra, return_dict=False)[0]
        return latents


def _extra_arguments(
    scheduler: SchedulerMixin, generators: Sequence[torch.Generator]
) -> dict[str, Any]:
    """Select the arguments that only some schedulers take, with the values of diffusers."""
    accepted = inspect.signature(scheduler.step).parameters
    values = {"generator": list(generators), "eta": 0.0}
    return {name: value for name, value in values.items() if name in accepted}


def _arrived(launched: _Launched) -> Iterator[SampledImage]:
    if launched.arrival is not None:
        launched.arrival.synchronize()
    pixels = launched.pixels.numpy()
    is_finite = launched.is_finite.numpy()
    for request, image, finite in zip(launched.requests, pixels, is_finite, strict=False):
        if not finite:
            yield SampledImage(request, None, NOT_FINITE)
        elif (image == image[0, 0]).all():
            yield SampledImage(request, None, ONE_COLOUR)
        else:
            yield SampledImage(request, image.copy())  # not a view that keeps pinned memory
