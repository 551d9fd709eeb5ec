"""Import slow libraries when they are used, not when fastreid is imported.

fastreid's evaluator imports scikit-learn for its ROC curve, and torchvision's ``roi_align`` imports
``torch._dynamo`` to ask whether it may compile. Together they take more than half of the time
before a command's first output, and few commands use them.
"""

import contextlib
import importlib
import sys
import types
from collections.abc import Iterator
from typing import Any


class _Deferred(types.ModuleType):
    """Stand-in for a module, imported when one of its attributes is called or read."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Attribute(self.__name__, name)


class _Attribute:
    """Stand-in for a function or a submodule of a module that is not imported yet."""

    def __init__(self, module: str, name: str) -> None:
        self._module = module
        self._name = name

    def _real(self) -> Any:
        module = importlib.import_module(self._module)
        try:
            return getattr(module, self._name)
        except AttributeError:
            return importlib.import_module(f"{self._module}.{self._name}")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Import the module and call its function."""
        return self._real()(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._real(), name)


@contextlib.contextmanager
def deferred(*names: str) -> Iterator[None]:
    """Bind stand-ins to imports inside the block; later imports bind the real modules.

    Args:
        names: full names of modules, parents first; modules that are imported already stay.
    """
    standing_in = [name for name in names if name not in sys.modules]
    for name in standing_in:
        sys.modules[name] = _Deferred(name)
    try:
        yield
    finally:
        for name in standing_in:
            if isinstance(sys.modules.get(name), _Deferred):
                del sys.modules[name]
