"""What ``tools/benchmark_generation.py`` measures of drawing persons."""

import dataclasses
import resource
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from fastreid_ext.benchmarks.timing import seconds
from fastreid_ext.generation.base_model import BaseModel
from fastreid_ext.generation.identities import Identity
from fastreid_ext.generation.image_files import FileSettings
from fastreid_ext.generation.layout import Layout
from fastreid_ext.generation.lora_bank import LoraBank
from fastreid_ext.generation.person_images import DrawingSettings, PersonToDraw, draw_persons
from fastreid_ext.generation.sampling import Drawing, SamplingSettings, draw

_PROMPT = "a photo of a person"
_TARGETS = ("to_q", "to_k", "to_v", "to_out.0")


@dataclasses.dataclass(frozen=True)
class DrawingFigures:
    """How fast persons are drawn.

    Attributes:
        images: drawn in each timed run.
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


def measure_drawing(
    base: BaseModel, sampling: SamplingSettings, *, persons: int, images: int, rank: int = 8
) -> DrawingFigures:
    """Draw ``images`` images of each of ``persons`` with an adapter each, after one batch.

    Args:
        base: the model.
        sampling: how.
        persons: number of adapters in use.
        images: of each.
        rank: of the adapters; 0 = none, the model as it is.
    """
    device, bank = str(base.device), _adapters(base, persons, rank) if rank else None
    settings = DrawingSettings(
        images=images, run_seed=0, sampling=sampling, files=FileSettings(size=(256, 128))
    )
    people = [_person(number, -1 if bank is None else number) for number in range(persons)]
    requests = _requests(base, people, images)
    try:
        _draw_only(base, bank, requests[: sampling.batch_size], sampling)
        _forget_peak(base)
        with tempfile.TemporaryDirectory() as folder:
            layout = Layout(Path(folder))
            reasons: dict[str, str] = {}
            whole = seconds(
                lambda: reasons.update(draw_persons(base, bank, people, layout, settings)), device
            )
        if reasons:
            raise ValueError(f"{base.name} draws nothing: {next(iter(reasons.values()))}")
        alone = seconds(lambda: _draw_only(base, bank, requests, sampling), device)
        peak = _peak_bytes(base)
        few = requests[: 3 * sampling.batch_size]
        busy = _busy(base, lambda: _draw_only(base, bank, few, sampling))
    finally:
        if bank is not None:
            bank.remove()
    return DrawingFigures(persons * images, whole, alone, peak, busy)


def busy_share(spans: Iterable[tuple[float, float]]) -> float:
    """Return the share of the time from the first begin to the last end that spans cover."""
    ordered = sorted(spans)
    covered, reached = 0.0, ordered[0][0]
    for begin, end in ordered:
        covered += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return covered / (reached - ordered[0][0])


def _adapters(base: BaseModel, persons: int, rank: int) -> LoraBank:
    bank = LoraBank(base.unet, count=persons, rank=rank, alpha=rank, target_modules=_TARGETS)
    for number in range(persons):
        bank.reset(number, torch.Generator().manual_seed(number))
    return bank


def _person(number: int, adapter: int) -> PersonToDraw:
    name = f"Market1501_{number:04d}"
    identity = Identity(name=name, source_dataset="Market1501", person_id=number, images=())
    return PersonToDraw(identity=identity, prompt=_PROMPT, adapter=adapter)


def _requests(base: BaseModel, people: Sequence[PersonToDraw], images: int) -> list[Drawing]:
    (prompt,) = base.encode_prompts([_PROMPT])
    return [
        Drawing(identity=person.identity.name, prompt=prompt, adapter=person.adapter, seed=seed)
        for person in people
        for seed in range(images)
    ]


def _draw_only(
    base: BaseModel,
    bank: LoraBank | None,
    requests: Sequence[Drawing],
    sampling: SamplingSettings,
) -> None:
    for _ in draw(base, bank, requests, sampling):
        pass


def _wait(base: BaseModel) -> None:
    if base.device.type == "cuda":
        torch.cuda.synchronize(base.device)


def _forget_peak(base: BaseModel) -> None:
    if base.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(base.device)


def _peak_bytes(base: BaseModel) -> int:
    if base.device.type == "cuda":
        return torch.cuda.max_memory_allocated(base.device)
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _busy(base: BaseModel, run: Callable[[], object]) -> float | None:
    if base.device.type != "cuda":
        return None
    with profile(activities=[ProfilerActivity.CUDA]) as found:
        run()
        _wait(base)
    kernels = [event for event in found.events() if event.device_type == DeviceType.CUDA]
    return busy_share((event.time_range.start, event.time_range.end) for event in kernels)
