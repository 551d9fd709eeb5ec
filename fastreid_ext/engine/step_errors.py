"""Explain errors of torch in a training step in terms of images and configuration keys."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

# Words of torch's errors.
_ONE_VALUE = "Expected more than 1 value per channel"
_OUT_OF_BOUNDS = ("out of bounds", "is out of range")
_DEVICE_ASSERT = "device-side assert"


@contextlib.contextmanager
def explained(model: nn.Module, batch: dict[str, Any]) -> Iterator[None]:
    """Replace errors whose cause lies in the batch by one that names images and keys.

    Args:
        model: model that is being trained.
        batch: batch of this process, with ``images``, ``targets`` and ``img_paths``.

    Raises:
        ValueError: the batch has one image under batch normalisation, or labels that the classifier
            does not have.
    """
    try:
        yield
    except (ValueError, IndexError, RuntimeError) as error:
        reason = _reason(str(error), model, batch)
        if not reason:
            raise
        raise ValueError(reason) from error


def _reason(words: str, model: nn.Module, batch: dict[str, Any]) -> str:
    if _ONE_VALUE in words:
        return (
            "expected at least 2 images on each process, because batch normalisation cannot train "
            f"on one value per channel, got {len(batch['images'])}; raise SOLVER.IMS_PER_BATCH, "
            "which all processes share"
        )
    if _DEVICE_ASSERT in words:
        return (
            f"the GPU stopped on an index out of bounds ({words.splitlines()[0]}); most likely a "
            "label is not below MODEL.HEADS.NUM_CLASSES: set it to 0, which counts the identities "
            "of DATASETS.NAMES, or run a few steps with MODEL.DEVICE cpu, which names the image"
        )
    if any(part in words for part in _OUT_OF_BOUNDS):
        return _wrong_labels(model, batch)
    return ""


def _wrong_labels(model: nn.Module, batch: dict[str, Any]) -> str:
    """Name the images whose label the classifier does not have; "" if there are none."""
    classes = number_of_classes(model)
    labels = batch.get("targets")
    if classes is None or not isinstance(labels, torch.Tensor):
        return ""
    paths = batch.get("img_paths", [])
    wrong = [
        f"{label} of {path}"
        for label, path in zip(labels.tolist(), paths, strict=False)
        if not 0 <= label < classes
    ]
    if not wrong:
        return ""
    return (
        f"expected labels below {classes}, the number of classes of the classifier "
        f"(MODEL.HEADS.NUM_CLASSES), got {', '.join(wrong)}; set MODEL.HEADS.NUM_CLASSES 0, which "
        "counts the identities of DATASETS.NAMES"
    )


def number_of_classes(model: nn.Module) -> int | None:
    """Return the number of classes of a model's first classification head, None without one."""
    for name, module in model.named_modules():
        weight = getattr(module, "weight", None)
        is_head = name.split(".")[-1].endswith(("head", "heads"))
        if is_head and isinstance(weight, nn.Parameter) and weight.ndim == 2:
            return len(weight)
    return None
