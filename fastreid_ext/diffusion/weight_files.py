"""Checks of model files: weights that were cut short by a copy or a download, pickles, JSON.

Only safetensors are read: unpickling a file runs the code in it.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def expect_whole(files: Iterable[Path]) -> None:
    """Check that safetensors files are as long as their headers say.

    Raises:
        ValueError: a file is cut short or damaged.
    """
    for path in files:
        try:
            with safe_open(path, framework="pt"):
                pass
        except (OSError, SafetensorError) as error:
            raise ValueError(
                f"{path} is no whole safetensors file ({error}); bring it again"
            ) from error


def expect_no_pickles(folder: Path, where: str, convert: str) -> None:
    """Check that a folder without safetensors does not hold pickles instead.

    Args:
        folder: folder that should hold the weights.
        where: name of the folder for the message, with the configuration key if there is one.
        convert: code that converts the weights once, for the message.

    Raises:
        ValueError: the folder holds pickles.
    """
    pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
    if pickles:
        raise ValueError(
            f"expected safetensors in {where}, got only {', '.join(pickles)}, a pickle, which can "
            f"run code when it is read; if you trust it convert it once: {convert}"
        )


def hash_of_files(files: Iterable[Path]) -> str:
    """Hash the contents of files, in their order, to 12 hexadecimal digits of a SHA-256.

    It takes about a second per 1.5 GB.
    """
    total = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()[:12]


def read_object(path: Path) -> dict[str, Any]:
    """Read the object in a JSON file of a model.

    Raises:
        ValueError: the file is missing or damaged.
    """
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(
            f"expected a JSON object in {path}, got: {error}; bring the model again"
        ) from error
