"""Rows of the micro-batches of fine-tuning, for several identities at once.

Each identity has its own random generator, and a micro-batch takes the same numbers from it in the
same order whichever identities are trained with it.

Letters: B rows of a micro-batch, ordered by identity, of each first its own images, then those of
its reference set; c x h x w a latent; S micro-batches.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from fastreid_ext.diffusion.stable_diffusion import StableDiffusion
from fastreid_ext.generation.fine_tuning.settings import FineTuneTask, FineTuningSettings

# Micro-batches whose noise is sampled and sent to the device together.
_BLOCK = 32


@dataclasses.dataclass(frozen=True, eq=False)
class MicroBatch:
    """Inputs of one forward and backward pass, all on the device.

    Attributes:
        clean: (B, c, h, w) float32 latents, sampled from the VAE's posterior.
        noise: (B, c, h, w) float32 noise of variance 1.
        steps: (B,) integer steps of the noise schedule.
    """

    clean: Tensor
    noise: Tensor
    steps: Tensor


class TrainingRows:
    """Cached latents of all identities, and the random numbers of each micro-batch.

    Args:
        base: frozen model, whose VAE encodes the images.
        tasks: identities to fine-tune, each with images of one size.
        settings: settings of the fine-tuning; ``batch_size`` is read.

    Attributes:
        identity_index: number of the identity of each of the B rows.
        is_prior: for each row, True if it is of the reference set.
        generators: one generator per identity, on the CPU; unused before :meth:`micro_batches`.
    """

    def __init__(
        self, base: StableDiffusion, tasks: Sequence[FineTuneTask], settings: FineTuningSettings
    ) -> None:
        self.generators = [torch.Generator().manual_seed(task.seed) for task in tasks]
        self._device = base.device
        self._batch_size = settings.batch_size
        self._cache_latents(base, tasks)
        self._counts = [
            2 * self._batch_size if prior is not None else self._batch_size
            for prior in self._prior_places
        ]
        self.identity_index = [k for k, count in enumerate(self._counts) for _ in range(count)]
        self.is_prior = [i >= self._batch_size for count in self._counts for i in range(count)]

    def micro_batches(self, count: int, noise_steps: int) -> Iterator[MicroBatch]:
        """Sample ``count`` micro-batches.

        Args:
            count: number S of micro-batches to sample.
            noise_steps: number of steps of the noise schedule.
        """
        indices = torch.cat([self._indices(k, count) for k in range(len(self._counts))], dim=1)
        indices = indices.to(self._device)
        steps = torch.cat(
            [
                torch.randint(0, noise_steps, (count, rows), generator=generator)
                for rows, generator in zip(self._counts, self.generators, strict=True)
            ],
            dim=1,
        )
        steps = steps.to(self._device)
        for start in range(0, count, _BLOCK):
            block = self._noise(min(_BLOCK, count - start))
            for i, (noise, of_posterior) in enumerate(block, start=start):
                clean = self._mean[indices[i]].addcmul_(self._std[indices[i]], of_posterior)
                yield MicroBatch(clean, noise, steps[i])

    def _cache_latents(self, base: StableDiffusion, tasks: Sequence[FineTuneTask]) -> None:
        """Encode all images once; a reference set that identities share is kept once."""
        self._own_places: list[range] = []
        self._prior_places: list[range | None] = []
        posteriors: list[tuple[Tensor, Tensor]] = []
        shared: dict[int, range] = {}  # id of a reference set -> its places in the cache
        total = 0
        for task in tasks:
            posteriors.append(base.encode_posterior(task.images))
            self._own_places.append(range(total, total + len(task.images)))
            total += len(task.images)
            references = task.reference_latents
            if references is None:
                self._prior_places.append(None)
                continue
            key = id(references[0])
            if key not in shared:
                shared[key] = range(total, total + len(references[0]))
                total += len(references[0])
                posteriors.append(references)
            self._prior_places.append(shared[key])
        self._mean = torch.cat([mean.to(base.device, torch.float32) for mean, _ in posteriors])
        self._std = torch.cat([std.to(base.device, torch.float32) for _, std in posteriors])

    def _indices(self, k: int, count: int) -> Tensor:
        """Sample places in the cache (count, rows of k), each image once before any twice."""
        total = count * self._batch_size
        own = _epochs(self._own_places[k], total, self.generators[k])
        parts = [own.view(count, -1)]
        prior_places = self._prior_places[k]
        if prior_places is not None:
            prior = _epochs(prior_places, total, self.generators[k])
            parts.append(prior.view(count, -1))
        return torch.cat(parts, dim=1)

    def _noise(self, count: int) -> Tensor:
        """Sample (count, 2, B, c, h, w): noise of the rows, and of their latents' posterior."""
        shape = self._mean.shape[1:]
        noise = torch.cat(
            [
                torch.randn(count, 2, rows, *shape, generator=generator)
                for rows, generator in zip(self._counts, self.generators, strict=True)
            ],
            dim=2,
        )
        if self._device.type == "cuda":
            noise = noise.pin_memory()
        return noise.to(self._device, non_blocking=True)


def _epochs(places: range, count: int, generator: torch.Generator) -> Tensor:
    """Sample ``count`` places in a new random order each time all have been taken."""
    times = -(-count // len(places))
    orders = [torch.randperm(len(places), generator=generator) for _ in range(times)]
    return torch.cat(orders)[:count] + places.start
