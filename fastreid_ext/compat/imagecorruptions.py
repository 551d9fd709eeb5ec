"""Repairs of ``imagecorruptions`` 1.1.2, the reference of our corruptions, for a current stack.

Only tests and benchmarks call :func:`reference`; training and evaluation need only its frost
pictures, which are read as files. Unrepaired, the package does not import without
``pkg_resources`` (gone from setuptools 82), and 4 of its 19 functions fail or cannot be repeated:

==================  ===================================================  =========================
what                why                                                  repair
==================  ===================================================  =========================
import              ``from pkg_resources import resource_filename``      a stub during the import
import              ``scipy.ndimage.interpolation`` (deprecated, goes    an alias during the import
                    away in SciPy 2.0)                                   where it is missing
glass_blur,         scikit-image 0.25 dropped ``multichannel=``          ``channel_axis=-1`` in the
gaussian_blur                                                            module's own ``gaussian``
fog                 numpy 2.0 removed ``np.float_``                      the module's own ``np``
impulse_noise       scikit-image samples from its own generator,         the module's own ``sk``
                    which ``np.random.seed`` does not reach              hands over numpy's stream
==================  ===================================================  =========================

Nothing numerical is changed, and nothing outside the module: the stubs leave ``sys.modules`` again,
and numpy and scikit-image are wrapped only for this module. The generator of impulse_noise is a
``Generator`` on the bit stream behind ``np.random.seed``, so that all 19 repeat after a seed. Its
samples are those of ``np.random.random_sample``.

To drop a repair, delete its function and its line in :func:`reference`.
"""

import contextlib
import functools
import importlib
import importlib.metadata
import importlib.util
import sys
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

TESTED_VERSION = "1.1.2"


@functools.cache
def reference() -> types.ModuleType:
    """Import the package, repaired: ``corrupt(image, severity, corruption_name)`` and the 19.

    Raises:
        ImportError: imagecorruptions 1.1.2 or scikit-image is missing; the message has a command.
    """
    _require_version()
    _require("skimage", "pip install scikit-image")
    with _pkg_resources_stub(), _interpolation_alias(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # both are announced as deprecated where they exist
        package = importlib.import_module("imagecorruptions")
        functions = importlib.import_module("imagecorruptions.corruptions")
    functions.gaussian = _gaussian_by_channel_axis(functions.gaussian)
    functions.np = _Overlay(np, float_=np.float64)
    functions.sk = _seeded_random_noise(functions.sk)
    return package


def _require_version() -> None:
    """Refuse imagecorruptions-imaug, which has the same import name and other pixels."""
    command = f"pip install --no-deps imagecorruptions=={TESTED_VERSION}"
    _require("imagecorruptions", command)
    try:
        found = importlib.metadata.version("imagecorruptions")
    except importlib.metadata.PackageNotFoundError:
        found = "a package of another name"
    if found != TESTED_VERSION:
        raise ImportError(
            f"expected imagecorruptions {TESTED_VERSION}, the reference of our corruptions, "
            f"got {found}; {command}"
        )


def _require(module: str, command: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise ImportError(
            f"expected {module}, the reference of our corruptions, to be installed; "
            f"it is only needed to compare with: {command}"
        )


class _Overlay(types.ModuleType):
    """Module with some names added to those of ``below``."""

    def __init__(self, below: types.ModuleType, **names: Any) -> None:
        super().__init__(below.__name__)
        self.__dict__.update(names)
        self._below = below

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_below"], name)


@contextlib.contextmanager
def _pkg_resources_stub() -> Iterator[None]:
    """Provide ``pkg_resources.resource_filename`` where setuptools lacks it."""
    if importlib.util.find_spec("pkg_resources") is not None:
        yield
        return
    stub = types.ModuleType("pkg_resources")
    stub.resource_filename = _beside_module
    sys.modules["pkg_resources"] = stub
    try:
        yield
    finally:
        del sys.modules["pkg_resources"]


def _beside_module(module: str, path: str) -> str:
    """Find a file in the folder of an imported module."""
    return str(Path(sys.modules[module].__file__).parent / path)


@contextlib.contextmanager
def _interpolation_alias() -> Iterator[None]:
    """Provide ``scipy.ndimage.interpolation`` where SciPy lacks it."""
    name = "scipy.ndimage.interpolation"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        is_there = importlib.util.find_spec(name) is not None
    if is_there:
        yield
        return
    sys.modules[name] = importlib.import_module("scipy.ndimage")
    try:
        yield
    finally:
        del sys.modules[name]


def _gaussian_by_channel_axis(gaussian: Any) -> Any:
    """Let ``skimage.filters.gaussian`` understand ``multichannel=True`` again."""

    @functools.wraps(gaussian)
    def repaired(*args: Any, multichannel: bool = False, **kwargs: Any) -> Any:
        if multichannel:
            kwargs["channel_axis"] = -1
        return gaussian(*args, **kwargs)

    return repaired


def _seeded_random_noise(skimage: types.ModuleType) -> types.ModuleType:
    """Let ``sk.util.random_noise`` sample from the stream that ``np.random.seed`` starts."""
    importlib.import_module("skimage.color")  # used as an attribute of `sk`
    util = importlib.import_module("skimage.util")

    def random_noise(image: Any, **kwargs: Any) -> Any:
        stream = np.random.Generator(np.random.get_bit_generator())
        return util.random_noise(image, rng=stream, **kwargs)

    return _Overlay(skimage, util=_Overlay(util, random_noise=random_noise))
