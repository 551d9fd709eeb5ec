"""The rows of each training pass, for several identities at once.

Each identity has its own generator, and each pass takes of it the same numbers in the same order
whoever is trained beside it.

Letters: B rows of a pass, ordered by identity, of each first its own images, then those of its
reference set; c x h x w a latent; S passes.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from fastreid_ext.diffusion.stable_diffusion import StableDiffusion
from fastreid_ext.generation.fine_tuning.settings import FineTuneTask, FineTuningSettings

# Passes whose noise is drawn and sent to the device together.
_BLOCK = 32


@dataclasses.dataclass(frozen=True, eq=False)
class Pass:
    """What one pass trains on; all on the device.

    Attributes:
        clean: (B, c, h, w) float32 latents, drawn from the VAE's posterior.
        noise: (B, c, h, w) float32.
        steps: (B,) integer steps of the noise schedule.
    """

    clean: Tensor
    noise: Tensor
    steps: Tensor


class TrainingRows:
    """Cached latents of all identities, and what is drawn for each pass.

    Attributes:
        owners: for each of the B rows the number of its identity.
        is_prior: for each row whether it is of the reference set.
        generators: one an identity, on the CPU; nothing has been drawn before :meth:`passes`.
    """

    def __init__(
        self, base: StableDiffusion, tasks: Sequence[FineTuneTask], settings: FineTuningSettings
    ) -> None:
        self.generators = [torch.Generator().manual_seed(task.seed) for task in tasks]
        self._device = base.device
        self._own, self._prior, means, stds = [], [], [], []
        known: dict[int, range] = {}  # a reference set that identities share is kept once
        total = 0
        for task in tasks:
            parts = [base.encode_posterior(task.images)]
            self._own.append(range(total, total + len(task.images)))
            total += len(task.images)
            shared = task.reference_latents
            if shared is not None and id(shared[0]) not in known:
                known[id(shared[0])] = range(total, total + len(shared[0]))
                total += len(shared[0])
                parts.append(shared)
            self._prior.append(None if shared is None else known[id(shared[0])])
            means += [mean.to(base.device, torch.float32) for mean, _ in parts]
            stds += [std.to(base.device, torch.float32) for _, std in parts]
        self._mean, self._std = torch.cat(means), torch.cat(stds)  # of all images, once
        self._per_pass = settings.batch_size
        self._counts = [self._per_pass * (1 + (prior is not None)) for prior in self._prior]
        self.owners = [k for k, count in enumerate(self._counts) for _ in range(count)]
        self.is_prior = [i >= self._per_pass for count in self._counts for i in range(count)]

    def passes(self, count: int, noise_steps: int) -> Iterator[Pass]:
        """Draw ``count`` passes, with steps below ``noise_steps``."""
        indices = torch.cat([self._indices(k, count) for k in range(len(self._own))], dim=1)
        steps = torch.cat(
            [
                torch.randint(0, noise_steps, (count, rows), generator=generator)
                for rows, generator in zip(self._counts, self.generators, strict=True)
            ],
            dim=1,
        )
        indices, steps = indices.to(self._device), steps.to(self._device)
        for start in range(0, count, _BLOCK):
            noise = self._noise(min(_BLOCK, count - start))
            for i, (own, of_posterior) in enumerate(noise, start=start):
                clean = self._mean[indices[i]].addcmul_(self._std[indices[i]], of_posterior)
                yield Pass(clean, own, steps[i])

    def _indices(self, k: int, count: int) -> Tensor:
        """Return (count, rows of k): places in the cache; each image once before any twice."""
        own = _epochs(self._own[k], count * self._per_pass, self.generators[k])
        parts = [own.view(count, -1)]
        if self._prior[k] is not None:
            prior = _epochs(self._prior[k], count * self._per_pass, self.generators[k])
            parts.append(prior.view(count, -1))
        return torch.cat(parts, dim=1)

    def _noise(self, count: int) -> Tensor:
        """Return (count, 2, B, c, h, w): noise of the rows, and of their place in the posterior."""
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
    """Return ``count`` of the places, in a new random order each time all have been taken."""
    times = -(-count // len(places))
    orders = [torch.randperm(len(places), generator=generator) for _ in range(times)]
    return torch.cat(orders)[:count] + places.start
