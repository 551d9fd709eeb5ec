"""Measurement of the diffusion branch for ``tools/benchmarks/diffusion_branch.py``.

A variant is a training step with the branch, of one mode or with one key changed. It is built,
measured in turn with the baseline (the model without branch) and with the reference variant, and
dropped, so that a GPU holds three models at most.
"""

import dataclasses
import functools
import gc
import importlib
import importlib.util
import json
import os
import shutil
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from fastreid.config import CfgNode
from fastreid.modeling.meta_arch import build_model
from fastreid.utils.events import EventStorage
from torch import nn

from fastreid_ext.config import load_config
from fastreid_ext.diffusion import sd15
from fastreid_ext.modeling.diffusion_branch import add_diffusion_branch
from measuring.timing import median_ratio, peak_extra_mib, seconds_in_turns
from measuring.training_step import build_step, random_batch

MODES = ("frozen", "lora", "partial1", "partial2", "full")
LEVERS = ("latents", "dtype", "attention", "gradients", "layout", "compile")
BASELINE = "baseline"
_KEYS = "MODEL.DIFFUSION"
_IN_BATCHES = "latents come with each batch"  # any LATENT_CACHE: no autoencoder is loaded
_MOST_WARM_UPS = 20  # steps; loss scaling of float16 skips the first few

_SHARED = {
    "MODEL.META_ARCHITECTURE": "PrototypeBaseline",
    "MODEL.BACKBONE.PRETRAIN": False,
    "MODEL.BACKBONE.FREEZE_PATCH_EMBED": True,
    "MODEL.BACKBONE.FEAT_DIM": 0,
    "MODEL.HEADS.NUM_CLASSES": 751,
    "MODEL.HEADS.WITH_BNNECK": True,
    "MODEL.HEADS.NECK_FEAT": "after",
    "MODEL.LOSSES.NAME": ("CrossEntropyLoss", "PrototypeContrastLoss"),
    "MODEL.DIFFUSION.ENABLED": True,
    "MODEL.DIFFUSION.RANDOM_WEIGHTS": True,
    "MODEL.DIFFUSION.LATENT_CACHE": _IN_BATCHES,
    "INPUT.CLEAN_VIEW.SIZE": [128, 128],
    "DATALOADER.NUM_INSTANCE": 4,
    "SOLVER.OPT": "Adam",
}
# DCAC's own models and sizes, and the same at about a hundredth of the arithmetic.
_SIZES = {
    "full": {
        "MODEL.BACKBONE.NAME": "build_clip_vit_backbone",
        "MODEL.BACKBONE.DEPTH": "base",
        "INPUT.SIZE_TRAIN": [256, 128],
        "INPUT.SIZE_TEST": [256, 128],
        "SOLVER.IMS_PER_BATCH": 64,
    },
    "small": {
        "MODEL.BACKBONE.NAME": "build_plain_vit_backbone",
        "MODEL.BACKBONE.DEPTH": "tiny",
        "INPUT.SIZE_TRAIN": [128, 64],
        "INPUT.SIZE_TEST": [128, 64],
        "SOLVER.IMS_PER_BATCH": 16,
    },
}
SIZES = tuple(_SIZES)
# Stable Diffusion 1.5 with a tenth of its channels; one head keeps the channels of a head.
_SMALL_PARTS = {
    "unet/config.json": sd15.UNET
    | {"block_out_channels": (32, 64, 128, 128), "attention_head_dim": 1},
    "vae/config.json": sd15.VAE | {"block_out_channels": (16, 32, 64, 64), "norm_num_groups": 16},
    "scheduler/scheduler_config.json": dict(sd15.SCHEDULER),
}


@dataclasses.dataclass(frozen=True)
class Variant:
    """A training step to be measured.

    Attributes:
        name: name of the variant's row.
        keys: changed keys of ``MODEL.DIFFUSION``, without that prefix.
        has_branch: whether the model has a diffusion branch at all.
        all_gradients: whether gradients of all weights of the U-Net are computed, also of those
            that no optimizer updates.
    """

    name: str
    keys: Mapping[str, object] = dataclasses.field(default_factory=dict)
    has_branch: bool = True
    all_gradients: bool = False


@dataclasses.dataclass(frozen=True)
class Figures:
    """Time and memory of a variant.

    Attributes:
        name: name of the variant's row.
        seconds: median seconds of a step; None where it was skipped.
        mib: most memory in MiB of weights, gradients, optimizer and activations together.
        step: median ratio of its step to the baseline's.
        memory: ratio of its memory to the baseline's.
        step_of_reference: median ratio of its step to the reference's.
        memory_of_reference: ratio of its memory to the reference's.
        skipped: reason why it was not measured; "" for none.
    """

    name: str
    seconds: float | None = None
    mib: float | None = None
    step: float | None = None
    memory: float | None = None
    step_of_reference: float | None = None
    memory_of_reference: float | None = None
    skipped: str = ""


def read_configuration(
    size: str, device: str, folder: Path, pairs: Sequence[str] = (), **changes: object
) -> CfgNode:
    """Build the configuration of the reference; on CUDA with mixed precision and half weights.

    Args:
        size: "full" for DCAC's own models and sizes, or "small".
        device: device of the model, such as "cuda" or "cpu".
        folder: folder for the configuration of a small Stable Diffusion.
        pairs: keys and values in turn that replace those of the size.
        changes: keys of ``MODEL.DIFFUSION``, which come last.
    """
    keys = {"MODEL.DEVICE": device} | _SHARED | _SIZES[size]
    if size == "small":
        write_small_parts(folder)
        keys[f"{_KEYS}.BASE_MODEL"] = str(folder)
    if device.startswith("cuda"):
        keys["SOLVER.AMP.ENABLED"] = True
        keys[f"{_KEYS}.DTYPE"] = "float16"  # that of SOLVER.AMP
    last = {f"{_KEYS}.{key}": value for key, value in changes.items()}
    return load_config("", [*_words(keys), *pairs, *_words(last)])


def write_small_parts(folder: Path) -> None:
    """Write the configuration, without weights, of a small Stable Diffusion."""
    for name, settings in _SMALL_PARTS.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(settings))


def build_levers(reference: str, dtype: str, names: Sequence[str] = LEVERS) -> list[Variant]:
    """List variants that differ from the reference in one thing.

    Args:
        reference: mode of the U-Net in the reference.
        dtype: dtype of frozen weights in the reference.
        names: levers to list, each a name in :data:`LEVERS`.
    """
    other = "bfloat16" if dtype == "float32" else "float32"
    levers = {
        "latents": Variant("VAE in each step", {"LATENT_CACHE": ""}),
        "dtype": Variant(f"frozen weights in {other}", {"DTYPE": other}),
        "attention": Variant("plain cross-attention", {"SINGLE_TOKEN_ATTENTION": False}),
        "gradients": Variant("gradients of all weights", all_gradients=True),
        "layout": Variant("channels-last", {"CHANNELS_LAST": True}),
        "compile": Variant("compiled", {"COMPILE": "inductor"}),
    }
    chosen = [levers[name] for name in names]
    return [
        dataclasses.replace(
            one, name=f"{reference}, {one.name}", keys={"UNET": reference, **one.keys}
        )
        for one in chosen
    ]


def measure(
    modes: Sequence[str],
    levers: Sequence[str],
    read: Callable[..., CfgNode],
    rounds: int,
) -> Iterator[Figures]:
    """Measure the baseline, each mode, and each lever of the reference.

    Args:
        modes: trained parts of the U-Net, each a name in :data:`MODES`.
        levers: levers of the reference, each a name in :data:`LEVERS`.
        read: function from changed keys of ``MODEL.DIFFUSION`` to a configuration.
        rounds: number of rounds, in each of which baseline, reference and variant run one step.

    Yields:
        Figures of the baseline, of the modes and of the levers.
    """
    reference = reference_of(modes)
    device = read().MODEL.DEVICE
    first = [Variant(BASELINE, has_branch=False), Variant(reference, {"UNET": reference})]
    variants = first[:1] + [Variant(mode, {"UNET": mode}) for mode in modes]
    variants += build_levers(reference, read().MODEL.DIFFUSION.DTYPE, levers)
    memory: dict[str, float] = {}
    if device == "cpu":
        torch.set_num_threads(1)
        memory = _memory_of_processes(variants, read)
    residents: dict[str, Callable[[], object]] = {}
    with EventStorage():
        for variant in first:
            residents[variant.name] = start(variant, read(**variant.keys), memory)
        for variant in variants:
            reason = reason_to_skip(variant, device)
            if reason:
                yield Figures(variant.name, skipped=reason)
                continue
            steps = dict(residents)
            if variant.name not in steps:
                steps[variant.name] = start(variant, read(**variant.keys), memory)
            times = seconds_in_turns(steps, rounds, device)
            yield figures_of(variant.name, reference, times, memory)
            steps.clear()
            _forget(device)


def reference_of(modes: Sequence[str]) -> str:
    """Choose the reference: "lora", DCAC's own mode, or the first mode if that is not among them.

    Args:
        modes: trained parts of the U-Net, each a name in :data:`MODES`.
    """
    return "lora" if "lora" in modes else modes[0]


def figures_of(
    name: str,
    reference: str,
    times: Mapping[str, Sequence[float]],
    memory: Mapping[str, float],
) -> Figures:
    """Compute the ratios of a variant.

    Args:
        name: name of the variant.
        reference: name of the reference variant.
        times: seconds by round of baseline, reference and variant.
        memory: most MiB of baseline, reference and variant.
    """
    return Figures(
        name,
        seconds=statistics.median(times[name]),
        mib=memory[name],
        step=median_ratio(times[name], times[BASELINE]),
        memory=memory[name] / memory[BASELINE],
        step_of_reference=median_ratio(times[name], times[reference]),
        memory_of_reference=memory[name] / memory[reference],
    )


def start(variant: Variant, cfg: CfgNode, memory: dict[str, float]) -> Callable[[], object]:
    """Build a variant's step and run its first steps.

    Args:
        variant: variant to be built.
        cfg: configuration of the variant.
        memory: MiB by name of variant; this one's are added where they are missing: what torch's
            allocator holds at most, without what it held before.

    Returns:
        Function that runs one step.
    """
    if variant.name in memory:
        return _begin(variant, cfg)
    kept: list[Callable[[], object]] = []
    mib = peak_extra_mib(lambda: kept.append(_begin(variant, cfg)), cfg.MODEL.DEVICE)
    memory[variant.name] = mib
    return kept[0]


def _memory_of_processes(
    variants: Sequence[Variant], read: Callable[..., CfgNode]
) -> dict[str, float]:
    """Measure the growth of the resident memory of a forked process for each variant.

    That includes the scratch memory of oneDNN, which torch's own counter does not see. No model
    has run in this process yet: its freed memory would be used again without growth.
    """
    memory = {}
    for module in ("attached", "parts"):  # imports are no memory of a step
        importlib.import_module(f"fastreid_ext.modeling.diffusion_branch.{module}")
    for variant in variants:
        cfg = read(**variant.keys)
        if not reason_to_skip(variant, "cpu"):
            with EventStorage():
                memory[variant.name] = peak_extra_mib(
                    functools.partial(_begin, variant, cfg), "cpu"
                )
    return memory


def reason_to_skip(variant: Variant, device: str) -> str:
    """Name the compiler that a compiled variant lacks on a device; "" if it can be measured.

    Args:
        variant: variant of a lever or a mode.
        device: device of the model, such as "cuda" or "cpu".
    """
    if not variant.keys.get("COMPILE"):
        return ""
    if device.startswith("cuda") and importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    if not any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++")):
        return "no C++ compiler (CXX, g++, clang++)"
    return ""


def _begin(variant: Variant, cfg: CfgNode) -> Callable[[], bool]:
    step = _build(variant, cfg)
    _warm_up(step)
    return step


def _build(variant: Variant, cfg: CfgNode) -> Callable[[], bool]:
    device = torch.device(cfg.MODEL.DEVICE)
    model = build_model(cfg)
    batch = random_batch(cfg)
    if not variant.has_branch:
        return build_step(cfg, model, batch)
    with device:  # random weights of 860 million parameters take a CPU many seconds
        add_diffusion_branch(model, cfg)
    step = build_step(cfg, model, batch | _clean_view(cfg))
    if variant.all_gradients:
        return _with_all_gradients(step, model.diffusion_branch.unet)
    return step


def _clean_view(cfg: CfgNode) -> dict[str, Any]:
    """Build what the branch reads of a batch: latents (B, 2, 4, h, w), or images (B, 3, H, W)."""
    count = cfg.SOLVER.IMS_PER_BATCH
    height, width = cfg.INPUT.CLEAN_VIEW.SIZE
    device = cfg.MODEL.DEVICE
    if cfg.MODEL.DIFFUSION.LATENT_CACHE:
        return {"latents": torch.rand((count, 2, 4, height // 8, width // 8), device=device)}
    return {"clean_images": torch.rand((count, 3, height, width), device=device) * 255}


def _with_all_gradients(step: Callable[[], bool], unet: nn.Module) -> Callable[[], bool]:
    """Let backward passes compute gradients of frozen weights too, which nothing updates."""
    frozen = [parameter for parameter in unet.parameters() if not parameter.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(True)

    def run() -> bool:
        for parameter in frozen:
            parameter.grad = None
        return step()

    return run


def _warm_up(step: Callable[[], bool]) -> None:
    """Run at least two steps, until one updates the model and the optimizer has its state."""
    step()
    for _ in range(_MOST_WARM_UPS):
        if step():
            return
    raise RuntimeError(
        f"expected a step that updates the model, got {_MOST_WARM_UPS} whose gradients overflow; "
        "set SOLVER.AMP.DTYPE and MODEL.DIFFUSION.DTYPE bfloat16"
    )


def _forget(device: str) -> None:
    gc.collect()
    torch.compiler.reset()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()


def _words(keys: Mapping[str, object]) -> list[str]:
    """Write keys and values as the words of a command."""
    words: list[str] = []
    for key, value in keys.items():
        words += [key, value if isinstance(value, str) else repr(value)]
    return words
