"""Transforms of a whole batch, on the device, before the model.

Letters: B images of the sampler, V views of each, H height, W width.
"""

from collections.abc import Callable
from typing import Any

import torch
from fastreid.config import CfgNode
from torch import Tensor

from fastreid_ext.corruptions.record import BETWEEN_VIEWS
from fastreid_ext.data.transforms.batch_mixing import CutMix, MixBatch, Mixup
from fastreid_ext.data.transforms.fastreid_steps import build_painters
from fastreid_ext.data.transforms.from_config import CORRUPTING
from fastreid_ext.data.transforms.painting import PaintRectangles
from fastreid_ext.data.visible_infrared import VISIBLE

Batch = dict[str, Any]


def build_batch_steps(cfg: CfgNode, *, is_train: bool) -> list[Callable[[Batch], Batch]]:
    """Build the steps in their order.

    Training: rectangles are painted, views become rows (:func:`flatten_views`), corruption
    (``INPUT.CORRUPTION.WHERE`` device; for the recipe dapg before views become rows), for the
    recipe caj without the second rows of infrared images (:func:`infrared_once`), float32,
    Mixup and CutMix. Tests: float32.
    """
    steps: list[Callable[[Batch], Batch]] = []
    painters = build_painters(cfg) if is_train else []
    if painters:
        steps.append(PaintRectangles([painter.fill for painter in painters]))
    corrupts = is_train and cfg.INPUT.CORRUPTION.WHERE == "device" and records_corruptions(cfg)
    is_dapg = cfg.INPUT.VIEWS.RECIPE == "dapg"
    # The two are imported only where they are used: their kernels take long to load.
    if corrupts and is_dapg:
        from fastreid_ext.data.transforms.dapg_on_device import DapgOnDevice

        steps.append(DapgOnDevice())
    if is_train and cfg.INPUT.VIEWS.RECIPE:
        steps.append(flatten_views)
    if is_train and cfg.INPUT.VIEWS.RECIPE == "caj":
        steps.append(infrared_once)
    if corrupts and not is_dapg:
        from fastreid_ext.corruptions.gpu import CorruptOnDevice

        steps.append(CorruptOnDevice())
    steps.append(to_float)
    methods = [
        (kind(alpha=keys.ALPHA), keys.PROB)
        for kind, keys in ((Mixup, cfg.INPUT.MIXUP), (CutMix, cfg.INPUT.CUTMIX))
        if keys.ENABLED
    ]
    if is_train and methods:
        steps.append(MixBatch(methods))
    return steps


def records_corruptions(cfg: CfgNode) -> bool:
    """Tell whether training samples hold the record of their corruptions."""
    return cfg.INPUT.CORRUPTION.ENABLED or cfg.INPUT.VIEWS.RECIPE in CORRUPTING


def flatten_views(batch: Batch) -> Batch:
    """Make the views of a batch rows, view by view: row ``v B + b`` is view v of image b.

    ``images`` (B, V, 3, H, W) become (V B, 3, H, W); all other entries are repeated V times but
    ``corruptions``, which hold a record for each view; ``views`` is V.

    Example:
        >>> batch = {"images": torch.rand(2, 3, 3, 64, 32), "targets": torch.tensor([5, 8])}
        >>> flat = flatten_views(batch)  # three views of two images
        >>> flat["images"].shape, flat["targets"].tolist()
        (torch.Size([6, 3, 64, 32]), [5, 8, 5, 8, 5, 8])
    """
    images = batch["images"]
    if images.ndim != 5:
        raise ValueError(
            f"expected images (B, V, 3, H, W), got {tuple(images.shape)}; the transform of the "
            "loader makes no views; build it with the same configuration"
        )
    views = images.shape[1]
    flat = {key: _repeated(value, views) for key, value in batch.items() if key != "images"}
    flat["images"] = images.transpose(0, 1).flatten(0, 1)
    if "corruptions" in batch:
        split = [text.split(BETWEEN_VIEWS) for text in batch["corruptions"]]
        flat["corruptions"] = [texts[view] for view in range(views) for texts in split]
    flat["views"] = views
    return flat


def infrared_once(batch: Batch) -> Batch:
    """Leave out all rows of infrared images but their first.

    Each entry of V B rows keeps its rows of visible images, and of infrared ones those of view 0.
    Images then have different numbers of rows, so ``views`` becomes 1.

    Example:
        >>> modalities = torch.tensor([0, 1, 0, 1])  # two views of a visible and an infrared image
        >>> batch = {"images": torch.rand(4, 3, 64, 32), "modalities": modalities, "views": 2}
        >>> infrared_once(batch)["modalities"].tolist()
        [0, 1, 0]

    Args:
        batch: batch after :func:`flatten_views`, with ``modalities`` 0 visible and 1 infrared.
    """
    rows = len(batch["images"])
    is_first = torch.arange(rows, device=batch["images"].device) < rows // batch["views"]
    is_visible = batch["modalities"] == VISIBLE
    # On a GPU this waits for the copy of the batch, not for the model.
    kept = torch.nonzero(is_first | is_visible)[:, 0]
    once = {key: _rows(value, kept, rows) for key, value in batch.items()}
    return {**once, "views": 1}


def _rows(value: Any, kept: Tensor, rows: int) -> Any:
    if isinstance(value, Tensor):
        return value[kept] if value.ndim and len(value) == rows else value
    if isinstance(value, list):
        return [value[place] for place in kept.tolist()]
    if isinstance(value, dict):
        return {key: _rows(part, kept, rows) for key, part in value.items()}
    return value


def _repeated(value: Any, views: int) -> Any:
    if isinstance(value, Tensor):
        return value.repeat(views, *[1] * (value.ndim - 1))
    if isinstance(value, list):
        return value * views
    if isinstance(value, dict):
        return {key: _repeated(part, views) for key, part in value.items()}
    return value


def to_float(batch: Batch) -> Batch:
    """Convert images to float32 in [0, 255], which fastreid's models expect."""
    return {**batch, "images": batch["images"].to(torch.float32)}
