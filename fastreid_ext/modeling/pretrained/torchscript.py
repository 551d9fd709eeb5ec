"""Read the tensors of a TorchScript archive (OpenAI's CLIP files) without running anything in it.

``torch.jit.load`` deserialises and compiles the code in the archive, which torch says to do only
with files one trusts, and ``torch.load(weights_only=True)`` refuses such archives. The archive is a
zip file::

    RN50/data.pkl        a pickle: the tree of modules, each a class of __torch__ and a dictionary
    RN50/data/0, 1, ...  raw bytes of the tensors' storages
    RN50/code/...        the program; never opened here

The pickle is read by an unpickler that knows tensors, storages, lists and modules. A module becomes
a plain holder of attributes; every other name is an error.
"""

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class _Module:
    """Holder of the attributes of a scripted module."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        if not isinstance(state, dict):
            raise pickle.UnpicklingError(f"a module's state is a {type(state).__name__}")
        self.attributes = state


def is_torchscript(archive: zipfile.ZipFile) -> bool:
    """Tell whether a zip file is a TorchScript archive."""
    names = archive.namelist()
    return _data(names) is not None and any(name.endswith("/constants.pkl") for name in names)


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """Read the parameters and buffers of a TorchScript archive by name.

    Raises:
        pickle.UnpicklingError: the archive holds other things than modules and tensors.
        zipfile.BadZipFile: the file is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        data = _data(archive.namelist())
        with archive.open(data) as file:
            module = _Unpickler(file, archive, data.removesuffix("data.pkl")).load()
    return dict(_tensors(module, ""))


def _data(names: list[str]) -> str | None:
    return next(
        (name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")), None
    )


def _tensors(value: object, prefix: str) -> Iterator[tuple[str, Tensor]]:
    for name, child in getattr(value, "attributes", {}).items():
        if isinstance(child, Tensor):
            yield prefix + name, child
        else:
            yield from _tensors(child, f"{prefix}{name}.")


class _Unpickler(pickle.Unpickler):
    """Unpickler that calls only the functions of this module."""

    def __init__(self, file: Any, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(file)
        self.archive = archive
        self.root = root
        self.storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "__torch__":
            return _Module
        if module == "torch" and name in _STORAGES:
            return name
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuilt
        if module == "torch.jit._pickle":  # build_intlist, build_tensorlist, restore_type_tag, ...
            return _first
        raise pickle.UnpicklingError(f"unsupported name {module}.{name}")

    def persistent_load(self, identifier: tuple) -> Tensor:
        _, storage, key, _, count = identifier
        if key not in self.storages:
            content = bytearray(self.archive.read(f"{self.root}data/{key}"))
            values = torch.frombuffer(content, dtype=_STORAGES[storage]) if content else None
            self.storages[key] = torch.empty(0) if values is None else values[:count]
        return self.storages[key]


def _rebuilt(storage: Tensor, offset: int, size: tuple, stride: tuple, *_: Any) -> Tensor:
    return torch.as_strided(storage, size, stride, offset).clone()


def _first(value: Any, *_: Any) -> Any:
    return value
