"""Compute the cost of a job before it starts: operations, hours, memory and disk.

The models are built from their configuration files on torch's meta device, where a forward pass
computes shapes only, and their operations are counted. Nothing is measured, so hours are for an
assumed speed.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from fastreid.config import CfgNode
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fastreid_ext.diffusion.pipeline_folder import find_base_folder
from fastreid_ext.diffusion.weight_files import read_object
from fastreid_ext.generation.fine_tuning.fine_tuned_files import unet_without_weights
from fastreid_ext.generation.fine_tuning.lora_bank import LoraBank
from fastreid_ext.generation.stages.job import Job

_TRAINED = 16  # bytes of a trained number: weight, gradient and AdamW's two means, float32
# Operations of a backward pass in units of a forward pass: gradients of activations, and of weights
# where all of them are trained.
_BACKWARD = {"lora": 1, "full": 2}
_TOKENS = 77


@dataclasses.dataclass(frozen=True)
class Plan:
    """Cost of a job; operations in TFLOP (a multiplication and an addition are two).

    Attributes:
        identities: number of identities of the job.
        reference_sets: assumed number of reference sets.
        unet_row: operations of one row of the U-Net in TFLOP.
        image: operations of one image in TFLOP.
        fine_tuning: operations of fine-tuning one identity in TFLOP.
        reference_set: operations of one reference set in TFLOP.
        tuning_bytes: memory of fine-tuning in bytes: weights, adapters and activations kept for the
            backward pass.
        sampling_bytes: memory of the sampling model's weights in bytes.
        disk_bytes: size of the job on the disk in bytes.
        images: number of images of each identity.
    """

    identities: int
    reference_sets: int
    unet_row: float
    image: float
    fine_tuning: float
    reference_set: float
    tuning_bytes: int
    sampling_bytes: int
    disk_bytes: int
    images: int

    @property
    def operations(self) -> float:
        """Operations of the whole job, TFLOP, without captions and filters."""
        identity = self.fine_tuning + self.images * self.image
        return self.identities * identity + self.reference_sets * self.reference_set

    def table(self, speed: float, gpus: int) -> list[tuple[str, str]]:
        """List the costs as rows of (quantity, number).

        Args:
            speed: assumed speed of a GPU in TFLOP/s.
            gpus: number of GPUs that share the job.
        """
        seconds = (self.fine_tuning + self.images * self.image) / speed
        return [
            ("identities, images of each", f"{self.identities}, {self.images}"),
            ("one row of the U-Net", f"{self.unet_row:.3f} TFLOP"),
            ("one image", f"{self.image:.1f} TFLOP, {self.image / speed:.2f} s"),
            ("fine-tuning an identity", f"{self.fine_tuning:.0f} TFLOP"),
            ("an identity", f"{seconds:.0f} s of a GPU"),
            (
                f"{self.reference_sets} reference sets",
                f"{self.reference_sets * self.reference_set / speed / 3600:.1f} h of a GPU",
            ),
            ("the job", f"{self.operations / speed / 3600 / gpus:.1f} h on {gpus} GPUs"),
            ("memory of fine-tuning", f"{self.tuning_bytes / 1e9:.1f} GB"),
            ("memory of sampling weights", f"{self.sampling_bytes / 1e9:.1f} GB"),
            ("disk", f"{self.disk_bytes / 1e9:.1f} GB"),
        ]


def plan_of(cfg: CfgNode, identities: int, reference_sets: int) -> Plan:
    """Compute the costs of a job.

    Args:
        cfg: full configuration of the job.
        identities: number of identities, which the data set decides.
        reference_sets: number of reference sets, which the captions decide.

    Raises:
        FileNotFoundError: the base model is missing.
    """
    job = Job.to_read(cfg)
    generation = cfg.GENERATION
    sampling = generation.SAMPLING
    folder = find_base_folder(
        generation.BASE_MODEL, revision=generation.REVISION, download=generation.DOWNLOAD
    )
    dtype = getattr(torch, generation.DTYPE)
    unet = nn.Module.to(unet_without_weights(folder), dtype)
    vae = nn.Module.to(_vae_without_weights(folder), dtype)
    unit = 2 ** (len(vae.config.block_out_channels) - 1)
    size = tuple(side // unit for side in generation.SIZE)
    row = _operations(unet, *_inputs(unet, 1, size))
    latent = torch.zeros(1, vae.config.latent_channels, *size, device="meta", dtype=dtype)
    decoded = _operations(vae.decoder, latent)
    rows = 2 if sampling.GUIDANCE_SCALE > 1 else 1
    image = sampling.STEPS * rows * row + decoded
    tuning = generation.FINE_TUNING
    references = generation.REFERENCE_SET.IMAGES
    passes = (
        tuning.STEPS * tuning.GRADIENT_ACCUMULATION * tuning.BATCH_SIZE * (2 if references else 1)
    )
    return Plan(
        identities=identities,
        reference_sets=reference_sets if references else 0,
        unet_row=row,
        image=image,
        fine_tuning=passes * row * (1 + _BACKWARD[tuning.METHOD] + tuning.GRADIENT_CHECKPOINTING),
        reference_set=references * image,
        tuning_bytes=_tuning_bytes(cfg, unet, vae, size),
        sampling_bytes=(_count(unet) + _count(vae)) * dtype.itemsize,
        disk_bytes=identities * job.identity_bytes
        + (reference_sets * references * job.reference_bytes),
        images=sampling.IMAGES_PER_IDENTITY,
    )


def _tuning_bytes(cfg: CfgNode, unet: nn.Module, vae: nn.Module, size: tuple[int, int]) -> int:
    tuning = cfg.GENERATION.FINE_TUNING
    dtype = getattr(torch, cfg.GENERATION.DTYPE)
    rows = tuning.BATCH_SIZE * (2 if cfg.GENERATION.REFERENCE_SET.IMAGES else 1)
    frozen = (_count(unet) + _count(vae)) * dtype.itemsize
    if tuning.METHOD == "full":
        return frozen + _count(unet) * _TRAINED + _kept_bytes(unet, rows, size, cfg)
    together = tuning.IDENTITIES_AT_ONCE
    options = {"rank": tuning.RANK, "alpha": tuning.ALPHA, "target_modules": tuning.TARGET_MODULES}
    bank = LoraBank(unet, count=together, **options)
    bank.select([k for k in range(together) for _ in range(rows)])
    kept = _kept_bytes(unet, together * rows, size, cfg)
    bank.remove()
    return frozen + together * bank.size * _TRAINED + kept


def _kept_bytes(unet: nn.Module, rows: int, size: tuple[int, int], cfg: CfgNode) -> int:
    """Count the bytes of activations that a forward pass keeps for the backward pass."""
    if cfg.GENERATION.FINE_TUNING.GRADIENT_CHECKPOINTING:
        unet.enable_gradient_checkpointing()
    unet.train().requires_grad_(cfg.GENERATION.FINE_TUNING.METHOD == "full")
    known = {part.untyped_storage()._cdata for part in unet.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(value: torch.Tensor) -> torch.Tensor:
        storage = value.untyped_storage()
        if storage._cdata not in known:
            kept[storage._cdata] = storage  # held, so that no other gets its place
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        result = unet(*_inputs(unet, rows, size)).sample
    del result
    return sum(storage.nbytes() for storage in kept.values())


def _operations(part: nn.Module, *inputs: torch.Tensor) -> float:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        part(*inputs)
    return counter.get_total_flops() / 1e12


def _inputs(unet: nn.Module, rows: int, size: tuple[int, int]) -> Iterator[torch.Tensor]:
    """Yield noisy latents, steps and prompts of a batch."""
    options = {"device": "meta", "dtype": next(unet.parameters()).dtype}
    yield torch.zeros(rows, unet.config.in_channels, *size, **options)
    yield torch.zeros(rows, device="meta")
    yield torch.zeros(rows, _TOKENS, unet.config.cross_attention_dim, **options)


def _vae_without_weights(folder: Path) -> AutoencoderKL:
    with torch.device("meta"):
        return AutoencoderKL.from_config(read_object(folder / "vae" / "config.json"))


def _count(part: nn.Module) -> int:
    return sum(parameter.numel() for parameter in part.parameters())
