"""A person of a reference image in another pose and view: the generator of Diff-ID as a pipeline.

Letters: R reference images, B generated images, K channels of the condition maps, H x W pixels,
c x h x w a latent, M tokens of a block of the reference U-Net, C their width, D width of the
context.

[0] "Pose-Diversified Augmentation with Diffusion Model for Person Re-Identification", 2024,
    section 3, https://arxiv.org/abs/2406.16042
"""

import copy
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DiffusionPipeline,
    SchedulerMixin,
    UNet2DConditionModel,
)
from torch import Tensor
from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

from fastreid_ext.diffusion.latents import encode_posterior, latent_shape
from fastreid_ext.diffusion.pose_guided.guided_unet import (
    guided_unet,
    predict,
    reference_features,
)
from fastreid_ext.diffusion.pose_guided.pose_guider import PoseGuider
from fastreid_ext.diffusion.pose_guided.reference_attention import expect_equal_blocks
from fastreid_ext.diffusion.stable_diffusion import read_part, readable

PARTS = ("vae", "unet", "reference_unet", "pose_guider", "image_encoder")


@dataclasses.dataclass(frozen=True, eq=False)
class References:
    """Features and embeddings of R reference images, computed once for all images of a person.

    Attributes:
        features: (R, M, C) inputs of self-attention by name of the block.
        context: (R, 1, D) embeddings of the image encoder.
    """

    features: dict[str, Tensor]
    context: Tensor

    def __len__(self) -> int:
        """Return R, the number of references."""
        return len(self.context)

    def rows(self, index: Tensor) -> "References":
        """Select references (B,) by position, one for each generated image."""
        features = {name: tokens[index] for name, tokens in self.features.items()}
        return References(features, self.context[index])


class PoseGuidedPipeline(DiffusionPipeline):
    """Pose-guided generator: two U-Nets, pose guider, VAE, image encoder and scheduler.

    A pipeline of diffusers: ``to``, ``save_pretrained`` and ``from_pretrained`` work as usual. No
    state is kept between calls, so pipelines may share parts.

    Example::

        pipeline = PoseGuidedPipeline.from_pretrained("logs/generator").to("cuda")
        references = pipeline.encode_references(images)  # (R, 3, H, W) uint8
        generated = pipeline(references, conditions, generators=generators)

    Args:
        vae: frozen autoencoder between pixels and latents.
        unet: U-Net that denoises latents under guidance.
        reference_unet: U-Net of the same architecture that reads the reference.
        pose_guider: encoder of the condition maps.
        image_encoder: frozen CLIP image encoder with projection to the U-Nets' context.
        feature_extractor: mean, deviation and size of the image encoder's input.
        scheduler: scheduler with the noise schedule of the training.
    """

    model_cpu_offload_seq = "image_encoder->reference_unet->pose_guider->unet->vae"

    def __init__(
        self,
        vae: AutoencoderKL,
        unet: UNet2DConditionModel,
        reference_unet: UNet2DConditionModel,
        pose_guider: PoseGuider,
        image_encoder: CLIPVisionModelWithProjection,
        feature_extractor: CLIPImageProcessor,
        scheduler: SchedulerMixin,
    ) -> None:
        super().__init__()
        guided_unet(unet)
        guided_unet(reference_unet)
        expect_equal_blocks(unet, reference_unet)
        _expect_widths(vae, unet, pose_guider, image_encoder)
        self.register_modules(
            vae=vae,
            unet=unet,
            reference_unet=reference_unet,
            pose_guider=pose_guider,
            image_encoder=image_encoder,
            feature_extractor=feature_extractor,
            scheduler=scheduler,
        )

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, *, torch_dtype: torch.dtype = torch.float32, **_: Any
    ) -> "PoseGuidedPipeline":
        """Read a pipeline that ``save_pretrained`` wrote; only safetensors are read.

        Args:
            folder: local folder of the pipeline.
            torch_dtype: dtype of all weights.

        Raises:
            FileNotFoundError: the folder has no ``model_index.json``.
            ValueError: a part is missing or damaged.
        """
        folder = Path(folder).expanduser()
        if not (folder / "model_index.json").is_file():
            raise FileNotFoundError(
                f"expected a pose-guided generator in {folder}, got no model_index.json there; "
                "train one with tools/pose_persons.py train"
            )
        with readable(folder):
            feature_extractor = CLIPImageProcessor.from_pretrained(folder / "feature_extractor")
            scheduler = DDIMScheduler.from_pretrained(folder / "scheduler")
        return cls(
            vae=read_part(AutoencoderKL, folder / "vae", torch_dtype),
            unet=read_part(UNet2DConditionModel, folder / "unet", torch_dtype),
            reference_unet=read_part(UNet2DConditionModel, folder / "reference_unet", torch_dtype),
            pose_guider=read_part(PoseGuider, folder / "pose_guider", torch_dtype),
            image_encoder=read_part(
                CLIPVisionModelWithProjection, folder / "image_encoder", torch_dtype
            ),
            feature_extractor=feature_extractor,
            scheduler=scheduler,
        )

    @torch.no_grad()
    def encode_references(self, images: Tensor) -> References:
        """Read reference images: one pass of the reference U-Net and of the image encoder.

        Args:
            images: (R, 3, H, W) uint8 RGB; H and W multiples of the VAE's pixels per latent.

        Raises:
            ValueError: images of another shape or dtype.
        """
        latents, _ = encode_posterior(self.vae, images)
        return self.read_references(latents, self.embed(images))

    @torch.no_grad()
    def read_references(self, latents: Tensor, context: Tensor) -> References:
        """Run the reference U-Net on latents (R, c, h, w) and embeddings (R, 1, D)."""
        context = context.to(self.reference_unet.device, self.reference_unet.dtype)
        features = reference_features(
            self.reference_unet, latents.to(self.reference_unet.device), context
        )
        return References(features, context)

    @torch.no_grad()
    def embed(self, images: Tensor) -> Tensor:
        """Compute CLIP embeddings (R, 1, D) of images (R, 3, H, W) uint8, squashed to a square."""
        side = self.image_encoder.config.image_size
        pixels = images.to(self.image_encoder.device).float()
        square = F.interpolate(pixels, (side, side), mode="bicubic", antialias=True)
        mean = pixels.new_tensor(self.feature_extractor.image_mean)[:, None, None]
        deviation = pixels.new_tensor(self.feature_extractor.image_std)[:, None, None]
        pixels = (square.clamp(0, 255) / 255 - mean) / deviation
        return self.image_encoder(pixels.to(self.image_encoder.dtype)).image_embeds[:, None]

    @torch.no_grad()
    def __call__(
        self,
        references: References,
        conditions: Tensor,
        *,
        generators: Sequence[torch.Generator],
        num_inference_steps: int = 20,
        guidance_scale: float = 3.5,
    ) -> Tensor:
        """Generate an image for each row of conditions.

        Args:
            references: references of the B images, see :meth:`References.rows`.
            conditions: (B, K, H, W) condition maps in [0, 1].
            generators: B random generators of the CPU; an image depends on its own alone.
            num_inference_steps: number of steps of the scheduler.
            guidance_scale: weight of classifier-free guidance; 1 is none. The unconditional half
                has a zero context and no reference; the pose stays on in both halves.

        Returns:
            (B, 3, H, W) uint8 RGB images.

        Raises:
            FloatingPointError: the latents are not finite.
            ValueError: the numbers of references, conditions and generators differ, or H and W do
                not fit the VAE.
        """
        counts = (len(references), len(conditions), len(generators))
        if len(set(counts)) > 1:
            raise ValueError(
                "expected a reference, conditions and a generator for each image, got "
                f"{counts[0]}, {counts[1]} and {counts[2]}; select references with rows()"
            )
        shape = latent_shape(self.vae, conditions.shape[2:], "the size of the conditions")
        latents = torch.stack([torch.randn(shape, generator=one) for one in generators])
        latents = self._denoise(
            latents.to(self.unet.device),
            references,
            conditions,
            num_inference_steps,
            guidance_scale,
        )
        return self.decode(latents)

    def _denoise(
        self,
        latents: Tensor,
        references: References,
        conditions: Tensor,
        num_inference_steps: int,
        guidance_scale: float,
    ) -> Tensor:
        guidance = self.pose_guider(conditions.to(self.unet.device))
        context = references.context
        is_guided = guidance_scale != 1
        if is_guided:
            guidance = torch.cat([guidance, guidance])
            context = torch.cat([torch.zeros_like(context), context])
        scheduler = copy.deepcopy(self.scheduler)  # its steps are state, and may be shared
        scheduler.set_timesteps(num_inference_steps, device=latents.device)
        latents = latents * scheduler.init_noise_sigma
        for step in self.progress_bar(scheduler.timesteps):
            noisy = torch.cat([latents, latents]) if is_guided else latents
            noisy = scheduler.scale_model_input(noisy, step)
            predicted = predict(
                self.unet, noisy, step, context, guidance, references.features
            ).float()
            if is_guided:
                without, with_reference = predicted.chunk(2)
                predicted = without + guidance_scale * (with_reference - without)
            latents = scheduler.step(predicted, step, latents, return_dict=False)[0]
        return latents

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Decode scaled latents (B, c, h, w) to images (B, 3, H, W) uint8 RGB."""
        unscaled = latents.to(self.vae.device, self.vae.dtype) / self.vae.config.scaling_factor
        pixels = self.vae.decode(unscaled).sample
        return pixels.float().add_(1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)


def _expect_widths(
    vae: AutoencoderKL,
    unet: UNet2DConditionModel,
    guider: PoseGuider,
    image_encoder: CLIPVisionModelWithProjection,
) -> None:
    """Check that the parts fit each other."""
    wanted = {
        "channels of the VAE's latents": (vae.config.latent_channels, unet.config.in_channels),
        "output channels of the pose guider": (
            guider.config.out_channels,
            unet.config.block_out_channels[0],
        ),
        "width of the image encoder's embedding": (
            image_encoder.config.projection_dim,
            unet.config.cross_attention_dim,
        ),
    }
    for name, (found, of_unet) in wanted.items():
        if found != of_unet:
            raise ValueError(
                f"expected {of_unet} {name}, those of the U-Net, got {found}; the parts are of "
                "different models"
            )
