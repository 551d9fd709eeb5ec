"""Measurement of sampling for ``tools/benchmarks/generation.py``."""

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from fastreid_ext.diffusion.stable_diffusion import StableDiffusion
from fastreid_ext.generation.fine_tuning.lora_bank import LoraBank
from fastreid_ext.generation.identities.identity_list import Identity
from fastreid_ext.generation.runs.layout import Layout
from fastreid_ext.generation.sampling.identity_images import (
    IdentityImagesSettings,
    SamplingTask,
    sample_identities,
)
from fastreid_ext.generation.sampling.image_files import FileSettings
from fastreid_ext.generation.sampling.sampler import ImageRequest, SamplingSettings, sample_images
from measuring.device_use import busy, forget_peak, peak_bytes
from measuring.timing import seconds

_PROMPT = "a photo of a person"
_TARGETS = ("to_q", "to_k", "to_v", "to_out.0")


@dataclasses.dataclass(frozen=True)
class SamplingFigures:
    """Speed and memory of generating images.

    Attributes:
        images: number of images in each timed run.
        seconds: from requests to files; on the CPU those of the process, of one core.
        seconds_without_files: the same images, thrown away.
        peak_bytes: most memory: of the device, or of this process on the CPU.
        busy: share of the time in which the device computes; None on the CPU.
    """

    images: int
    seconds: float
    seconds_without_files: float
    peak_bytes: int
    busy: float | None

    @property
    def images_per_second(self) -> float:
        """With everything up to the files."""
        return self.images / self.seconds

    @property
    def cost_of_files(self) -> float:
        """Share of the time that goes into encoding and writing; noise around 0 if none does."""
        return 1 - self.seconds_without_files / self.seconds


def measure_sampling(
    base: StableDiffusion, sampling: SamplingSettings, *, persons: int, images: int, rank: int = 8
) -> SamplingFigures:
    """Generate ``images`` images with each of ``persons`` adapters, after one batch.

    Args:
        base: frozen Stable Diffusion model.
        sampling: sampler, number of steps and guidance.
        persons: number of adapters in use.
        images: number of images generated with each adapter.
        rank: rank of the adapters; 0 = no adapters, the base model alone.
    """
    device = str(base.device)
    bank = _adapters(base, persons, rank) if rank else None
    settings = IdentityImagesSettings(
        images=images, run_seed=0, sampling=sampling, files=FileSettings(size=(256, 128))
    )
    people = [_person(number, -1 if bank is None else number) for number in range(persons)]
    requests = _requests(base, people, images)
    try:
        _sample_only(base, bank, requests[: sampling.batch_size], sampling)
        forget_peak(base.device)
        with tempfile.TemporaryDirectory() as folder:
            layout = Layout(Path(folder))
            reasons: dict[str, str] = {}
            whole = seconds(
                lambda: reasons.update(sample_identities(base, bank, people, layout, settings)),
                device,
            )
        if reasons:
            raise ValueError(f"{base.name} generates nothing: {next(iter(reasons.values()))}")
        alone = seconds(lambda: _sample_only(base, bank, requests, sampling), device)
        peak = peak_bytes(base.device)
        few = requests[: 3 * sampling.batch_size]
        share = busy(base.device, lambda: _sample_only(base, bank, few, sampling))
    finally:
        if bank is not None:
            bank.remove()
    return SamplingFigures(persons * images, whole, alone, peak, share)


def _adapters(base: StableDiffusion, persons: int, rank: int) -> LoraBank:
    bank = LoraBank(base.unet, count=persons, rank=rank, alpha=rank, target_modules=_TARGETS)
    for number in range(persons):
        bank.reset(number, torch.Generator().manual_seed(number))
    return bank


def _person(number: int, adapter: int) -> SamplingTask:
    name = f"Market1501_{number:04d}"
    identity = Identity(name=name, source_dataset="Market1501", person_id=number, images=())
    return SamplingTask(identity=identity, prompts=(_PROMPT,), adapter=adapter)


def _requests(
    base: StableDiffusion, people: Sequence[SamplingTask], images: int
) -> list[ImageRequest]:
    (prompt,) = base.encode_prompts([_PROMPT])
    return [
        ImageRequest(
            identity=person.identity.name, prompt=prompt, adapter=person.adapter, seed=seed
        )
        for person in people
        for seed in range(images)
    ]


def _sample_only(
    base: StableDiffusion,
    bank: LoraBank | None,
    requests: Sequence[ImageRequest],
    sampling: SamplingSettings,
) -> None:
    for _ in sample_images(base, bank, requests, sampling):
        pass
