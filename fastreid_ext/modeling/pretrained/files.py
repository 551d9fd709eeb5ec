"""Read the tensors of a weight file of any kind without running code in it.

A path is a file (safetensors, ``torch.save`` or TorchScript, recognised by content and not by
name), a folder with the layout of the model hubs, or ``hf-hub:owner/name``, the only one that uses
the network.
"""

import argparse
import collections
import dataclasses
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from fastreid_ext.modeling.pretrained.folders import Declared, declared_by, locate
from fastreid_ext.modeling.pretrained.torchscript import is_torchscript, read_torchscript

# Keys under which training scripts keep weights; an averaged network (DINO's teacher) comes first.
WRAPPERS = ("teacher", "state_dict", "model", "model_state_dict", "network", "net", "params")
# Words in the keys of other state beside them.
_STATES = ("optim", "sched", "scaler", "amp", "student", "ema", "loss", "loops", "callbacks")
# Classes of arguments and numbers that training scripts leave in their files; they run no code.
_HARMLESS = [
    argparse.Namespace,
    collections.defaultdict,
    np.dtype,
    np.ndarray,
    np._core.multiarray.scalar,
    np._core.multiarray._reconstruct,
    (np._core.multiarray.scalar, "numpy.core.multiarray.scalar"),
    (np._core.multiarray._reconstruct, "numpy.core.multiarray._reconstruct"),
    *(type(np.dtype(kind)) for kind in ("float32", "float64", "int32", "int64", "bool")),
]
_ADVICE = "give the path of a weight file in MODEL.BACKBONE.PRETRAIN_PATH"


@dataclasses.dataclass(frozen=True)
class WeightFile:
    """Content of a weight file.

    Attributes:
        path: path of the file, or of the first of several parts.
        tensors: tensors by name, without ``module.`` and ``_orig_mod.`` of wrapped models.
        wrapper: key under which the tensors are, "" for the top level.
        others: keys beside the wrapper that were not read (optimizer, epoch, ...).
        declared: metadata of the file or of the folder around it.
        is_torchscript: whether the file is a TorchScript archive, as OpenAI's CLIP files are.
    """

    path: Path
    tensors: dict[str, Tensor]
    wrapper: str
    others: list[str]
    declared: Declared
    is_torchscript: bool = False


def read_weights(path: str | Path) -> WeightFile:
    """Read a weight file, folder or hub repository onto the CPU.

    Raises:
        FileNotFoundError: the file does not exist, or the folder holds no weight file.
        ValueError: the file holds no weights, holds objects that could run code, or is damaged.
    """
    parts, folder = locate(path)
    tensors: dict[str, Tensor] = {}
    for part in parts:
        content, metadata, script = _read_file(part)
        found, wrapper, others = _unwrapped(content, part)
        tensors.update(found)
    declared = declared_by(parts[0], folder, metadata)
    return WeightFile(parts[0], tensors, wrapper, others, declared, script)


def _read_file(path: Path) -> tuple[Any, dict[str, str], bool]:
    """Read a file's content and safetensors metadata, and tell whether it is TorchScript."""
    with path.open("rb") as file:
        start = file.read(512)
    refuse_other_content(path, start)
    try:
        if start[8:9] == b"{" or path.suffix == ".safetensors":
            with safetensors.safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
            return safetensors.torch.load_file(path), metadata, False
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                script = is_torchscript(archive)
            if script:
                return read_torchscript(path), {}, True
        with torch.serialization.safe_globals(_HARMLESS), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol")  # read or refused
            return torch.load(path, map_location="cpu", weights_only=True), {}, False
    except pickle.UnpicklingError as error:
        raise ValueError(pickle_problem(path, error)) from error
    except Exception as error:  # torch, safetensors and zipfile raise a dozen kinds of error
        raise ValueError(
            f"cannot read weights from {path} ({path.stat().st_size} bytes): "
            f"{str(error).splitlines()[0].rstrip('.')}. Is it cut off? Compare its size or hash "
            "with the source's and copy it again"
        ) from error


def refuse_other_content(path: Path, start: bytes) -> None:
    """Raise ValueError for a file that begins (``start``) as a failed download does."""
    size = path.stat().st_size
    if not start:
        raise ValueError(f"{path} is empty (0 bytes); was the download interrupted? {_ADVICE}")
    if start.startswith(b"version https://git-lfs"):
        raise ValueError(
            f"{path} is a Git LFS pointer of {size} bytes, not the weights; run `git lfs pull` in "
            "its repository, or download the file itself"
        )
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise ValueError(
            f"{path} is a web page of {size} bytes, not weights; the link needs a confirmation or "
            "a login: open it in a browser and download the file itself"
        )


def pickle_problem(path: Path, error: Exception) -> str:
    """Explain why torch refuses to read a file with ``weights_only``."""
    # torch's own text recommends to allow the class or to load everything, which is no advice for
    # files of unknown origin.
    named = re.search(r"GLOBAL (\S+)", str(error))
    operand = re.search(r"Unsupported operand \d+", str(error))
    found = named[1] if named else operand[0] if operand else str(error).splitlines()[0]
    reason = found.split("Weights only load failed")[0].strip().rstrip(".")[:200] or "no state_dict"
    return (
        f"{path} holds other things than tensors and was not loaded, since they could run code: "
        f"{reason}. If you trust it, load it where it was written and save "
        "its state_dict() with safetensors.torch.save_file"
    )


def _unwrapped(content: Any, path: Path) -> tuple[dict[str, Tensor], str, list[str]]:
    """Find the tensors, the key above them, and the keys beside that key."""
    wrapper = ""
    others = []
    while isinstance(content, Mapping) and (key := _wrapper(content)) is not None:
        others += [str(other) for other in content if other != key]
        wrapper = f"{wrapper}.{key}".lstrip(".")
        content = content[key]
    if not isinstance(content, Mapping):
        raise ValueError(
            f"expected a dictionary of tensors in {path}, got {_described(content)}; save the "
            "model's state_dict() there"
        )
    tensors = {
        str(name): torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        for name, value in content.items()
        if isinstance(value, Tensor | np.ndarray)
    }
    if not tensors:
        raise ValueError(f"{path} holds no weights: {_described(content)}; {_ADVICE}")
    return unwrapped_names(tensors), wrapper, others


def unwrapped_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Remove the prefixes that DDP (``module.``) and ``torch.compile`` put before all names.

    Example:
        >>> unwrapped_names({"module.fc.weight": torch.zeros(2)})
        {'fc.weight': tensor([0., 0.])}
    """
    for prefix in ("module.", "_orig_mod.", "module."):
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def _wrapper(content: Mapping[Any, Any]) -> str | None:
    """Find the key above the weights, None where they are at this level."""
    for key in WRAPPERS:
        if isinstance(content.get(key), Mapping) and content[key]:
            return key
    if any(isinstance(value, Tensor) for value in content.values()):
        return None
    nested = [
        key
        for key, value in content.items()
        if isinstance(value, Mapping)
        and any(isinstance(item, Tensor) for item in value.values())
        and not any(word in str(key).lower() for word in _STATES)
    ]
    return nested[0] if len(nested) == 1 else None


def _described(content: Any) -> str:
    if not isinstance(content, Mapping):
        return f"a {type(content).__name__}"
    if not content:
        return "an empty dictionary"
    keys = ", ".join(sorted(map(str, content))[:6])
    if any("optim" in str(key).lower() or key == "param_groups" for key in content):
        return f"the state of an optimizer without a model (keys {keys})"
    return f"a dictionary without tensors (keys {keys})"
