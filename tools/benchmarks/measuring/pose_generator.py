"""The pose-guided generator with random weights, and a clock for the parts of its work."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import nn
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

from fastreid_ext.diffusion import sd15
from fastreid_ext.diffusion.pose_guided import PoseGuidedPipeline, PoseGuider
from fastreid_ext.diffusion.pose_guided.pipeline import PARTS
from fastreid_ext.diffusion.tiny.pose_guided import tiny_pose_guided
from fastreid_ext.diffusion.tiny.sizes import MINIATURE, TEST

SIZES = {"sd1": (384, 192), "miniature": (64, 32), "test": (32, 16)}  # pixels of images
_TINY = {"miniature": MINIATURE, "test": TEST}

REFERENCE = "reference pass"
GUIDERS = "pose guiders"
DENOISER = "denoiser"


def random_generator(
    size: str, device: torch.device, dtype: torch.dtype = torch.float32
) -> PoseGuidedPipeline:
    """Build a generator; what its parts cost does not depend on their weights.

    Args:
        size: "sd1", two U-Nets and a VAE of Stable Diffusion 1.5 and CLIP ViT-L/14; "miniature",
            the models of the miniature replication; or "test".
        device: where it is built.
        dtype: dtype of the weights.
    """
    pipeline = tiny_pose_guided(_TINY[size]).to(device) if size in _TINY else _large(device)
    for part in (getattr(pipeline, name) for name in PARTS):
        nn.Module.to(part, dtype)  # diffusers' own warns of modules that these do not have
    return pipeline


def _large(device: torch.device) -> PoseGuidedPipeline:
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), device:
        torch.manual_seed(0)
        return PoseGuidedPipeline(
            vae=AutoencoderKL(**sd15.VAE).eval(),
            unet=UNet2DConditionModel(**sd15.UNET),
            reference_unet=UNet2DConditionModel(**sd15.UNET),
            pose_guider=PoseGuider(),
            image_encoder=CLIPVisionModelWithProjection(_vit_large()).eval(),
            feature_extractor=CLIPImageProcessor(),
            scheduler=DDIMScheduler(**sd15.SCHEDULER),
        )


def _vit_large() -> CLIPVisionConfig:
    """Return the sizes of ViT-L/14, the image encoder of sd-image-variations."""
    return CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        patch_size=14,
        image_size=224,
        projection_dim=768,
    )


@dataclasses.dataclass
class PartClock:
    """Seconds of the parts of some work: CPU seconds, on CUDA wall time to the end of its work.

    Attributes:
        device: device that the work runs on.
        seconds: seconds of each part so far.
    """

    device: torch.device
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)

    def now(self) -> float:
        """Wait for the device and read the clock."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            return time.perf_counter()
        return time.process_time()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the time of a block to a part."""
        began = self.now()
        yield
        self._add(name, self.now() - began)

    @contextmanager
    def forward_passes(self, modules: Mapping[str, nn.Module]) -> Iterator[None]:
        """Add the forward passes of modules within a block to the parts of their names."""
        with ExitStack() as stack:
            for name, module in modules.items():
                begins: list[float] = []
                before, after = self._hooks(name, begins)
                stack.enter_context(module.register_forward_pre_hook(before))
                stack.enter_context(module.register_forward_hook(after))
            yield

    def shares(self, whole: float) -> dict[str, float]:
        """Return the share of each part in ``whole`` seconds, and that of the rest."""
        found = {name: value / whole for name, value in self.seconds.items()}
        return found | {"rest": 1 - sum(found.values())}

    def _hooks(self, name: str, begins: list[float]) -> tuple[Callable, Callable]:
        def before(module: nn.Module, inputs: Any) -> None:
            begins.append(self.now())

        def after(module: nn.Module, inputs: Any, output: Any) -> None:
            self._add(name, self.now() - begins.pop())

        return before, after

    def _add(self, name: str, seconds: float) -> None:
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds
