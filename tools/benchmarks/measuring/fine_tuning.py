"""Measurement of fine-tuning for ``tools/benchmarks/generation.py``."""

import dataclasses
import statistics
import tempfile
from pathlib import Path

import torch

from fastreid_ext.diffusion.adapter_files import write_adapter
from fastreid_ext.diffusion.stable_diffusion import StableDiffusion
from fastreid_ext.generation.fine_tuning.dreambooth import fine_tune
from fastreid_ext.generation.fine_tuning.lora_bank import LoraBank
from fastreid_ext.generation.fine_tuning.settings import FineTuneTask, FineTuningSettings
from measuring.device_use import busy, forget_peak, peak_bytes
from measuring.timing import seconds

_PROMPT = "a photo of a person"
_WARM_UP = 5  # steps
_PROFILED = 20  # steps; the profiler keeps some thousand events of each
_LOADS = 5


@dataclasses.dataclass(frozen=True)
class FineTuningFigures:
    """Speed and memory of fine-tuning.

    Attributes:
        persons: number of identities fine-tuned together.
        rows: images in a step: those of the identities, and as many of the reference set.
        seconds_of_step: one step of all persons; on the CPU those of the process, of one core.
        seconds_before: seconds until the first step of a group, for encoding images and texts.
        seconds_of_switch: reading a person's adapter into the bank.
        peak_bytes: most memory: of the device, or of this process on the CPU.
        busy: share of the steps' time in which the device computes; None on the CPU.
    """

    persons: int
    rows: int
    seconds_of_step: float
    seconds_before: float
    seconds_of_switch: float
    peak_bytes: int
    busy: float | None

    @property
    def images_per_second(self) -> float:
        """Images of persons and of reference sets that go through a step."""
        return self.rows / self.seconds_of_step

    def seconds_of_person(self, steps: int) -> float:
        """Return an identity's share of the seconds that a group takes for ``steps`` steps."""
        return (self.seconds_before + steps * self.seconds_of_step) / self.persons


def measure_fine_tuning(
    base: StableDiffusion,
    settings: FineTuningSettings,
    *,
    persons: int,
    size: tuple[int, int],
    images: int = 20,
    references: int = 200,
) -> FineTuningFigures:
    """Fine-tune ``persons`` identities together, ``settings.steps`` steps, after a few to warm up.

    Args:
        base: frozen Stable Diffusion model.
        settings: settings of fine-tuning with adapters.
        persons: number of identities fine-tuned together.
        size: H, W of their images in pixels.
        images: number of images of each identity.
        references: images of the one reference set; 0 = none.
    """
    tasks = _tasks(base, persons, size, images, references)
    device = str(base.device)

    def train(steps: int) -> None:
        fine_tune(base, tasks, dataclasses.replace(settings, steps=steps))

    train(_WARM_UP)
    forget_peak(base.device)
    short = seconds(lambda: train(_WARM_UP), device)
    long = seconds(lambda: train(_WARM_UP + settings.steps), device)
    peak = peak_bytes(base.device)
    of_step = (long - short) / settings.steps
    before = max(0.0, short - _WARM_UP * of_step)
    return FineTuningFigures(
        persons=persons,
        rows=persons * settings.batch_size * (1 + (references > 0)),
        seconds_of_step=of_step,
        seconds_before=before,
        seconds_of_switch=_switch(base, settings),
        peak_bytes=peak,
        busy=busy(base.device, lambda: train(_PROFILED), after=before),
    )


def _tasks(
    base: StableDiffusion, persons: int, size: tuple[int, int], images: int, references: int
) -> list[FineTuneTask]:
    generator = torch.Generator().manual_seed(0)
    shape = (references, *base.latent_shape(size))
    latents = (torch.randn(shape, generator=generator), torch.full(shape, 0.1))
    pixels = (images, 3, *size)
    return [
        FineTuneTask(
            name=f"Market1501_{number:04d}",
            images=torch.randint(0, 256, pixels, dtype=torch.uint8, generator=generator),
            prompt=_PROMPT,
            reference_prompt=_PROMPT,
            reference_latents=latents if references else None,
            seed=number,
        )
        for number in range(persons)
    ]


def _switch(base: StableDiffusion, settings: FineTuningSettings) -> float:
    targets = settings.target_modules
    bank = LoraBank(
        base.unet, count=1, rank=settings.rank, alpha=settings.alpha, target_modules=targets
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        state = bank.state_of(0)
        write_adapter(folder, state, rank=settings.rank, alpha=settings.alpha, targets=targets)
        times = [seconds(lambda: bank.load(0, folder), str(base.device)) for _ in range(_LOADS)]
    bank.remove()
    return statistics.median(times)
