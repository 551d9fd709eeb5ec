"""Build the parts of a diffusion branch from a configuration: ``MODEL.DIFFUSION``."""

import hashlib
import json
import logging
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from fastreid.config import CfgNode
from torch import nn

from fastreid_ext.diffusion import sd15
from fastreid_ext.diffusion.noising import NoiseSchedule
from fastreid_ext.diffusion.pipeline_folder import (
    expect_base_parts,
    find_base_folder,
    weight_files,
)
from fastreid_ext.diffusion.single_token import attend_to_single_tokens
from fastreid_ext.diffusion.stable_diffusion import read_part
from fastreid_ext.diffusion.weight_files import hash_of_files, read_object
from fastreid_ext.modeling.diffusion_branch.bottlenecks import build_bottleneck
from fastreid_ext.modeling.diffusion_branch.branch import DiffusionBranch
from fastreid_ext.modeling.diffusion_branch.conditions import (
    ClassCondition,
    CorrelationCondition,
    InstanceCondition,
)
from fastreid_ext.modeling.diffusion_branch.trained_parts import train_parts

logger = logging.getLogger(__name__)

KEY = "MODEL.DIFFUSION.BASE_MODEL"


def build_branch(cfg: CfgNode) -> DiffusionBranch:
    """Build the branch of ``MODEL.DIFFUSION`` on ``MODEL.DEVICE``.

    Raises:
        FileNotFoundError: the model is neither here nor in the hub's cache.
        ValueError: the folder holds another kind of model, or one that does not predict noise.
    """
    keys = cfg.MODEL.DIFFUSION
    if not keys.RANDOM_WEIGHTS:
        expect_base_parts(_base_folder(cfg), key=KEY)
    unet = load_unet(cfg)
    if keys.CHANNELS_LAST:
        unet.to(memory_format=torch.channels_last)
    train_parts(unet, keys.UNET, rank=keys.RANK)
    if keys.SINGLE_TOKEN_ATTENTION:
        attend_to_single_tokens(unet)
    if keys.COMPILE:
        unet.compile(backend=keys.COMPILE)
    width = unet.config.cross_attention_dim
    branch = DiffusionBranch(
        unet=unet,
        condition=build_condition(cfg, width),
        bottleneck=build_bottleneck(keys.BOTTLENECK, width),
        schedule=noise_schedule(cfg),
        autoencoder=None if keys.LATENT_CACHE else load_autoencoder(cfg),
        target=keys.TARGET,
    )
    return branch.to(cfg.MODEL.DEVICE)


def build_condition(cfg: CfgNode, width: int) -> nn.Module:
    """Build the condition of ``MODEL.DIFFUSION.CONDITION``.

    Args:
        cfg: configuration with the number of identities and the dimension of features.
        width: width of the U-Net's cross-attention.
    """
    keys = cfg.MODEL.DIFFUSION
    identities = cfg.MODEL.HEADS.NUM_CLASSES
    if keys.CONDITION == "instance":
        dim = cfg.MODEL.HEADS.EMBEDDING_DIM or cfg.MODEL.BACKBONE.FEAT_DIM
        return InstanceCondition(dim, width)
    if keys.CONDITION == "class":
        return ClassCondition(identities, width)
    return CorrelationCondition(identities, width, keys.TEMPERATURE)


def load_unet(cfg: CfgNode) -> UNet2DConditionModel:
    """Load the U-Net in ``MODEL.DIFFUSION.DTYPE``, or build it with random weights."""
    keys = cfg.MODEL.DIFFUSION
    dtype = getattr(torch, keys.DTYPE)
    if keys.RANDOM_WEIGHTS or keys.UNET == "scratch":
        settings = _settings(cfg, "unet", dict(sd15.UNET))
        # Not the method of diffusers, which warns about modules that Stable Diffusion lacks.
        return nn.Module.to(UNet2DConditionModel.from_config(settings), dtype)
    return read_part(UNet2DConditionModel, _base_folder(cfg) / "unet", dtype)


def load_autoencoder(cfg: CfgNode) -> AutoencoderKL:
    """Load the VAE in float32, frozen, on ``MODEL.DEVICE``."""
    if cfg.MODEL.DIFFUSION.RANDOM_WEIGHTS:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # latents of a cache must fit those of every later start
            autoencoder = AutoencoderKL.from_config(_settings(cfg, "vae", dict(sd15.VAE)))
        autoencoder.eval().requires_grad_(False)
    else:
        folder = _base_folder(cfg)
        expect_base_parts(folder, key=KEY)  # latents may be encoded before the branch is built
        autoencoder = read_part(AutoencoderKL, folder / "vae", torch.float32)
    autoencoder.left_out_of_checkpoints = True
    return autoencoder.to(cfg.MODEL.DEVICE)


def autoencoder_fingerprint(cfg: CfgNode) -> str:
    """Hash weights and configuration of the VAE, without loading it.

    Equal files have equal fingerprints, in whatever folder they lie.

    Returns:
        12 hexadecimal digits of a SHA-256; for random weights "random-" and those of the
        configuration.
    """
    if cfg.MODEL.DIFFUSION.RANDOM_WEIGHTS:
        logger.warning("latents of a VAE with random weights (MODEL.DIFFUSION.RANDOM_WEIGHTS)")
        settings = json.dumps(_settings(cfg, "vae", dict(sd15.VAE)), sort_keys=True)
        return f"random-{hashlib.sha256(settings.encode()).hexdigest()[:12]}"
    folder = _base_folder(cfg) / "vae"
    # The configuration too, which has the factor that scales the latents.
    return hash_of_files([folder / "config.json", *weight_files(folder)])


def noise_schedule(cfg: CfgNode) -> NoiseSchedule:
    """Read the noise schedule that the U-Net was trained with.

    Raises:
        ValueError: the model predicts something else than noise.
    """
    settings = _settings(cfg, "scheduler", dict(sd15.SCHEDULER))
    with torch.device("cpu"):  # also where a model is built without data, on "meta"
        schedule = NoiseSchedule.from_scheduler(DDPMScheduler.from_config(settings).config)
    if schedule.prediction_type != "epsilon":
        raise ValueError(
            f"expected a model that predicts noise (epsilon) as {KEY}, got one that predicts "
            f"{schedule.prediction_type}; Stable Diffusion 1.x and 2-base do"
        )
    return schedule


def _base_folder(cfg: CfgNode) -> Path:
    keys = cfg.MODEL.DIFFUSION
    return find_base_folder(
        keys.BASE_MODEL, revision=keys.REVISION, download=keys.DOWNLOAD, key=KEY
    )


def _settings(cfg: CfgNode, part: str, of_sd15: dict[str, object]) -> dict[str, object]:
    """Read the configuration of a part; that of Stable Diffusion 1.5 where no folder is needed."""
    keys = cfg.MODEL.DIFFUSION
    if keys.RANDOM_WEIGHTS and not Path(keys.BASE_MODEL).expanduser().is_dir():
        return of_sd15
    folder = Path(keys.BASE_MODEL).expanduser() if keys.RANDOM_WEIGHTS else _base_folder(cfg)
    name = "scheduler_config.json" if part == "scheduler" else "config.json"
    return read_object(folder / part / name)
