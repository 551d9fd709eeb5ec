"""Assemble an untrained pose-guided generator from Stable Diffusion and a CLIP image encoder."""

import functools
from pathlib import Path

import torch
from diffusers import AutoencoderKL, ControlNetModel, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

from fastreid_ext.diffusion.latents import pixels_per_latent
from fastreid_ext.diffusion.model_folder import find_model_folder
from fastreid_ext.diffusion.pose_guided.pipeline import PoseGuidedPipeline
from fastreid_ext.diffusion.pose_guided.pose_guider import PoseGuider, widths_for
from fastreid_ext.diffusion.schedulers import with_pipeline_defaults
from fastreid_ext.diffusion.stable_diffusion import read_part, readable
from fastreid_ext.diffusion.weight_files import PICKLES
from fastreid_ext.hub import hub_folder

KEY = "GENERATION.BASE_MODEL"
ENCODER_KEY = "GENERATION.POSE_GUIDED.IMAGE_ENCODER"
_WANTED = ["model_index.json", "unet/*", "vae/*", "scheduler/*", "image_encoder/*"]
_WANTED += ["feature_extractor/*"]


def assemble_generator(
    base: str,
    *,
    image_encoder: str = "",
    vae: str = "",
    controlnet: str = "",
    combine: str = "concat",
    has_random_unets: bool = False,
    download: bool = False,
    dtype: torch.dtype = torch.float32,
) -> PoseGuidedPipeline:
    """Assemble a generator whose two U-Nets start from one Stable Diffusion model.

    Args:
        base: folder or hub id of a Stable Diffusion v1 pipeline, or of one with an image encoder
            (``lambdalabs/sd-image-variations-diffusers``).
        image_encoder: folder or hub id of a CLIP model whose image embedding is as wide as the
            U-Net's context (``openai/clip-vit-large-patch14``); "" for that of ``base``.
        vae: folder or hub id of another autoencoder; "" for that of ``base``.
        controlnet: folder or hub id of a ControlNet whose condition embedding the guiders start
            from; "" for random weights.
        combine: reading of how the condition maps are joined, see :class:`PoseGuider`.
        has_random_unets: whether the U-Nets start from random weights (row V of the paper's
            ablation) instead of the model's; their context is then as wide as the embedding.
        download: whether the network may be used; otherwise the hub's cache is searched.
        dtype: dtype of the weights.

    Raises:
        FileNotFoundError: a model is neither here nor in the hub's cache.
        ValueError: a part is missing, damaged or does not fit.
    """
    folder = _find_base(base, download)
    find = functools.partial(find_model_folder, download=download)
    vae_folder = find(vae, key="GENERATION.VAE") if vae else folder / "vae"
    autoencoder = read_part(AutoencoderKL, vae_folder, dtype)
    encoder_folder, processor_folder = _encoder_folders(folder, image_encoder, download)
    encoder = read_part(CLIPVisionModelWithProjection, encoder_folder, dtype)
    unets = [read_part(UNet2DConditionModel, folder / "unet", dtype) for _ in range(2)]
    if has_random_unets:
        unets = _random_unets(unets[0], encoder.config.projection_dim)
    with readable(folder):
        scheduler = with_pipeline_defaults(DDIMScheduler.from_pretrained(folder / "scheduler"))
        processor = CLIPImageProcessor.from_pretrained(processor_folder)
    guider = PoseGuider(
        widths=widths_for(pixels_per_latent(autoencoder)),
        out_channels=unets[0].config.block_out_channels[0],
        combine=combine,
    ).to(dtype)
    if controlnet:
        found = find(controlnet, key="GENERATION.POSE_GUIDED.CONTROLNET")
        network = read_part(ControlNetModel, found, dtype)
        guider.start_from_controlnet(network.controlnet_cond_embedding.state_dict())
    return PoseGuidedPipeline(
        vae=autoencoder,
        unet=unets[0],
        reference_unet=unets[1],
        pose_guider=guider,
        image_encoder=encoder,
        feature_extractor=processor,
        scheduler=scheduler,
    )


def _random_unets(unet: UNet2DConditionModel, context_width: int) -> list[UNet2DConditionModel]:
    """Build two U-Nets of equal random weights, of the architecture of one."""
    config = {**unet.config, "cross_attention_dim": context_width}
    unets = [UNet2DConditionModel.from_config(config).to(unet.dtype) for _ in range(2)]
    unets[1].load_state_dict(unets[0].state_dict())
    return unets


def _find_base(base: str, download: bool) -> Path:
    folder = Path(base).expanduser()
    if not folder.is_dir():
        folder = hub_folder(base, key=KEY, wanted=_WANTED, unwanted=PICKLES, download=download)
    missing = [part for part in ("unet", "vae", "scheduler") if not (folder / part).is_dir()]
    if missing:
        raise ValueError(
            f"expected a Stable Diffusion pipeline in diffusers layout in {folder}, got none with "
            f"{', '.join(missing)}; choose another {KEY}"
        )
    return folder


def _encoder_folders(folder: Path, image_encoder: str, download: bool) -> tuple[Path, Path]:
    """Find the folders of the image encoder and of its image processor."""
    if image_encoder:
        found = find_model_folder(image_encoder, key=ENCODER_KEY, download=download)
        return found, found
    if not (folder / "image_encoder").is_dir():
        raise ValueError(
            f"expected an image encoder in {folder} or in {ENCODER_KEY}, got neither; set "
            f"{ENCODER_KEY} openai/clip-vit-large-patch14 for Stable Diffusion v1"
        )
    return folder / "image_encoder", folder / "feature_extractor"
