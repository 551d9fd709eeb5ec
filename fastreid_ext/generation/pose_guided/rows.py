"""Rows of a training step: everything random about them follows from the seed and the step.

So a training that continues sees what it would have seen, and the number of processes does not
matter. Letters: B rows of a process, c x h x w a latent, D width of the embedding.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from fastreid_ext.bodies.condition_maps import MapRequest
from fastreid_ext.generation.pose_guided.crops import crop_of
from fastreid_ext.generation.pose_guided.encoded_images import EncodedImages
from fastreid_ext.generation.pose_guided.pairs import Pairs
from fastreid_ext.generation.pose_guided.settings import TrainingSettings
from fastreid_ext.generation.pose_guided.training_images import TrainingImage
from fastreid_ext.generation.runs.seeds import seed_of


@dataclasses.dataclass(frozen=True)
class Row:
    """Reference, target and crop of one row of a step.

    Attributes:
        reference: position of the reference image.
        target: position of the target image.
        crop: number of the crop, of both images.
        seed: seed of noise, time step and dropout.
    """

    reference: int
    target: int
    crop: int
    seed: int


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """Tensors of a step, rows without reference first.

    Attributes:
        reference: (B, c, h, w) latents of the references, the posterior's mean.
        context: (B, 1, D) embeddings of the references, 0 where dropped.
        clean: (B, c, h, w) latents of the targets, sampled from the posterior.
        noise: (B, c, h, w) noise of variance 1.
        steps: (B,) steps of the noise schedule.
        conditions: (B, 7, H, W) uint8 condition maps of the targets.
        dropped: number of rows without reference.
    """

    reference: Tensor
    context: Tensor
    clean: Tensor
    noise: Tensor
    steps: Tensor
    conditions: Tensor
    dropped: int


def rows_of_step(
    step: int, settings: TrainingSettings, pairs: Pairs, *, rank: int = 0, processes: int = 1
) -> list[Row]:
    """Sample the rows that a process has in a step."""
    rows = []
    for number in range(rank, settings.batch_size, processes):
        seed = seed_of(settings.seed, "row", step, number)
        rng = np.random.default_rng(seed)
        reference, target = pairs.sample(rng)
        rows.append(Row(reference, target, int(rng.integers(settings.crops)), seed))
    return rows


def requests_of(
    rows: Iterator[Row], images: Sequence[TrainingImage], settings: TrainingSettings
) -> Iterator[MapRequest]:
    """Make the requests of the condition maps of rows, in their order."""
    for row in rows:
        image = images[row.target]
        crop = crop_of(settings.seed, image.file.name, row.crop, settings.crop_scale)
        yield crop.request(image, *settings.size)


def batch_of(
    rows: Sequence[Row],
    conditions: Sequence[np.ndarray],
    encoded: EncodedImages,
    settings: TrainingSettings,
    schedule_steps: int,
) -> Batch:
    """Gather and sample the tensors of a step.

    Args:
        rows: B rows of this process.
        conditions: B condition maps (7, H, W) uint8, in the order of ``rows``.
        encoded: latents and embeddings of all images.
        settings: settings of the training.
        schedule_steps: number of steps of the noise schedule.
    """
    generators = [torch.Generator().manual_seed(row.seed) for row in rows]
    is_dropped = [
        float(torch.rand((), generator=one)) < settings.drop_condition for one in generators
    ]
    order = sorted(range(len(rows)), key=lambda i: not is_dropped[i])
    rows = [rows[i] for i in order]
    generators = [generators[i] for i in order]
    crops = [row.crop for row in rows]
    references = [row.reference for row in rows]
    reference, _ = encoded.posterior(references, crops)
    mean, deviation = encoded.posterior([row.target for row in rows], crops)
    context = encoded.context(references, crops)
    dropped = sum(is_dropped)
    context[:dropped] = 0
    steps = [int(torch.randint(schedule_steps, (), generator=one)) for one in generators]
    shape = mean.shape[1:]
    spread = torch.stack([torch.randn(shape, generator=one) for one in generators])
    noise = torch.stack([torch.randn(shape, generator=one) for one in generators])
    return Batch(
        reference=reference,
        context=context,
        clean=mean + deviation * spread,
        noise=noise,
        steps=torch.tensor(steps),
        conditions=torch.from_numpy(np.stack([conditions[i] for i in order])),
        dropped=dropped,
    )
