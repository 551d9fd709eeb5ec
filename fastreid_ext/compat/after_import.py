"""Repairs after ``import fastreid`` and before a trainer is built."""

import functools
import importlib.metadata
import inspect
import logging
import os
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from fastreid_ext.compat.device_waits import (
    check_labels_on_the_device,
    count_queue_on_the_device,
    keep_scalars_on_the_device,
)
from fastreid_ext.compat.losses import (
    compute_losses_in_full_precision,
    compute_margins_in_full_precision,
)
from fastreid_ext.compat.optimizers import clip_all_gradients_together, honour_no_weight_decay
from fastreid_ext.compat.sync_batch_norm import sync_batch_norm_on_cpu

logger = logging.getLogger(__name__)

TESTED_FASTREID = "1.4.0"


def _already(function: Any) -> bool:
    return getattr(function, "_fastreid_ext", False)


def _mark(function: Any) -> Any:
    function._fastreid_ext = True
    return function


def keep_flat_gradients() -> None:
    """Make ``optimizer.zero_grad()`` zero the gradients instead of dropping them.

    fastreid flattens all parameters into a few buffers (``ContiguousParams``) and the optimizer
    sees only the buffers. Since torch 2.0 ``zero_grad`` sets ``grad = None`` by default, which cuts
    the buffers off: the optimizer then skips every parameter and *nothing is learned*, without an
    error.
    """
    import fastreid.engine.defaults as defaults
    import fastreid.solver as solver

    if _already(solver.build_optimizer):
        return
    original = solver.build_optimizer

    @functools.wraps(original)
    def build_optimizer(*args: Any, **kwargs: Any) -> tuple[torch.optim.Optimizer, Any]:
        optimizer, param_wrapper = original(*args, **kwargs)
        optimizer.zero_grad = functools.partial(optimizer.zero_grad, set_to_none=False)
        return optimizer, param_wrapper

    solver.build_optimizer = defaults.build_optimizer = _mark(build_optimizer)


def load_without_cuda() -> None:
    """Replace ``DataLoaderX``, which always creates a CUDA stream, by a plain one off the GPU."""
    import fastreid.data.build as build
    import fastreid.data.data_utils as data_utils

    if torch.cuda.is_available() or _already(data_utils.DataLoaderX):
        return

    @_mark
    class DataLoaderX(torch.utils.data.DataLoader):
        """DataLoader with fastreid's signature whose batches stay on the CPU."""

        def __init__(self, local_rank: int, **kwargs: Any) -> None:
            super().__init__(**{**kwargs, "pin_memory": False})

        def shutdown(self) -> None:
            """Do nothing, since there is no prefetch thread to stop."""

    build.DataLoaderX = data_utils.DataLoaderX = DataLoaderX


def evaluate_without_compiler() -> None:
    """Stop the evaluator from compiling Cython code, and from ending the process if it cannot.

    Our evaluator counts ranks instead (``fastreid_ext.evaluation.ranking``); fastreid's own falls
    back to Python.
    """
    from fastreid.evaluation import ReidEvaluator

    if not _already(ReidEvaluator._compile_dependencies):
        ReidEvaluator._compile_dependencies = _mark(lambda self: None)


def accept_old_affine_arguments() -> None:
    """Let ``INPUT.AFFINE`` work with the arguments of today's ``RandomAffine``.

    torchvision renamed ``resample``/``fillcolor`` to ``interpolation``/``fill``.
    """
    import fastreid.data.transforms.build as build
    import torchvision.transforms as T

    if build.T is not T or "resample" in inspect.signature(T.RandomAffine.__init__).parameters:
        return
    proxy = types.ModuleType(T.__name__)
    proxy.__dict__.update(vars(T))

    def random_affine(*args: Any, resample: Any = None, fillcolor: Any = 0, **kwargs: Any) -> Any:
        interpolation = resample or T.InterpolationMode.NEAREST
        return T.RandomAffine(*args, interpolation=interpolation, fill=fillcolor or 0, **kwargs)

    proxy.RandomAffine = random_affine
    build.T = proxy


def normalise_out_of_place() -> None:
    """Normalise a copy of the batch in Baseline and MGN.

    fastreid writes into the batch, so that a second forward pass on it (``TEST.FLIP``) normalises
    twice.
    """
    from fastreid.modeling.meta_arch import mgn
    from fastreid.modeling.meta_arch.baseline import Baseline

    for architecture in (Baseline, mgn.MGN):
        original = architecture.preprocess_image
        if not _already(original):
            architecture.preprocess_image = _mark(_on_a_copy(original))


def _on_a_copy(preprocess_image: Any) -> Any:
    @functools.wraps(preprocess_image)
    def wrapped(self: Any, batched_inputs: Any) -> torch.Tensor:
        if isinstance(batched_inputs, dict):
            return preprocess_image(
                self, {**batched_inputs, "images": batched_inputs["images"].clone()}
            )
        if isinstance(batched_inputs, torch.Tensor):
            batched_inputs = batched_inputs.clone()
        return preprocess_image(self, batched_inputs)

    return wrapped


def freeze_whole_names() -> None:
    """Let ``MODEL.FREEZE_LAYERS: [b1]`` freeze ``b1``, and not ``b1_head`` as well.

    fastreid treats the names as beginnings of parameter names. MGN's recipe, meant to freeze
    backbone and branches while the heads learn, then freezes everything: nothing is trained for
    ``SOLVER.FREEZE_ITERS`` iterations.
    """
    import fastreid.solver.build as build

    original = build.get_default_optimizer_params
    if _already(original):
        return

    @functools.wraps(original)
    def get_default_optimizer_params(*args: Any, freeze_layers: Any = (), **kwargs: Any) -> Any:
        whole = [rf"(?:{name})(?:\.|$)" for name in freeze_layers]
        return original(*args, freeze_layers=whole, **kwargs)

    build.get_default_optimizer_params = _mark(get_default_optimizer_params)


def find_regnet_files() -> None:
    """Resolve RegNet's and EfficientNet's YAML paths from the package folder."""
    import fastreid
    from fastreid.modeling.backbones.regnet import effnet, regnet

    root = Path(fastreid.__file__).resolve().parent.parent
    for config in (regnet.regnet_cfg, effnet.effnet_cfg):
        if _already(config.merge_from_file):
            continue
        # CfgNode.__setattr__ would make it a key, so the bound method goes into __dict__ directly.
        config.__dict__["merge_from_file"] = _mark(_from_root(config.merge_from_file, root))


def _from_root(merge_from_file: Any, root: Path) -> Any:
    def merge(path: str, *args: Any, **kwargs: Any) -> None:
        return merge_from_file(path if os.path.exists(path) else str(root / path), *args, **kwargs)

    return merge


def build_backbones_with(builder: Callable[[Any], torch.nn.Module]) -> None:
    """Let every meta-architecture, fastreid's and ours, build its backbone with ``builder``.

    fastreid's own functions download weights where ``PRETRAIN_PATH`` is empty, and silently load
    the tensors that fit. Call this with :func:`fastreid_ext.modeling.build.build_backbone` once the
    models are imported.
    """
    from fastreid.modeling import backbones

    original = backbones.build_backbone
    if _already(original):
        return
    _mark(builder)
    for name, module in list(sys.modules.items()):  # wherever it was imported by name
        is_ours = name.startswith(("fastreid.", "fastreid_ext."))
        if is_ours and vars(module).get("build_backbone") is original:
            module.build_backbone = builder


def build_teachers_without_pretraining() -> None:
    """Build Distiller's teachers without the pre-trained weights their ``config.yaml`` names.

    ``KD.MODEL_WEIGHTS`` replaces all of them, and their file may be gone.
    """
    from fastreid.modeling.meta_arch import distiller

    original = distiller.get_cfg  # used for teachers only
    if _already(original):
        return

    @functools.wraps(original)
    def get_cfg() -> Any:
        cfg = original()
        # CfgNode.__setattr__ would make it a key, as in find_regnet_files.
        cfg.__dict__["merge_from_file"] = functools.partial(_merge_without_pretraining, cfg)
        return cfg

    distiller.get_cfg = _mark(get_cfg)


def _merge_without_pretraining(cfg: Any, *args: Any, **kwargs: Any) -> None:
    del cfg.__dict__["merge_from_file"]
    cfg.merge_from_file(*args, **kwargs)
    cfg.MODEL.BACKBONE.PRETRAIN = False


def repair() -> None:
    """Apply every repair that follows ``import fastreid``, before a trainer is built."""
    keep_flat_gradients()
    load_without_cuda()
    evaluate_without_compiler()
    accept_old_affine_arguments()
    normalise_out_of_place()
    honour_no_weight_decay()
    freeze_whole_names()
    clip_all_gradients_together()
    find_regnet_files()
    build_teachers_without_pretraining()
    compute_losses_in_full_precision()
    compute_margins_in_full_precision()
    keep_scalars_on_the_device()
    check_labels_on_the_device()
    count_queue_on_the_device()
    sync_batch_norm_on_cpu()
    installed = fastreid_version()
    if installed not in (TESTED_FASTREID, None):
        logger.warning(
            "fastreid %s is installed; fastreid_ext is tested with %s", installed, TESTED_FASTREID
        )


def fastreid_version() -> str | None:
    """Read the version of the installed fastreid, None for a checkout on PYTHONPATH."""
    try:
        return importlib.metadata.version("fastreid")
    except importlib.metadata.PackageNotFoundError:
        return None
