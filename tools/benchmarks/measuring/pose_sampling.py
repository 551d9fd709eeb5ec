"""Measurement of sampling with the pose-guided generator, references read once or for each image.

Letters: H x W pixels.
"""

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from fastreid_ext.diffusion.pose_guided import PoseGuidedPipeline, References
from measuring.device_use import forget_peak, peak_bytes
from measuring.pose_generator import DENOISER, GUIDERS, REFERENCE, PartClock
from measuring.timing import median_seconds

CACHED = "cached"
UNCACHED = "uncached"
ENCODERS = ("VAE encoder", "image encoder")
DECODING = "decoding"


@dataclasses.dataclass(frozen=True)
class SamplingFigures:
    """Cost of the images of one identity.

    Attributes:
        images: number of images, each in a pose of its own.
        seconds: medians by "cached" (the reference is read once) and "uncached" (once an image).
        shares: share of each part in the time, by the same names.
        peak_bytes: most memory: of the device, or of this process on the CPU.
        is_equal: whether a cached reference gives bit by bit the images of references that are
            read one by one.
        largest_difference: largest difference in grey levels to references read in one batch,
            where sums may be in another order.
    """

    images: int
    seconds: dict[str, float]
    shares: dict[str, dict[str, float]]
    peak_bytes: int
    is_equal: bool
    largest_difference: int

    @property
    def images_per_second(self) -> float:
        """Images per second with a cached reference, all parts included."""
        return self.images / self.seconds[CACHED]


@dataclasses.dataclass(frozen=True)
class IdentityImages:
    """Images of one identity, generated in batches.

    Attributes:
        pipeline: generator on its device, in its dtype.
        reference: (1, 3, H, W) uint8 reference image.
        conditions: (images, 7, H, W) float32 condition maps in [0, 1].
        batch_size: images generated at once.
        steps: number of denoising steps of an image.
        guidance: scale of classifier-free guidance.
    """

    pipeline: PoseGuidedPipeline
    reference: Tensor
    conditions: Tensor
    batch_size: int
    steps: int
    guidance: float

    def cached(self) -> Tensor:
        """Read the reference once and return all images (images, 3, H, W) uint8."""
        once = self.pipeline.encode_references(self.reference)
        return self._generate(lambda count: once.rows(torch.zeros(count, dtype=torch.long)))

    def uncached(self) -> Tensor:
        """Read the reference for each image, those of a batch together."""
        encode = self.pipeline.encode_references
        return self._generate(lambda count: encode(self.reference.expand(count, -1, -1, -1)))

    def one_by_one(self) -> Tensor:
        """Read the reference for each image, in passes of one."""
        return self._generate(lambda count: joined([self._alone() for _ in range(count)]))

    def _alone(self) -> References:
        return self.pipeline.encode_references(self.reference)

    def _generate(self, references: Callable[[int], References]) -> Tensor:
        found = []
        for start in range(0, len(self.conditions), self.batch_size):
            batch = self.conditions[start : start + self.batch_size]
            seeds = range(start, start + len(batch))
            found.append(
                self.pipeline(
                    references(len(batch)),
                    batch,
                    generators=[torch.Generator().manual_seed(seed) for seed in seeds],
                    num_inference_steps=self.steps,
                    guidance_scale=self.guidance,
                ).cpu()
            )
        return torch.cat(found)


def joined(references: list[References]) -> References:
    """Join references of one row each."""
    names = references[0].features
    return References(
        {name: torch.cat([one.features[name] for one in references]) for name in names},
        torch.cat([one.context for one in references]),
    )


def measure_sampling(
    pipeline: PoseGuidedPipeline,
    size: tuple[int, int],
    *,
    images: int,
    batch_size: int,
    steps: int,
    guidance: float,
    rounds: int,
) -> SamplingFigures:
    """Generate the images of one identity with cached and with uncached references, in turns.

    Args:
        pipeline: generator on its device, in its dtype.
        size: height and width of the images in pixels.
        images: number of images in poses of their own.
        batch_size: images generated at once.
        steps: number of denoising steps of an image.
        guidance: scale of classifier-free guidance; 1 is none.
        rounds: number of measurements of each way.
    """
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(0)
    work = IdentityImages(
        pipeline,
        torch.randint(256, (1, 3, *size), generator=generator, dtype=torch.uint8),
        torch.rand((images, sum(pipeline.pose_guider.config.channels), *size), generator=generator),
        batch_size,
        steps,
        guidance,
    )
    device = pipeline.unet.device
    cached = work.cached()  # and warms up
    alone = work.one_by_one()
    together = work.uncached()
    forget_peak(device)
    methods = {CACHED: work.cached, UNCACHED: work.uncached}
    times = median_seconds(methods, rounds, str(device))
    peak = peak_bytes(device)
    return SamplingFigures(
        images=images,
        seconds=times,
        shares={name: _shares(pipeline, method) for name, method in methods.items()},
        peak_bytes=peak,
        is_equal=torch.equal(cached, alone),
        largest_difference=int((cached.int() - together.int()).abs().max()),
    )


def _shares(pipeline: PoseGuidedPipeline, method: Callable[[], object]) -> dict[str, float]:
    clock = PartClock(pipeline.unet.device)
    parts = {
        ENCODERS[0]: pipeline.vae.encoder,
        ENCODERS[1]: pipeline.image_encoder,
        REFERENCE: pipeline.reference_unet,
        GUIDERS: pipeline.pose_guider,
        DENOISER: pipeline.unet,
        DECODING: pipeline.vae.decoder,
    }
    began = clock.now()
    with clock.forward_passes(parts):
        method()
    return clock.shares(clock.now() - began)
