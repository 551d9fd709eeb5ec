"""Reading pickles that hold arrays, without running their code.

A pickle can run anything when it is loaded, so only classes of numpy and scipy.sparse are let
through. The chumpy objects of SMPL's own files (chumpy no longer installs) become stubs that keep
the array, or are refused.
"""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

# Pickles of protocol 2 and below, Python 3's too, name these modules as Python 2 did.
_PYTHON_3_NAMES = {"__builtin__": "builtins", "copy_reg": "copyreg"}
_COMPRESSED = (b"\x78", b"\x1f\x8b", b"BZh", b"\xfd7z", b"\x04\x22\x4d\x18")


def read_pickle(path: Path, *, chumpy: bool, content: str) -> Any:
    """Read a pickle of plain containers and arrays.

    Args:
        path: file to read, of any pickle protocol.
        chumpy: whether chumpy objects become stubs (:func:`dense` gives their array) instead of an
            error.
        content: name of the expected content for error messages, such as "a body file".

    Raises:
        ValueError: the file is a joblib file, or holds chumpy objects that are refused.
        pickle.UnpicklingError: the file names another class, or is no pickle.
    """
    data = path.read_bytes()
    if data.startswith(_COMPRESSED):
        raise ValueError(_joblib_refused(path))
    return _ArrayUnpickler(data, path, chumpy=chumpy, content=content).load()


def dense(value: Any) -> np.ndarray:
    """Make an array of an array, a sparse matrix, a list or a chumpy stub."""
    if isinstance(value, _ChumpyArray):
        return value.dense()
    if hasattr(value, "toarray"):
        return value.toarray()
    return np.asarray(value)


class _ChumpyArray:
    """Stands in for chumpy's classes: keeps the pickled state and gives its array."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.state = state

    def dense(self) -> np.ndarray:
        if "x" in self.state:
            return np.asarray(self.state["x"])
        if {"a", "idxs"} <= self.state.keys():  # chumpy.reordering.Select
            chosen = dense(self.state["a"]).ravel()[np.asarray(self.state["idxs"])]
            return chosen.reshape(self.state.get("preferred_shape", chosen.shape))
        raise ValueError(
            f"expected a chumpy array or selection, got one with the fields "
            f"{sorted(self.state)}; save the model as plain numpy arrays"
        )


class _ArrayUnpickler(pickle.Unpickler):
    """Builds numpy, scipy.sparse and (stubbed) chumpy objects and nothing else."""

    _HARMLESS = frozenset(
        {
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("copyreg", "_reconstructor"),
            ("builtins", "object"),
            ("builtins", "set"),  # chumpy keeps its bookkeeping in sets
            ("_codecs", "encode"),
        }
    )

    def __init__(self, data: bytes, path: Path, *, chumpy: bool, content: str) -> None:
        super().__init__(io.BytesIO(data), encoding="latin1")
        self.path = path
        self.chumpy = chumpy
        self.content = content

    def find_class(self, module: str, name: str) -> Any:
        module = _PYTHON_3_NAMES.get(module, module)
        package = module.split(".")[0]
        if package == "chumpy" and self.chumpy:
            return _ChumpyArray
        if package == "chumpy":
            raise ValueError(
                f"{self.path}: expected plain numpy arrays, got chumpy objects; where chumpy is "
                "installed, save np.array(value) of each with np.savez and give that .npz"
            )
        if package == "joblib":
            raise ValueError(_joblib_refused(self.path))
        if (module, name) in self._HARMLESS:
            return super().find_class(module, name)
        module = module.replace("numpy.core", "numpy._core")
        if module == "numpy._core.multiarray" and name in ("_reconstruct", "scalar"):
            return super().find_class(module, name)
        if (module, name) == ("numpy._core.numeric", "_frombuffer"):
            return super().find_class(module, name)
        if module.startswith("scipy.sparse") and name in ("csc_matrix", "csr_matrix", "coo_matrix"):
            return getattr(scipy.sparse, name)
        raise pickle.UnpicklingError(
            f"expected only numpy, scipy.sparse and chumpy objects in {self.content}, "
            f"got {module}.{name}; {self.content} never needs it, so the file was not loaded"
        )


def _joblib_refused(path: Path) -> str:
    return (
        f"{path}: expected a plain pickle, got a compressed or joblib file, which cannot be read "
        "without running its code; where it was made, run: import joblib, pickle; "
        f"pickle.dump(joblib.load({path.name!r}), open('plain.pkl', 'wb'))"
    )
