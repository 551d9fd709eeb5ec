"""Features of images as a file: ``.npz`` or ``.safetensors``, written atomically.

Both hold ``features`` (N, D) float32, the N paths and a few strings that say where the features
come from. Neither runs code when it is opened.
"""

import dataclasses
import io
import json
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_safetensors

from fastreid_ext.atomic import atomic_write_bytes, expect_writable

FORMATS = (".npz", ".safetensors")


@dataclasses.dataclass(frozen=True)
class ImageFeatures:
    """Features of the images of a folder.

    Attributes:
        features: (N, D) float32, not normalised.
        paths: N image files, relative to the folder, with "/" between parts.
        metadata: which model made them, see :func:`fastreid_ext.deploy.load.description`.
        unreadable: path and reason of each image left out; not kept in a file.
    """

    features: NDArray[np.float32]
    paths: list[str]
    metadata: dict[str, str]
    unreadable: dict[str, str] = dataclasses.field(default_factory=dict)


def expect_format(path: Path) -> Path:
    """Return ``path``.

    Raises:
        ValueError: its name ends in neither of the two formats.
    """
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"expected a features file ending in .npz or .safetensors, got {path}")
    return path


def write_features(result: ImageFeatures, path: str | Path) -> Path:
    """Write features; the format follows from the name.

    Example::

        write_features(extract.folder("crops"), "features.npz")  # of a FeatureExtractor
        features = read_features("features.npz").features  # (N, D) float32

    Raises:
        ValueError: the name ends in neither .npz nor .safetensors.
    """
    path = expect_format(Path(path))
    texts = {"paths": json.dumps(result.paths), "metadata": json.dumps(result.metadata)}
    if path.suffix.lower() == ".npz":
        buffer = io.BytesIO()
        paths = np.array(result.paths, dtype=np.str_)
        np.savez(buffer, features=result.features, paths=paths, metadata=texts["metadata"])
        data = buffer.getvalue()
    else:
        data = to_safetensors({"features": np.ascontiguousarray(result.features)}, metadata=texts)
    atomic_write_bytes(expect_writable(path), data)
    return path


def read_features(path: str | Path) -> ImageFeatures:
    """Read what :func:`write_features` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no features file.
    """
    path = expect_format(Path(path))
    if not path.is_file():
        raise FileNotFoundError(f"no features file at {path}; make it with extract_features.py")
    try:
        if path.suffix.lower() == ".npz":
            with np.load(path, allow_pickle=False) as file:
                paths = file["paths"].tolist()
                metadata = json.loads(str(file["metadata"]))
                return ImageFeatures(file["features"], paths, metadata)
        with safe_open(path, framework="numpy") as file:
            texts = file.metadata() or {}
            paths = json.loads(texts["paths"])
            metadata = json.loads(texts["metadata"])
            return ImageFeatures(file.get_tensor("features"), paths, metadata)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, SafetensorError) as error:
        raise ValueError(
            f"{path} is not a features file ({type(error).__name__}: {error}); make it again with "
            "extract_features.py"
        ) from error
