"""A tiny real U-Net, and diffusion branches with it."""

import copy
from collections.abc import Callable

import pytest
import torch
from diffusers import UNet2DConditionModel

from fastreid_ext.diffusion.noising import NoiseSchedule
from fastreid_ext.diffusion.stable_diffusion import read_part
from fastreid_ext.diffusion.tiny.models import build_scheduler
from fastreid_ext.modeling.diffusion_branch.bottlenecks import build_bottleneck
from fastreid_ext.modeling.diffusion_branch.branch import DiffusionBranch
from fastreid_ext.modeling.diffusion_branch.conditions import CorrelationCondition
from fastreid_ext.modeling.diffusion_branch.trained_parts import train_parts

IDENTITIES = 5


@pytest.fixture(scope="session")
def tiny_unet(tiny_pipeline_folder) -> UNet2DConditionModel:
    """The tiny pipeline's U-Net, frozen; not to be changed."""
    return read_part(UNet2DConditionModel, tiny_pipeline_folder / "unet", torch.float32)


@pytest.fixture
def read_unet(tiny_unet) -> Callable[..., UNet2DConditionModel]:
    """Return a function that copies this U-Net."""

    def read(dtype: torch.dtype = torch.float32) -> UNet2DConditionModel:
        return copy.deepcopy(tiny_unet).to(dtype)

    return read


@pytest.fixture
def make_branch(read_unet) -> Callable[..., DiffusionBranch]:
    """Return a function that builds a branch; equal weights and prompts at every call."""

    def make(mode: str = "lora", dtype: torch.dtype = torch.float32, **parts) -> DiffusionBranch:
        unet = read_unet(dtype)
        width = unet.config.cross_attention_dim
        torch.manual_seed(0)
        train_parts(unet, mode, rank=2)
        defaults = {
            "unet": unet,
            "condition": CorrelationCondition(IDENTITIES, width, 1.0),
            "bottleneck": build_bottleneck("identity", width),
            "schedule": NoiseSchedule.from_scheduler(build_scheduler().config),
        }
        return DiffusionBranch(**{**defaults, **parts})

    return make
