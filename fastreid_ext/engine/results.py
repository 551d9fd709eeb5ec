"""Write one JSON file per run, from which tables and plots are made."""

import importlib.metadata
import json
import math
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from fastreid.config import CfgNode

import fastreid_ext
from fastreid_ext.atomic import atomic_write_text

RESULT_FILE = "result.json"  # of a training run
EVALUATION_FILE = "evaluation.json"  # of --eval-only, so that it does not replace the former
_PACKAGES = ("torch", "torchvision", "numpy", "fastreid", "Pillow")

Results = dict[str, dict[str, float]]  # metrics by test set


def by_test_set(cfg: CfgNode, results: Mapping[str, Any]) -> Results:
    """Return results by test set; fastreid leaves that level out where there is one set."""
    is_nested = all(isinstance(metrics, Mapping) for metrics in results.values())
    nested = results if is_nested else {cfg.DATASETS.TESTS[0]: results}
    return {
        name: {key: float(value) for key, value in metrics.items()}
        for name, metrics in nested.items()
        if metrics  # none off the main process
    }


def write_result(cfg: CfgNode, results: Results, timings: Mapping[str, float], name: str) -> Path:
    """Write ``OUTPUT_DIR/<name>`` atomically.

    Args:
        cfg: configuration of the run, with the seed used.
        results: percentages by test set and metric.
        timings: seconds, or images per second, by name.
        name: name of the JSON file.
    """
    path = Path(cfg.OUTPUT_DIR) / name
    content = {
        "metrics": results,
        "timings": dict(timings),
        "seed": cfg.SEED,
        "commit": commit(),
        "versions": versions(),
        "device": _device_name(cfg.MODEL.DEVICE),
        "config": plain(cfg),
    }
    atomic_write_text(path, json.dumps(_finite(content), indent=2, sort_keys=True) + "\n")
    return path


def commit() -> str | None:
    """Return the git commit of this package, with "-dirty" if changed; None outside a checkout."""
    folder = Path(fastreid_ext.__file__).resolve().parent.parent
    if not (folder / ".git").exists():  # installed; a repository further up is not ours
        return None
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--match="]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def versions() -> dict[str, str | None]:
    """Return the versions of what numbers depend on; None where not installed as a package."""
    found: dict[str, str | None] = {
        "python": platform.python_version(),
        "fastreid_ext": fastreid_ext.__version__,
    }
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found


def _device_name(device: str) -> str:
    if device.startswith("cuda") and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{device} ({platform.machine()}, {torch.get_num_threads()} threads)"


def plain(node: Any) -> Any:
    """Return a configuration as dicts and lists, as JSON reads it back."""
    if isinstance(node, dict):
        return {key: plain(value) for key, value in node.items()}
    return list(node) if isinstance(node, tuple) else node


def _finite(value: Any) -> Any:
    """Replace NaN and infinity by null, which JSON has no numbers for."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
