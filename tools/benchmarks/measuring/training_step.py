"""A training step of ours on one random batch, again and again: the loader is not measured."""

import itertools
from collections.abc import Callable
from typing import Any

import torch
from fastreid.config import CfgNode
from fastreid.solver import build_optimizer
from torch import nn

from fastreid_ext.engine.step import TrainingStep, autocast_dtype


def random_batch(cfg: CfgNode) -> dict[str, Any]:
    """Build images (B, 3, H, W) in [0, 255] of B / NUM_INSTANCE identities, on the model's device.

    Args:
        cfg: configuration of batch, image size and device.
    """
    count = cfg.SOLVER.IMS_PER_BATCH
    device = cfg.MODEL.DEVICE
    targets = torch.arange(count, device=device) // cfg.DATALOADER.NUM_INSTANCE
    return {
        "images": torch.rand((count, 3, *cfg.INPUT.SIZE_TRAIN), device=device) * 255,
        "targets": targets,
        "camids": targets,
        "img_paths": [f"{index}.jpg" for index in range(count)],
    }


def build_step(cfg: CfgNode, model: nn.Module, batch: dict[str, Any]) -> Callable[[], bool]:
    """Build our training step of a model on one batch; it needs an ``EventStorage``.

    Args:
        cfg: configuration of the optimizer and of mixed precision.
        model: model in training, on the device of the batch.
        batch: training batch with "images" (B, 3, H, W).

    Returns:
        Function that runs a step and tells whether the model was updated.
    """
    optimizer, wrapper = build_optimizer(cfg, model)
    # A copy each time: the host's models normalise their images in place.
    batches = (batch | {"images": batch["images"].clone()} for _ in itertools.count())
    step = TrainingStep(
        model,
        batches,
        optimizer,
        wrapper,
        autocast_dtype=autocast_dtype(cfg),
        max_skipped=cfg.SOLVER.NON_FINITE.MAX_SKIPPED,
    )
    step.start()
    return lambda: step.run(0)
