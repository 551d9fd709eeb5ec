"""Frozen Stable Diffusion v1 or v2: load it, encode prompts and images, decode latents.

Letters: B batch, L tokens of a prompt (77), C width of the text encoder, H x W pixels, c x h x w a
latent (4 channels and 1/8 of the pixels in SD). Latents are *scaled*: multiplied by the VAE's
scaling factor (0.18215 in SD v1), which brings their variance to about 1, the unit of the noise.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from diffusers import (
    AutoencoderKL,
    ModelMixin,
    SchedulerMixin,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from fastreid.config import CfgNode
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from fastreid_ext.diffusion.compute import ComputeSettings, set_up
from fastreid_ext.diffusion.latents import encode_posterior, latent_shape, pixels_per_latent
from fastreid_ext.diffusion.model_folder import find_model_folder
from fastreid_ext.diffusion.pipeline_folder import (
    expect_base_parts,
    find_base_folder,
    fingerprint_of,
    variant_of,
    weight_files,
)
from fastreid_ext.diffusion.weight_files import hash_of_files

Part = TypeVar("Part", bound=nn.Module)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class StableDiffusion:
    """Parts of a Stable Diffusion model, frozen and in evaluation mode.

    Attributes:
        tokenizer: CLIP tokenizer that splits the prompts.
        text_encoder: CLIP text model that encodes the prompts.
        unet: network that predicts the noise (or the quantity that
            ``scheduler.config.prediction_type`` names).
        vae: autoencoder between pixels and latents.
        scheduler: scheduler of the pipeline, with the noise schedule of the model's training.
        name: "<id>@<revision>"; for a folder its last name and 12 digits of a hash of its weights.
        device: device on which all parts compute.
        dtype: dtype in which all parts compute.
        compute: memory layout, compilation and slicing of U-Net and VAE.
    """

    tokenizer: CLIPTokenizer
    text_encoder: CLIPTextModel
    unet: UNet2DConditionModel
    vae: AutoencoderKL
    scheduler: SchedulerMixin
    name: str
    device: torch.device
    dtype: torch.dtype
    compute: ComputeSettings = dataclasses.field(default_factory=ComputeSettings)

    @torch.no_grad()
    def encode_prompts(self, prompts: Sequence[str]) -> Tensor:
        """Encode B prompts as (B, L, C) in the model's dtype.

        Raises:
            ValueError: a prompt has more tokens than the text encoder takes; none is cut.
        """
        return self.text_encoder(self.token_ids(prompts))[0]

    def token_ids(self, prompts: Sequence[str]) -> Tensor:
        """Tokenize B prompts to ids (B, L) on the device, padded to the full length."""
        length = self.tokenizer.model_max_length
        rows = self.tokenizer(list(prompts), padding="max_length").input_ids
        for prompt, row in zip(prompts, rows, strict=True):
            if len(row) > length:
                raise ValueError(
                    f"expected prompts of at most {length} tokens, got {len(row)} in '{prompt}'; "
                    "shorten it"
                )
        return torch.tensor(rows, device=self.device)

    def encode_posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Encode images to the scaled mean and standard deviation of the VAE's posterior.

        Args:
            images: (B, 3, H, W) uint8 RGB; H and W multiples of :attr:`pixels_per_latent`.

        Returns:
            Mean and standard deviation, each (B, c, h, w) float32.
        """
        return encode_posterior(self.vae, images)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Decode scaled latents (B, c, h, w) to images (B, 3, H, W) uint8 RGB."""
        unscaled = latents.to(self.device, self.dtype) / self.vae.config.scaling_factor
        pixels = self.vae.decode(unscaled).sample
        return pixels.float().add_(1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)

    @property
    def pixels_per_latent(self) -> int:
        """Edge in pixels of the square behind one place of a latent: 8 in SD."""
        return pixels_per_latent(self.vae)

    def latent_shape(self, size: Sequence[int]) -> tuple[int, int, int]:
        """Compute the shape (c, h, w) of the latent of an image of ``size`` (H, W) pixels.

        Raises:
            ValueError: H or W is not a multiple of :attr:`pixels_per_latent`.
        """
        return latent_shape(self.vae, size, "GENERATION.SIZE")


def load_base(cfg: CfgNode, device: str | torch.device | None = None) -> StableDiffusion:
    """Load ``GENERATION.BASE_MODEL`` in ``GENERATION.DTYPE``, frozen.

    Args:
        cfg: configuration, of which ``GENERATION.BASE_MODEL``, ``VAE``, ``REVISION``,
            ``DOWNLOAD``, ``DTYPE`` and ``COMPUTE`` are read.
        device: device of the model; None for ``MODEL.DEVICE``.

    Raises:
        FileNotFoundError: the model is neither here nor in the hub's cache.
        ValueError: pickles instead of safetensors, or another kind of pipeline.
    """
    source = cfg.GENERATION.BASE_MODEL
    folder, vae = find_base(cfg)
    is_local = Path(source).expanduser().is_dir()
    name = f"{folder.resolve().name if is_local else source}@{fingerprint_of(folder)}"
    if vae is not None:
        name += f"+{_vae_name(cfg.GENERATION.VAE, vae)}"
    return read_base(
        folder,
        name=name,
        device=torch.device(device if device is not None else cfg.MODEL.DEVICE),
        dtype=getattr(torch, cfg.GENERATION.DTYPE),
        vae=vae,
        compute=ComputeSettings.from_config(cfg),
    )


def find_base(cfg: CfgNode) -> tuple[Path, Path | None]:
    """Find and check the folders of ``GENERATION.BASE_MODEL`` and ``GENERATION.VAE``.

    Raises:
        FileNotFoundError: a model is neither here nor in the hub's cache.
        ValueError: a part is damaged, incomplete or of an unsupported kind.
    """
    generation = cfg.GENERATION
    folder = find_base_folder(
        generation.BASE_MODEL, revision=generation.REVISION, download=generation.DOWNLOAD
    )
    vae = None
    if generation.VAE:
        vae = find_model_folder(generation.VAE, key="GENERATION.VAE", download=generation.DOWNLOAD)
    expect_base_parts(folder, vae)
    return folder, vae


def read_base(
    folder: Path,
    *,
    name: str,
    device: torch.device,
    dtype: torch.dtype,
    vae: Path | None = None,
    compute: ComputeSettings | None = None,
) -> StableDiffusion:
    """Read the parts of checked folders (:func:`find_base`)."""
    parts = {
        "text_encoder": read_part(CLIPTextModel, folder / "text_encoder", dtype),
        "unet": read_part(UNet2DConditionModel, folder / "unet", dtype),
        "vae": read_part(AutoencoderKL, vae or folder / "vae", dtype),
    }
    with readable(folder):
        pipeline = StableDiffusionPipeline.from_pretrained(
            folder,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
            local_files_only=True,
            **parts,
        )
    for part in parts.values():
        part.to(device)
    compute = compute or ComputeSettings()
    set_up(pipeline.unet, pipeline.vae, compute)
    return StableDiffusion(
        tokenizer=pipeline.tokenizer,
        text_encoder=pipeline.text_encoder,
        unet=pipeline.unet,
        vae=pipeline.vae,
        scheduler=pipeline.scheduler,
        name=name,
        device=device,
        dtype=dtype,
        compute=compute,
    )


def read_part(kind: type[Part], inside: Path, dtype: torch.dtype) -> Part:
    """Read one part of a checked pipeline, frozen and in evaluation mode, on the CPU.

    Args:
        kind: class of the part in diffusers or transformers.
        inside: folder of the part.
        dtype: dtype of the weights.

    Raises:
        ValueError: a file is damaged or missing.
    """
    key = "torch_dtype" if issubclass(kind, ModelMixin) else "dtype"
    with readable(inside):
        part = kind.from_pretrained(
            inside,
            variant=variant_of(inside),
            use_safetensors=True,
            local_files_only=True,
            **{key: dtype},
        )
    return part.eval().requires_grad_(False)


def read_tokenizer(folder: Path) -> CLIPTokenizer:
    """Read the tokenizer of a checked folder."""
    with readable(folder / "tokenizer"):
        return CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer", local_files_only=True)


@contextlib.contextmanager
def readable(folder: Path) -> Iterator[None]:
    """Turn the libraries' errors of damaged files into a ValueError that says what to do."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError, TypeError, ValueError) as error:
        raise ValueError(
            f"the model in {folder} cannot be read ({type(error).__name__}: {error}); its files "
            "are damaged or missing, bring them again"
        ) from error


def _vae_name(source: str, folder: Path) -> str:
    """Build "<id>@<12 digits of a SHA-256 of the weights>"."""
    is_local = Path(source).expanduser().is_dir()
    return f"{folder.resolve().name if is_local else source}@{hash_of_files(weight_files(folder))}"
