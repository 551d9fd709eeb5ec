"""Whether the files of a model are whole: a copy or a download that was cut short is common."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open


def expect_whole(files: Iterable[Path]) -> None:
    """Raise ValueError unless the lengths of safetensors files are what their headers say."""
    for path in files:
        try:
            with safe_open(path, framework="pt"):
                pass
        except (OSError, SafetensorError) as error:
            raise ValueError(
                f"{path} is no whole safetensors file ({error}); bring it again"
            ) from error


def read_object(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file of a model.

    Raises:
        ValueError: the file is missing or damaged.
    """
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(
            f"expected a JSON object in {path}, got: {error}; bring the model again"
        ) from error
