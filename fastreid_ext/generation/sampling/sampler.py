"""Draw images with a diffusion model: one batch over many persons, each image from its own seed.

The loop is ours and not ``StableDiffusionPipeline.__call__``, to which it is equal in float32: the
pipeline keeps latents in the type of the weights, so that a bfloat16 model rounds them at every
step, and its schedulers wait for the device once a step.

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

from fastreid_ext.diffusion.device_transfer import fetched, sent
from fastreid_ext.diffusion.part_checks import expect_no_extra_input
from fastreid_ext.diffusion.schedulers import make_scheduler
from fastreid_ext.diffusion.stable_diffusion import StableDiffusion
from fastreid_ext.generation.fine_tuning.lora_bank import LoraBank

NOT_FINITE = "the latents are not finite (NaN or infinite); a smaller FINE_TUNING.BASE_LR may help"
ONE_COLOUR = "the decoded image has one colour; the VAE may overflow in GENERATION.DTYPE float16"
_DECODED_AT_ONCE = 16  # images of 512 x 512 in the VAE; more would only raise the peak of memory


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """How images are drawn.

    Attributes:
        size: height and width in pixels at which the model draws.
        scheduler: class name, one of diffusers.
        steps: denoising steps.
        guidance: scale of classifier-free guidance; none at 1 and below.
        negative_prompt: what guidance leads away from.
        batch_size: images drawn at once.
    """

    size: tuple[int, int]
    scheduler: str
    steps: int
    guidance: float
    negative_prompt: str
    batch_size: int

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "SamplingSettings":
        """Read ``GENERATION.SIZE`` and ``GENERATION.SAMPLING``."""
        sampling = cfg.GENERATION.SAMPLING
        return cls(
            size=tuple(cfg.GENERATION.SIZE),
            scheduler=sampling.SCHEDULER,
            steps=sampling.STEPS,
            guidance=float(sampling.GUIDANCE_SCALE),
            negative_prompt=sampling.NEGATIVE_PROMPT,
            batch_size=sampling.BATCH_SIZE,
        )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Drawing:
    """An image to draw.

    Attributes:
        identity: whose, in the caller's words.
        prompt: text, or its embedding (L, C) where a text encoder of the person's own made it.
        adapter: row of the bank; -1 = the model as it is.
        seed: of all random numbers of this image.
        index: number of the image among those of the identity.
    """

    identity: str
    prompt: str | Tensor
    adapter: int = -1
    seed: int
    index: int = 0


@dataclasses.dataclass(frozen=True, eq=False)
class Drawn:
    """What came of a request.

    Attributes:
        request: the request.
        pixels: (H, W, 3) uint8 RGB; None if it failed.
        reason: why it failed, "" if it did not.
    """

    request: Drawing
    pixels: NDArray[np.uint8] | None
    reason: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class _Launched:
    """A batch that the device may still be working on, on its way to the host."""

    requests: Sequence[Drawing]
    pixels: Tensor  # (B, H, W, 3) uint8, on the host when `arrival` has come
    is_finite: Tensor  # (B,) bool, likewise
    arrival: torch.cuda.Event | None


def draw(
    base: StableDiffusion,
    bank: LoraBank | None,
    requests: Iterable[Drawing],
    settings: SamplingSettings,
) -> Iterator[Drawn]:
    """Draw images and yield them in the order of the requests.

    A batch is handed out when the next one has been sent to the device, which so never waits for
    what the caller does in less than a denoising step. Every batch has ``batch_size`` rows, the
    last one too, and rows are computed by themselves: an image depends on its request alone, not
    on how many are drawn or with whom (for one device, type and batch size).

    Args:
        base: the model.
        bank: adapters on its U-Net; None if no request has one.
        requests: read a batch ahead.
        settings: how to draw.

    Raises:
        ValueError: a setting does not go with the model.
    """
    expect_possible(base, settings)
    brush = _Brush(base, bank, settings)
    in_flight: _Launched | None = None
    remaining = iter(requests)
    try:
        while batch := list(itertools.islice(remaining, settings.batch_size)):
            launched = brush.launch(batch)
            if in_flight is not None:
                yield from _arrived(in_flight)
            in_flight = launched
        if in_flight is not None:
            yield from _arrived(in_flight)
    finally:
        if bank is not None:
            bank.select_none()


def expect_possible(base: StableDiffusion, settings: SamplingSettings) -> None:
    """Raise ValueError for what cannot be drawn, which else is found only after fine-tuning."""
    make_scheduler(settings.scheduler, base.scheduler.config)
    base.latent_shape(settings.size)
    expect_no_extra_input(base.unet.config, base.name)
    for name, number in (("STEPS", settings.steps), ("BATCH_SIZE", settings.batch_size)):
        if number < 1:
            raise ValueError(f"expected GENERATION.SAMPLING.{name} >= 1, got {number}; raise it")


class _Brush:
    """Sends batches to the device and does not wait for them."""

    def __init__(
        self, base: StableDiffusion, bank: LoraBank | None, settings: SamplingSettings
    ) -> None:
        self._base, self._bank, self._settings = base, bank, settings
        self._scheduler = make_scheduler(settings.scheduler, base.scheduler.config)
        self._negative: Tensor | None = None
        if settings.guidance > 1:
            (self._negative,) = base.encode_prompts([settings.negative_prompt])
        self._known: dict[str, Tensor] = {}  # prompts of the last batch and their embeddings
        self._adapters: list[int] = []

    @torch.inference_mode()
    def launch(self, batch: Sequence[Drawing]) -> _Launched:
        """Start a batch; what is missing to the batch size is filled with its last request."""
        filled = [*batch, *[batch[-1]] * (self._settings.batch_size - len(batch))]
        self._select([request.adapter for request in filled])
        latents = self._denoised(filled)
        is_finite = latents.isfinite().all(dim=(1, 2, 3))
        decoded = [self._base.decode(chunk) for chunk in latents.split(_DECODED_AT_ONCE)]
        pixels = torch.cat(decoded).permute(0, 2, 3, 1).contiguous()
        return _Launched(batch, *fetched(pixels, is_finite))

    def _select(self, adapters: list[int]) -> None:
        if self._bank is None or adapters == self._adapters:
            return
        self._bank.select(adapters * (1 if self._negative is None else 2), by_row=True)
        self._adapters = adapters

    def _embeddings(self, batch: Sequence[Drawing]) -> Tensor:
        """(B, L, C), or with guidance (2 B, L, C), the negative prompt first."""
        texts = list(dict.fromkeys(r.prompt for r in batch if isinstance(r.prompt, str)))
        self._known = {text: self._known[text] for text in texts if text in self._known}
        if new := [text for text in texts if text not in self._known]:
            self._known |= zip(new, self._base.encode_prompts(new), strict=True)
        rows = [self._known[r.prompt] if isinstance(r.prompt, str) else r.prompt for r in batch]
        if self._negative is not None:
            rows = [self._negative] * len(rows) + rows
        return torch.stack(rows).to(self._base.dtype)

    def _denoised(self, batch: Sequence[Drawing]) -> Tensor:
        """Return the latents (B, 4, h, w) float32 of the last step, scaled as the U-Net's."""
        base, scheduler = self._base, self._scheduler
        embeddings = self._embeddings(batch)
        # On the CPU, where the numbers do not depend on the device.
        generators = [torch.Generator().manual_seed(request.seed) for request in batch]
        scheduler.set_timesteps(self._settings.steps)
        shape = base.latent_shape(self._settings.size)
        noise = torch.stack([torch.randn(shape, generator=generator) for generator in generators])
        latents = sent(noise * scheduler.init_noise_sigma, base.device)
        extra = _extra_arguments(scheduler, generators)
        # The scheduler computes with steps on the host, and so never waits for the device.
        on_device = sent(scheduler.timesteps, base.device)
        for step, step_on_device in zip(scheduler.timesteps, on_device, strict=True):
            taken = latents if self._negative is None else torch.cat([latents, latents])
            taken = scheduler.scale_model_input(taken, step).to(base.dtype)
            predicted = base.unet(
                taken, step_on_device, encoder_hidden_states=embeddings, return_dict=False
            )[0].float()
            if self._negative is not None:
                negative, positive = predicted.chunk(2)
                predicted = negative + self._settings.guidance * (positive - negative)
            latents = scheduler.step(predicted, step, latents, **extra, return_dict=False)[0]
        return latents


def _extra_arguments(
    scheduler: SchedulerMixin, generators: Sequence[torch.Generator]
) -> dict[str, Any]:
    """What only some schedulers take, with the values of diffusers' pipeline."""
    taken = inspect.signature(scheduler.step).parameters
    values = {"generator": list(generators), "eta": 0.0}
    return {name: value for name, value in values.items() if name in taken}


def _arrived(launched: _Launched) -> Iterator[Drawn]:
    if launched.arrival is not None:
        launched.arrival.synchronize()
    pixels, is_finite = launched.pixels.numpy(), launched.is_finite.numpy()
    for request, image, finite in zip(launched.requests, pixels, is_finite, strict=False):
        if not finite:
            yield Drawn(request, None, NOT_FINITE)
        elif (image == image[0, 0]).all():
            yield Drawn(request, None, ONE_COLOUR)
        else:
            yield Drawn(request, image.copy())  # not a view that keeps pinned memory
