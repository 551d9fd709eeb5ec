"""Repairs before the first import of fastreid, which would fail without them."""

import collections
import collections.abc
import importlib
import importlib.util
import sys
import types
import warnings
from pathlib import Path

import torch

from fastreid_ext.compat.deferred_imports import deferred

# Modules whose import fails or binds broken names on a current stack unless `prepare` ran first.
_NEEDS_PREPARE = ("fastreid.data.build", "fastreid.evaluation.testing", "fastreid.engine.defaults")

_prepared = False
# Kept, since a Library unregisters its schemas when it is collected.
_kept_libraries: list[torch.library.Library] = []


def require_fastreid() -> None:
    """Raise ImportError with a command if fastreid is missing or was imported too early."""
    early = [name for name in _NEEDS_PREPARE if name in sys.modules]
    if early and not _prepared:
        raise ImportError(
            "expected `import fastreid_ext` before fastreid, but "
            f"{early[0]} is already imported; put it first in your script"
        )
    if importlib.util.find_spec("fastreid") is None:
        raise ImportError(
            "fastreid is not importable; install it with `pip install --no-deps fastreid==1.4.0` "
            "(its pins are for torch 1.13, hence --no-deps), or put a git checkout of fast-reid "
            "on PYTHONPATH"
        )


def provide_torchvision_ops() -> None:
    """Declare ``torchvision::nms`` and ``qnms`` where torchvision's compiled library cannot load.

    The torchvision wheel on PyPI is built for CUDA; beside a CPU-only torch its library does not
    load and then `import torchvision` fails with "operator torchvision::nms does not exist". The
    two operators are declared without an implementation: everything else of torchvision works
    (transforms, models), and a call of nms raises an error that it is missing.

    Versions: torchvision 0.27 - 0.29 with a CPU torch. Not needed with matching builds of the two.
    """
    if torch.version.cuda is not None or _kept_libraries:
        return
    spec = importlib.util.find_spec("torchvision")
    if spec is None or _loads(sorted(Path(spec.origin).parent.glob("_C*.so"))):
        return
    library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _kept_libraries.append(library)


def _loads(libraries: list[Path]) -> bool:
    try:
        for library in libraries:
            torch.ops.load_library(str(library))
    except OSError:
        return False
    return bool(libraries)


def provide_torch_six() -> None:
    """Restore ``torch._six``, gone in torch 2.0; fastreid's wheel (not its git head) imports it."""
    if importlib.util.find_spec("torch._six") is None and "torch._six" not in sys.modules:
        six = types.ModuleType("torch._six")
        six.string_classes = (str, bytes)
        # A spec, so that a second find_spec() answers instead of raising.
        six.__spec__ = importlib.util.spec_from_loader("torch._six", loader=None)
        sys.modules["torch._six"] = six


def provide_collections_mapping() -> None:
    """Restore ``collections.Mapping``, gone in Python 3.10; fastreid's data code imports it."""
    if not hasattr(collections, "Mapping"):
        collections.Mapping = collections.abc.Mapping


def import_without_slow_libraries() -> None:
    """Import the modules that use scikit-learn and ``torch._dynamo`` with stand-ins for both.

    Versions: torchvision 0.27 - 0.29, fastreid 1.4.0. Not needed where they import them lazily.
    """
    with deferred("torch._dynamo", "torch._dynamo.utils"):
        importlib.import_module("torchvision.ops.roi_align")
    with deferred("sklearn"):
        importlib.import_module("fastreid.evaluation.reid_evaluation")


def hush_known_warnings() -> None:
    """Silence warnings about fastreid's old calls, about which a user can do nothing."""
    for message in (
        "TypedStorage is deprecated",  # its to_tensor
        "Cython r",  # its rank and roc, which we replace
        "This overload of addmm_ is deprecated",  # its distances
    ):
        warnings.filterwarnings("ignore", message=message)


def prepare() -> None:
    """Apply every repair that precedes ``import fastreid``."""
    global _prepared
    require_fastreid()
    provide_torchvision_ops()
    provide_torch_six()
    provide_collections_mapping()
    hush_known_warnings()
    import_without_slow_libraries()
    _prepared = True
