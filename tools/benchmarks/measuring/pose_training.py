"""Measurement of a training step of the pose-guided generator, and of its parts.

The graph is cut where the features of reference and guiders enter the denoiser, so the backward
pass of each part has its own time; the gradients are those of the whole step.
"""

import dataclasses
import functools
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from fastreid_ext.diffusion.latents import latent_shape
from fastreid_ext.diffusion.pose_guided import PoseGuidedPipeline
from fastreid_ext.generation.pose_guided.average import AverageOfWeights
from fastreid_ext.generation.pose_guided.rows import Batch
from fastreid_ext.generation.pose_guided.settings import TrainingSettings
from fastreid_ext.generation.pose_guided.trained_generator import TrainedGenerator
from measuring.device_use import forget_peak, peak_bytes
from measuring.pose_generator import DENOISER, GUIDERS, REFERENCE, PartClock
from measuring.timing import seconds

UPDATE = "clipping, optimizer, average"


@dataclasses.dataclass(frozen=True)
class TrainingFigures:
    """Cost of a training step whose rows all have a reference.

    Attributes:
        rows: images of a step.
        seconds: median of whole steps; on the CPU those of the process.
        shares: share of each part, forward and backward, in a step with clocks.
        peak_bytes: most memory: of the device, or of this process on the CPU.
    """

    rows: int
    seconds: float
    shares: dict[str, float]
    peak_bytes: int


class MeasuredTraining:
    """The trained parts, their optimizer and one batch.

    Args:
        pipeline: generator in float32 whose parts are trained, in place.
        batch: tensors of a step.
        dtype: dtype of the arithmetic; float32 for no mixed precision.
    """

    def __init__(self, pipeline: PoseGuidedPipeline, batch: Batch, dtype: torch.dtype) -> None:
        settings = TrainingSettings(seed=0, size=(0, 0))
        self.module = TrainedGenerator(pipeline).train()
        self.batch = batch
        self.device = pipeline.unet.device
        self._dtype = dtype
        self._norm = settings.max_grad_norm
        self._trained = [p for p in self.module.parameters() if p.requires_grad]
        self._average = AverageOfWeights(self.module, settings.ema)
        self._optimizer = AdamW(self._trained, settings.base_lr, weight_decay=settings.weight_decay)

    def loss(self) -> Tensor:
        """Run the forward pass."""
        is_mixed = self._dtype != torch.float32
        with torch.autocast(self.device.type, self._dtype, enabled=is_mixed):
            return self.module(self.batch)

    def update(self) -> None:
        """Update weights and average from the gradients."""
        nn.utils.clip_grad_norm_(self._trained, self._norm)
        self._optimizer.step()
        self._optimizer.zero_grad()
        self._average.update(1)

    def step(self) -> None:
        """Run a step as a training does."""
        self.loss().backward()
        self.update()

    def backward_in_parts(self, clock: PartClock) -> None:
        """Run forward and backward pass with a time for each part."""
        module = self.module
        parts = {
            REFERENCE: module.reference_unet,
            GUIDERS: module.pose_guider,
            DENOISER: module.unet,
        }
        with cut_graph(module) as cuts, clock.forward_passes(parts):
            loss = self.loss()
        with clock.part(DENOISER):
            loss.backward()
        for name in (GUIDERS, REFERENCE):
            with clock.part(name):
                whole, leaves = zip(*cuts[name], strict=True)
                torch.autograd.backward(whole, [leaf.grad for leaf in leaves])


@contextmanager
def cut_graph(module: TrainedGenerator) -> Iterator[dict[str, list[tuple[Tensor, Tensor]]]]:
    """Hand detached features to the denoiser within a block.

    Yields:
        For the reference and the guiders, pairs of the features with a graph and of the leaf that
        the denoiser read in their place, whose gradient is theirs.
    """
    cuts: dict[str, list[tuple[Tensor, Tensor]]] = {REFERENCE: [], GUIDERS: []}

    def cut(name: str, features: Tensor) -> Tensor:
        leaf = features.detach().requires_grad_()
        cuts[name].append((features, leaf))
        return leaf

    def of_guiders(_: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return cut(GUIDERS, output)

    def of_reference(_: nn.Module, inputs: Any, named: dict[str, Any], output: Any) -> None:
        captured = named["cross_attention_kwargs"]["captured"]
        for name, features in captured.items():
            captured[name] = cut(REFERENCE, features)

    reference = module.reference_unet.register_forward_hook(of_reference, with_kwargs=True)
    with module.pose_guider.register_forward_hook(of_guiders), reference:
        yield cuts


def measure_training(
    pipeline: PoseGuidedPipeline,
    size: tuple[int, int],
    *,
    rows: int,
    rounds: int,
    dtype: torch.dtype,
    checkpointing: bool = False,
) -> TrainingFigures:
    """Measure training steps on one random batch, after one to warm up.

    Args:
        pipeline: generator in float32, which is trained in place.
        size: height and width of the images in pixels.
        rows: images of a step.
        rounds: number of measured steps, whole and in parts.
        dtype: dtype of the arithmetic; weights stay in float32.
        checkpointing: whether activations are computed twice.
    """
    if checkpointing:
        pipeline.unet.enable_gradient_checkpointing()
        pipeline.reference_unet.enable_gradient_checkpointing()
    training = MeasuredTraining(pipeline, random_batch(pipeline, size, rows), dtype)
    device = training.device
    forget_peak(device)
    measured = functools.partial(seconds, training.step, str(device))
    whole = statistics.median([measured() for _ in range(1 + rounds)][1:])
    peak = peak_bytes(device)
    clock = PartClock(device)
    began = clock.now()
    for _ in range(rounds):
        training.backward_in_parts(clock)
        with clock.part(UPDATE):
            training.update()
    return TrainingFigures(rows, whole, clock.shares(clock.now() - began), peak)


def random_batch(pipeline: PoseGuidedPipeline, size: tuple[int, int], rows: int) -> Batch:
    """Build a batch whose rows all have a reference, which costs most."""
    generator = torch.Generator().manual_seed(0)
    normal = functools.partial(torch.randn, generator=generator)
    latents = (rows, *latent_shape(pipeline.vae, size, "--pixels"))
    width = pipeline.image_encoder.config.projection_dim
    steps = pipeline.scheduler.config.num_train_timesteps
    conditions = (rows, sum(pipeline.pose_guider.config.channels), *size)
    return Batch(
        reference=normal(latents),
        context=normal((rows, 1, width)),
        clean=normal(latents),
        noise=normal(latents),
        steps=torch.randint(steps, (rows,), generator=generator),
        conditions=torch.randint(256, conditions, generator=generator, dtype=torch.uint8),
        dropped=0,
    )
