"""Find the weight files in a folder or on the hub, and read the metadata beside them.

Layouts: transformers (``config.json``, ``model.safetensors`` or ``pytorch_model.bin``, maybe in
parts with an index, ``preprocessor_config.json``), timm (``config.json`` with ``pretrained_cfg``),
open_clip (``open_clip_config.json``), and one of our runs (``config.yaml`` beside checkpoints).
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from fastreid_ext.hub import expect_hub_package, fetch_first, fetch_patterns
from fastreid_ext.modeling.pretrained.normalisation import Normalisation, named

HUB = "hf-hub:"
_WHOLE = (
    "model.safetensors",
    "open_clip_model.safetensors",
    "pytorch_model.bin",
    "open_clip_pytorch_model.bin",
)
_IN_PARTS = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_BESIDE = ("config.json", "preprocessor_config.json", "open_clip_config.json")
_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".tar")


@dataclasses.dataclass(frozen=True)
class Declared:
    """Metadata in a weight file or in the folder around it; None where there is none.

    Attributes:
        normalisation: mean and standard deviation of the images in pre-training.
        family: name of the family in files that tools/convert_weights.py wrote.
        activation: "gelu" or "quick_gelu" in the MLPs of a CLIP.
        image_size: height and width in pixels of the images in pre-training.
    """

    normalisation: Normalisation | None = None
    family: str | None = None
    activation: str | None = None
    image_size: tuple[int, int] | None = None


def locate(path: str | Path) -> tuple[list[Path], Path | None]:
    """Find the weight files at a path: one file, or several parts.

    Returns:
        The weight files, and their folder, or None where the path names a file.

    Raises:
        FileNotFoundError: the path does not exist, or its folder holds no weights.
        ValueError: the folder holds several candidates, or the hub cannot be reached.
    """
    if str(path).startswith(HUB):
        folder = _from_hub(str(path).removeprefix(HUB))
        return _in_folder(folder), folder
    path = Path(path)
    if path.is_dir():
        return _in_folder(path), path
    if not path.is_file():
        raise FileNotFoundError(
            f"no file or folder at {path}; give existing weights in MODEL.BACKBONE.PRETRAIN_PATH, "
            "or hf-hub:owner/name to fetch them"
        )
    return [path], None


def _in_folder(folder: Path) -> list[Path]:
    for name in _WHOLE:
        if (folder / name).is_file():
            return [folder / name]
    for name in _IN_PARTS:
        if (folder / name).is_file():
            return _parts(folder / name)
    found = sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES)
    if len(found) == 1:
        return found
    if not found:
        raise FileNotFoundError(
            f"no weights in the folder {folder}; expected {' or '.join(_WHOLE)}, an index of "
            f"parts, or one file ending in {', '.join(_SUFFIXES)}; it holds "
            f"{', '.join(sorted(path.name for path in folder.iterdir())[:6]) or 'nothing'}"
        )
    raise ValueError(
        f"{len(found)} weight files in {folder} ({', '.join(path.name for path in found[:6])}); "
        "give the path of one in MODEL.BACKBONE.PRETRAIN_PATH"
    )


def _parts(index: Path) -> list[Path]:
    names = sorted(set(_read_json(index).get("weight_map", {}).values()))
    bad = [name for name in names if Path(name).name != name or not (index.parent / name).is_file()]
    if bad or not names:
        raise FileNotFoundError(
            f"{index} names parts that are not beside it ({', '.join(bad[:4]) or 'none at all'}); "
            "copy the whole folder"
        )
    return [index.parent / name for name in names]


def _from_hub(repository: str) -> Path:
    expect_hub_package(f"{HUB}{repository}")
    try:
        weights, is_reached = fetch_first(repository, (*_WHOLE, *_IN_PARTS))
        if weights is not None:
            beside = [*_BESIDE]
            if weights.name in _IN_PARTS:
                beside += set(_read_json(weights).get("weight_map", {}).values())
            fetch_patterns(repository, beside, use_network=is_reached)
            return weights.parent
        reason = "none of its files is a weight file, or it is not in the cache and offline"
    except Exception as error:  # of the hub, of HTTP, of a name that is none: a dozen kinds
        reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    raise ValueError(
        f"cannot fetch weights from {HUB}{repository} ({reason}); check owner/name and the "
        "network (HF_HUB_OFFLINE unset), or download the folder elsewhere and give its path"
    )


def declared_by(weights: Path, folder: Path | None, metadata: Mapping[str, str]) -> Declared:
    """Read the metadata in a safetensors file, or in the files beside the weights."""
    mean = None
    std = None
    activation = metadata.get("activation")
    image_size = json.loads(metadata.get("image_size", "null"))
    if "mean" in metadata and "std" in metadata:
        mean = json.loads(metadata["mean"])
        std = json.loads(metadata["std"])
    elif folder is not None:
        configs = {name: _read_json(folder / name) for name in _BESIDE}
        mean, std = _mean_and_std(configs)
        activation = _activation(configs)
    elif "family" not in metadata and (weights.parent / "config.yaml").is_file():
        mean, std, image_size = _of_run(weights.parent / "config.yaml")
    normalisation = None
    if _is_triple(mean) and _is_triple(std):
        normalisation = named(mean, std)
    return Declared(
        normalisation, metadata.get("family"), activation, tuple(image_size) if image_size else None
    )


def _mean_and_std(configs: Mapping[str, dict]) -> tuple[Any, Any]:
    """Read mean and deviation in [0, 1] from the files of transformers, timm or open_clip."""
    timm = configs["config.json"].get("pretrained_cfg") or configs["config.json"]
    for config, prefix in (
        (configs["preprocessor_config.json"], "image_"),
        (configs["open_clip_config.json"].get("preprocess_cfg", {}), ""),
        (timm, ""),
    ):
        if f"{prefix}mean" in config and f"{prefix}std" in config:
            return config[f"{prefix}mean"], config[f"{prefix}std"]
    return None, None


def _activation(configs: Mapping[str, dict]) -> str | None:
    transformers = configs["config.json"]
    open_clip = configs["open_clip_config.json"]
    if "model_cfg" in open_clip:
        return "quick_gelu" if open_clip["model_cfg"].get("quick_gelu") else "gelu"
    return (transformers.get("vision_config") or transformers).get("hidden_act")


def _of_run(config: Path) -> tuple[Any, Any, Any]:
    """Read mean, deviation and image size from ``config.yaml`` of our or fastreid's run."""
    try:
        content = yaml.safe_load(config.read_text())
        model = content["MODEL"]
        mean = [value / 255 for value in model["PIXEL_MEAN"]]
        std = [value / 255 for value in model["PIXEL_STD"]]
        return mean, std, content["INPUT"]["SIZE_TRAIN"]
    except (yaml.YAMLError, KeyError, TypeError, UnicodeDecodeError):
        return None, None, None  # some other program's config.yaml


def _is_triple(values: Any) -> bool:
    return (
        isinstance(values, list | tuple)
        and len(values) == 3
        and all(isinstance(value, int | float) for value in values)
    )


def _read_json(path: Path) -> dict:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON ({error}); copy the folder again") from error
    return content if isinstance(content, dict) else {}
